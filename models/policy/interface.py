"""What every policy backend offers, be it a network in this process or a remote server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from sensorium.models.policy.features import Feature

__all__ = ["Policy"]


class Policy(Protocol):
    """A policy with its processors: observations in, actions out, both in physical units.

    An observation maps feature names to arrays: ``observation.images.*`` are (H, W, 3) uint8,
    other features floating with the shape of the feature; ``task`` is the instruction (str).
    """

    @property
    def input_features(self) -> Mapping[str, Feature]:
        """The features an observation must hold, by the name it must hold them under."""

    @property
    def action_size(self) -> int:
        """A, the number of values of one action."""

    @property
    def chunk_size(self) -> int:
        """T, the number of actions of one chunk, one control period apart."""

    def reset(self) -> None:
        """Forgets queued actions and past chunks: call it at the start of an episode."""

    def predict_action_chunk(self, observation: Mapping[str, object]) -> np.ndarray:
        """The actions that follow an observation; leaves the state of select_action alone.

        Returns:
            (T, A) float32, physical units; row 0 belongs to the observation's own step.

        Raises:
            ObservationError: The observation does not fit the input features.
        """

    def select_action(self, observation: Mapping[str, object]) -> np.ndarray:
        """The action for this step: call it once per control period.

        Returns:
            (A,) float32, physical units.

        Raises:
            ObservationError: The observation does not fit the input features.
        """
