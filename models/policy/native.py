"""A policy whose network runs in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.models.policy.ensembling import TemporalEnsembler
from sensorium.models.policy.features import Feature
from sensorium.models.policy.observation import feature_tensors, task_text
from sensorium.models.policy.processor import Postprocessor, Preprocessor

__all__ = ["ChunkSchedule", "NativePolicy"]


@dataclass(frozen=True)
class ChunkSchedule:
    """How select_action uses chunks.

    Attributes:
        chunk_size: T, actions per chunk.
        n_action_steps: How many actions of a chunk are used before the next prediction.
        temporal_ensemble_coefficient: m of the ensembling weights, or None for no ensembling;
            with ensembling a chunk is predicted at every step.
    """

    chunk_size: int
    n_action_steps: int
    temporal_ensemble_coefficient: float | None


class NativePolicy:
    """Processors, a chunk-predicting network and the queue between chunks and single actions.

    Implements :class:`sensorium.models.policy.interface.Policy`. Not safe for concurrent calls.

    Args:
        network: Maps a batch (feature name -> (B, *shape) normalised float32) to normalised
            chunks (B, T, A).
        features: The inputs the network uses, by their names in config.json.
        action: The action feature.
        preprocessor: The steps before the network.
        postprocessor: The steps after the network.
        schedule: How single actions are taken from chunks.
        encode_task: Batch entries (without batch axis) of the instruction, for a network that
            reads it; raises ObservationError where there is none.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        features: Mapping[str, Feature],
        action: Feature,
        preprocessor: Preprocessor,
        postprocessor: Postprocessor,
        schedule: ChunkSchedule,
        encode_task: Callable[[str | None], Mapping[str, Tensor]] | None = None,
    ) -> None:
        self._network = network.eval().requires_grad_(False).to(preprocessor.device)
        self._features = dict(features)
        self._action = action
        self._preprocessor = preprocessor
        self._postprocessor = postprocessor
        self._schedule = schedule
        self._encode_task = encode_task
        self._queue: deque[Tensor] = deque()
        coefficient = schedule.temporal_ensemble_coefficient
        self._ensembler = (
            None if coefficient is None else TemporalEnsembler(coefficient, schedule.chunk_size)
        )

    @property
    def input_features(self) -> Mapping[str, Feature]:
        """The features an observation must hold, by the name it must hold them under."""
        given_names = {new: old for old, new in self._preprocessor.renames.items()}
        return {given_names.get(name, name): f for name, f in self._features.items()}

    @property
    def action_size(self) -> int:
        """A, the number of values of one action."""
        return self._action.shape[0]

    @property
    def chunk_size(self) -> int:
        """T, the number of actions of one chunk, one control period apart."""
        return self._schedule.chunk_size

    def reset(self) -> None:
        """Forgets queued actions and past chunks: call it at the start of an episode."""
        self._queue.clear()
        if self._ensembler is not None:
            self._ensembler.reset()

    def predict_normalized_chunk(self, observation: Mapping[str, object]) -> np.ndarray:
        """The network's own output, before unnormalisation.

        Returns:
            (T, A) float32, normalised units.

        Raises:
            ObservationError: The observation does not fit the input features.
        """
        chunk: np.ndarray = self._predict(self._tensors(observation)).cpu().numpy()
        return chunk

    def predict_action_chunk(self, observation: Mapping[str, object]) -> np.ndarray:
        """The actions that follow an observation; leaves the state of select_action alone.

        Args:
            observation: Arrays by feature name (see the interface).

        Returns:
            (T, A) float32, physical units; row 0 belongs to the observation's own step.

        Raises:
            ObservationError: The observation does not fit the input features.
        """
        chunk: np.ndarray = self._postprocessor(self._predict(self._tensors(observation))).numpy()
        return chunk

    def select_action(self, observation: Mapping[str, object]) -> np.ndarray:
        """The action for this step: call it once per control period.

        The observation is checked at every step, also when a queued action answers it.

        Args:
            observation: Arrays by feature name (see the interface).

        Returns:
            (A,) float32, physical units.

        Raises:
            ObservationError: The observation does not fit the input features.
        """
        tensors = self._tensors(observation)
        if self._ensembler is not None:
            action = self._ensembler.update(self._predict(tensors))
        else:
            if not self._queue:
                self._queue.extend(self._predict(tensors)[: self._schedule.n_action_steps])
            action = self._queue.popleft()
        selected: np.ndarray = self._postprocessor(action).numpy()
        return selected

    def _tensors(self, observation: Mapping[str, object]) -> dict[str, Tensor]:
        task = task_text(observation)
        tensors = feature_tensors(self._preprocessor.rename(observation), self._features)
        if self._encode_task is not None:
            tensors.update(self._encode_task(task))
        return tensors

    @torch.inference_mode()
    def _predict(self, tensors: Mapping[str, Tensor]) -> Tensor:
        chunks: Tensor = self._network(self._preprocessor(tensors))
        return chunks[0]
