"""Action chunks over absolute time: merging, expiry, dropping of what has passed.

Row i of a chunk is the position to be reached at ``stamp_ns + (i + 1) * period_ns``, where
``stamp_ns`` is the time of the observation. So a chunk that took long to predict is late, not
shifted: its first rows lie in the past and are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sensorium.policy.rejections import Reason, Rejection

__all__ = ["ActionChunk", "ChunkBuffer", "CrossFade", "Merge", "Plan", "TemporalEnsemble"]


@dataclass(frozen=True, eq=False)
class ActionChunk:
    """Joint positions that a policy predicted from one observation.

    Attributes:
        stamp_ns: Time of the observation.
        period_ns: Time from row to row, positive.
        positions: (T, J) float64 [rad or m]; not checked for finiteness here (the guards do).

    Raises:
        ValueError: The period is not positive or positions are not (T, J) with T > 0.
    """

    stamp_ns: int
    period_ns: int
    positions: NDArray[np.float64]

    def __post_init__(self) -> None:
        positions: ArrayLike = self.positions
        matrix = np.array(positions, dtype=np.float64)
        if self.period_ns <= 0:
            raise ValueError(f"chunk period is {self.period_ns} ns; it must be positive")
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(f"chunk positions have shape {matrix.shape}; give (steps, joints)")
        matrix.setflags(write=False)
        object.__setattr__(self, "positions", matrix)

    @property
    def times_ns(self) -> NDArray[np.int64]:
        """(T,) int64 time at which each row is to be reached."""
        rows = np.arange(1, len(self.positions) + 1, dtype=np.int64)
        return self.stamp_ns + rows * self.period_ns

    @property
    def end_ns(self) -> int:
        """Time of the last row."""
        return self.stamp_ns + len(self.positions) * self.period_ns

    def covers(self, times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which times lie between the first and the last row, (N,) bool."""
        return (times_ns >= self.stamp_ns + self.period_ns) & (times_ns <= self.end_ns)

    def sample(self, times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Positions at the given times (N,) by linear interpolation, (N, J); ends are held."""
        row = (times_ns - self.stamp_ns) / self.period_ns - 1.0
        row = np.clip(row, 0.0, len(self.positions) - 1.0)
        before = np.minimum(row.astype(np.int64), max(len(self.positions) - 2, 0))
        after = np.minimum(before + 1, len(self.positions) - 1)
        share = (row - before)[:, None]
        sampled: NDArray[np.float64] = (
            self.positions[before] * (1.0 - share) + self.positions[after] * share
        )
        return sampled


@dataclass(frozen=True, eq=False)
class Plan:
    """What the merged chunks want from now on.

    Attributes:
        stamp_ns: Observation time of the newest chunk.
        period_ns: Time between its rows.
        now_ns: The moment it was made for.
        present: (J,) what is wanted at that moment; where the newest chunk begins later, its
            first line is extended backwards.
        times_ns: (N,) int64 rows of the newest chunk after ``now_ns``; N > 0.
        positions: (N, J) float64 merged positions at those times.
    """

    stamp_ns: int
    period_ns: int
    now_ns: int
    present: NDArray[np.float64]
    times_ns: NDArray[np.int64]
    positions: NDArray[np.float64]


class Merge(Protocol):
    """How live chunks become one plan."""

    def __call__(
        self,
        chunks: Sequence[ActionChunk],
        accepted_ns: Sequence[int],
        times_ns: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Merged positions.

        Args:
            chunks: Live chunks, oldest observation first; the newest covers all the times.
            accepted_ns: When each was accepted.
            times_ns: (N,) int64 times to evaluate.

        Returns:
            (N, J) float64.
        """


@dataclass(frozen=True)
class TemporalEnsemble:
    """Weighted mean of every chunk that speaks about a time.

    Source: Zhao et al. 2023 (ACT), Algorithm 2: weights exp(-m * i), i = 0 for the oldest chunk
    that covers the time; here by absolute time instead of by step.

    Attributes:
        coefficient: m; 0.01 in the paper. Positive prefers old chunks, negative new ones.
    """

    coefficient: float = 0.01

    def __call__(
        self,
        chunks: Sequence[ActionChunk],
        accepted_ns: Sequence[int],
        times_ns: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Merged positions (N, J); see :class:`Merge`."""
        covered = np.stack([chunk.covers(times_ns) for chunk in chunks])
        rank = np.cumsum(covered, axis=0) - 1
        last_rank = covered.sum(axis=0) - 1
        # Both signs of the coefficient stay in range: the largest exponent is zero.
        shift = rank if self.coefficient >= 0 else rank - last_rank
        weights = np.where(covered, np.exp(-self.coefficient * shift), 0.0)
        weights /= weights.sum(axis=0)
        sampled = np.stack([chunk.sample(times_ns) for chunk in chunks])
        merged: NDArray[np.float64] = np.einsum("cn,cnj->nj", weights, sampled)
        return merged


@dataclass(frozen=True)
class CrossFade:
    """Each new chunk takes over gradually from what was planned before it.

    The plan is continuous at the moment of acceptance. The fade is shortened where the previous
    chunk ends earlier.

    Attributes:
        duration_ns: Time from the old plan to the new one; 0 switches at once.
    """

    duration_ns: int

    def __call__(
        self,
        chunks: Sequence[ActionChunk],
        accepted_ns: Sequence[int],
        times_ns: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Merged positions (N, J); see :class:`Merge`."""
        merged = chunks[0].sample(times_ns)
        for i in range(1, len(chunks)):
            begin_ns = max(accepted_ns[i], chunks[i].stamp_ns + chunks[i].period_ns)
            fade_ns = min(self.duration_ns, chunks[i - 1].end_ns - begin_ns)
            if fade_ns <= 0:
                share = (times_ns >= begin_ns).astype(np.float64)
            else:
                share = np.clip((times_ns - begin_ns) / fade_ns, 0.0, 1.0)
            merged = (1.0 - share)[:, None] * merged + share[:, None] * chunks[i].sample(times_ns)
        return merged


class ChunkBuffer:
    """Holds the chunks that still have something to say and makes one plan of them.

    Args:
        merge: How chunks are merged.
        max_age_ns: A chunk whose observation is older than this has expired.
        replan_threshold_ns: A new chunk is wanted when the plan reaches no further than this.
        clock_tolerance_ns: How far in the future a chunk's observation may be stamped.

    Raises:
        ValueError: A duration is negative or ``max_age_ns`` is zero.
    """

    def __init__(
        self,
        merge: Merge,
        *,
        max_age_ns: int,
        replan_threshold_ns: int,
        clock_tolerance_ns: int = 0,
    ) -> None:
        if max_age_ns <= 0 or replan_threshold_ns < 0 or clock_tolerance_ns < 0:
            raise ValueError(
                f"max_age_ns {max_age_ns} must be positive; replan_threshold_ns "
                f"{replan_threshold_ns} and clock_tolerance_ns {clock_tolerance_ns} not negative"
            )
        self._merge = merge
        self._max_age_ns = max_age_ns
        self._replan_threshold_ns = replan_threshold_ns
        self._clock_tolerance_ns = clock_tolerance_ns
        self._chunks: list[ActionChunk] = []
        self._accepted_ns: list[int] = []

    def add(self, chunk: ActionChunk, now_ns: int) -> Rejection | None:
        """Takes a chunk that has passed the guards.

        Args:
            chunk: The chunk.
            now_ns: The present time.

        Returns:
            None, or why it was not taken: expired, from the future, older than one already
            taken, not finite, or of another number of joints.
        """
        self._drop_expired(now_ns)
        rejection = self._refusal(chunk, now_ns)
        if rejection is None:
            self._chunks.append(chunk)
            self._accepted_ns.append(now_ns)
        return rejection

    def plan(self, now_ns: int) -> Plan | None:
        """The merged chunks from now on, or None when nothing is left.

        Args:
            now_ns: The present time.

        Returns:
            The plan on the newest chunk's rows that lie after ``now_ns``.
        """
        self._drop_expired(now_ns)
        if not self._chunks:
            return None
        newest = self._chunks[-1]
        times_ns = newest.times_ns[newest.times_ns > now_ns]
        if not times_ns.size:
            return None
        positions = self._merged(times_ns)
        now = np.array([now_ns], dtype=np.int64)
        if newest.covers(now)[0]:
            present = self._merged(now)[0]
        else:
            slope = positions[1] - positions[0] if len(positions) > 1 else 0.0
            present = positions[0] - slope * ((int(times_ns[0]) - now_ns) / newest.period_ns)
        return Plan(
            stamp_ns=newest.stamp_ns,
            period_ns=newest.period_ns,
            now_ns=now_ns,
            present=present,
            times_ns=times_ns,
            positions=positions,
        )

    def needs_chunk(self, now_ns: int) -> bool:
        """Whether the plan reaches no further than the replan threshold."""
        self._drop_expired(now_ns)
        reach_ns = self._chunks[-1].end_ns - now_ns if self._chunks else 0
        return reach_ns <= self._replan_threshold_ns

    def reset(self) -> None:
        """Forgets all chunks: a new instruction, a stop, or a clock that jumped."""
        self._chunks.clear()
        self._accepted_ns.clear()

    def _merged(self, times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._merge(self._chunks, self._accepted_ns, times_ns)

    def _refusal(self, chunk: ActionChunk, now_ns: int) -> Rejection | None:
        age_ns = now_ns - chunk.stamp_ns
        if not np.isfinite(chunk.positions).all():
            return Rejection(Reason.CHUNK_NOT_FINITE, "the chunk holds NaN or infinity")
        if self._chunks and chunk.positions.shape[1] != self._chunks[-1].positions.shape[1]:
            return Rejection(
                Reason.CHUNK_SHAPE,
                f"the chunk has {chunk.positions.shape[1]} joints, earlier ones had "
                f"{self._chunks[-1].positions.shape[1]}",
            )
        if age_ns < -self._clock_tolerance_ns:
            return Rejection(
                Reason.CHUNK_FROM_FUTURE,
                f"the chunk's observation is stamped {-age_ns / 1e9:.3f} s in the future; check "
                "that the clocks agree (use_sim_time on every node)",
            )
        if age_ns > self._max_age_ns or chunk.end_ns <= now_ns:
            return Rejection(
                Reason.CHUNK_EXPIRED,
                f"the chunk's observation is {age_ns / 1e9:.3f} s old (limit "
                f"{self._max_age_ns / 1e9:.3f} s) and its last row lies "
                f"{(now_ns - chunk.end_ns) / 1e9:.3f} s back; inference is too slow",
            )
        if self._chunks and chunk.stamp_ns <= self._chunks[-1].stamp_ns:
            return Rejection(
                Reason.CHUNK_OUT_OF_ORDER,
                f"the chunk's observation at {chunk.stamp_ns} ns is not newer than the last one "
                f"at {self._chunks[-1].stamp_ns} ns",
            )
        return None

    def _drop_expired(self, now_ns: int) -> None:
        live = [
            i
            for i, chunk in enumerate(self._chunks)
            if chunk.end_ns > now_ns and now_ns - chunk.stamp_ns <= self._max_age_ns
        ]
        self._chunks = [self._chunks[i] for i in live]
        self._accepted_ns = [self._accepted_ns[i] for i in live]
