"""An episode of a recording: its observations, and the rows of a training set made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.policy.actions import ActionMapper
from sensorium.policy.commands import RecordedCommands
from sensorium.policy.contract import Contract, TipTargets
from sensorium.policy.dataset import CELL, GRIPPER, MOTION, STEPS_LEFT, TASK, keyframe_steps
from sensorium.policy.dataset_features import GEOMETRY, IMAGE, STATE
from sensorium.policy.keyframes import cell_of

__all__ = ["ACTION", "STAMPS", "ObservedRow", "RecordedEpisode", "is_trainable"]

ACTION = "action"
"""Array of a training set: (steps, A) float32, what was commanded for one period later."""
STAMPS = "stamps_ns"
"""Array of a training set: (steps,) int64, stamps of the observations."""

_MADE_OF = (IMAGE, STATE, f"{GEOMETRY}.points", f"{GEOMETRY}.features", f"{GEOMETRY}.valid")

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ObservedRow:
    """One observation.

    Attributes:
        stamp_ns: Its stamp.
        segment: Rows of one segment are one period apart.
        features: Arrays by feature name, as the policy is shown them.
        chain: (n,) positions of the kinematic chain; None where the contract needs none.
        projection: (3, 4) from the base to the token grid; None where it is not known.
    """

    stamp_ns: int
    segment: int
    features: dict[str, NDArray[Any]]
    chain: Float64 | None
    projection: Float64 | None


@dataclass(eq=False)
class RecordedEpisode:
    """An episode as it is read; kept in memory until it is over.

    Attributes:
        instruction: The sentence.
        task: Name of the task.
        success: Whether it is to be learnt from.
        rows: Its observations.
        end_ns: When it ended.
        commandless: Rows without a known command for the next period; set by :meth:`arrays`.
        segments: Runs of rows one period apart; set by :meth:`arrays`.
    """

    instruction: str
    task: str
    success: bool = True
    rows: list[ObservedRow] = field(default_factory=list)
    end_ns: int = 0
    commandless: int = 0
    segments: int = 0

    def arrays(
        self, contract: Contract, mapper: ActionMapper, commands: RecordedCommands, task: int
    ) -> dict[str, NDArray[Any]]:
        """The rows of a training set.

        Args:
            contract: Rate, and what columns of actions mean.
            mapper: Makes actions of commanded positions.
            commands: What was commanded in this episode.
            task: Index of the task.

        Returns:
            Arrays by name, (n, ...); nothing where no row has a command. Features have the types
            and values that the policy is shown.
        """
        kept: list[int] = []
        actions: list[NDArray[np.float32]] = []
        for i, row in enumerate(self.rows):
            time_ns = row.stamp_ns + contract.period_ns
            commanded = commands.at(time_ns) if time_ns <= self.end_ns else None
            if commanded is not None:
                kept.append(i)
                actions.append(mapper.action(commanded, row.chain))
        self.commandless = len(self.rows) - len(kept)
        if not kept:
            return {}
        lengths = self._segment_lengths(kept)
        self.segments = len(lengths)
        rows = [self.rows[i] for i in kept]
        arrays: dict[str, NDArray[Any]] = {
            name: np.stack([row.features[name] for row in rows]) for name in rows[0].features
        }
        arrays[ACTION] = np.stack(actions)
        arrays[STAMPS] = np.array([row.stamp_ns for row in rows], dtype=np.int64)
        arrays[TASK] = np.full(len(rows), task, dtype=np.int32)
        arrays[STEPS_LEFT] = np.concatenate([np.arange(n)[::-1] for n in lengths]).astype(np.int32)
        if is_trainable(contract):
            arrays |= _labels_of_geo(contract, rows, arrays[ACTION], arrays[STATE][:, :3])
        return arrays

    def _segment_lengths(self, kept: Sequence[int]) -> list[int]:
        lengths = [1]
        for before, i in pairwise(kept):
            if i != before + 1 or self.rows[i].segment != self.rows[before].segment:
                lengths.append(0)
            lengths[-1] += 1
        return lengths


def is_trainable(contract: Contract) -> bool:
    """Whether ``sensorium train policy`` reads sets of a contract: it trains the policy `geo`."""
    action = contract.action
    return (
        isinstance(action, TipTargets)
        and bool(action.gripper_joint)
        and action.scale_m == 1.0
        and all(name in contract.shapes for name in _MADE_OF)
    )


def _labels_of_geo(
    contract: Contract,
    rows: Sequence[ObservedRow],
    action: NDArray[np.float32],
    tips: NDArray[np.float32],
) -> dict[str, NDArray[Any]]:
    """Arrays under the names that ``sensorium train policy`` reads."""
    bank = contract.tokens[GEOMETRY]
    places = tips[keyframe_steps(action[:, 3])]
    cells = [
        cell_of(row.projection, place, bank.rows, bank.columns)
        for row, place in zip(rows, places, strict=True)
    ]
    return {
        MOTION: action[:, :3],
        GRIPPER: (action[:, 3] > 0.5).astype(np.uint8),
        CELL: np.array(cells, dtype=np.int32),
    }
