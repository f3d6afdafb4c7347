"""A trained model on one signal: samples in, estimates with window, fill share and validity out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sensorium.streaming.convert import ExecutorName, convert
from sensorium.streaming.model_file import SignalModel
from sensorium.streaming.sample_grid import GridRules, Run, SampleGrid, Samples, Stamps


class EstimateStatus(IntEnum):
    """Whether an estimate may be acted upon; only OK may."""

    OK = 0
    WARMING_UP = 1
    FILLED = 2


@dataclass(frozen=True)
class Estimate:
    """What the network says about one window.

    Attributes:
        stamp_ns: stamp of the newest sample of the window: the network's delay is taken off.
        window_start_ns: stamp of the window's first sample (while warming up: of the first yet).
        hop_index: hops since the signal (re)started, from 0.
        restarts: restarts of the signal so far.
        scores: (classes,) float32; empty while no window is full.
        fill_fraction: share of the window's samples that were filled.
        status: OK, or why the estimate is not valid.
    """

    stamp_ns: int
    window_start_ns: int
    hop_index: int
    restarts: int
    scores: npt.NDArray[np.float32]
    fill_fraction: float
    status: EstimateStatus


class SignalEstimator:
    """Feeds one model. The output depends on the samples only, not on how they were batched.

    Args:
        model: description of the network.
        network: the network in eval mode.
        rules: of the grid; rate and channels are the model's.
        max_filled: an estimate with a larger fill fraction is not valid.
        max_hops: most hops given to the network in one call.
        executor: see ``sensorium.streaming.convert``.

    Attributes:
        grid: places the samples and counts what became of each.
        stream: the converted network.

    Raises:
        NotStreamableError: the network cannot be streamed with its window, hop and mode.
    """

    def __init__(
        self,
        model: SignalModel,
        network: nn.Module,
        rules: GridRules,
        *,
        max_filled: float = 0.1,
        max_hops: int = 16,
        executor: ExecutorName = "auto",
    ) -> None:
        self.model = model
        self.grid = SampleGrid(rules)
        # Which of reuse and recomputation is faster is measured; the last bits of a result must
        # not depend on a measurement.
        self.stream = convert(
            network, window=model.window, hop=model.hop, channels=len(model.channels),
            mode="stream" if model.mode == "stream" else "exact_window",
            executor=executor, recompute="never",
        )  # fmt: skip
        times = self.stream.timeline
        # In mode "stream" the receptive field reads on into samples before the window.
        context = self.stream.report.receptive_field - 1 if model.mode == "stream" else 0
        self._settled = times.first_row_samples + context
        self._keep = model.window + times.delay
        self._max_filled, self._max_hops = max_filled, max_hops
        self._mean = np.array([c.mean for c in model.channels], np.float32)
        self._scale = np.array([c.scale for c in model.channels], np.float32)
        self._restarts = 0
        self._begun = False
        self._clear()

    @property
    def filling(self) -> float:
        """How much of what a valid estimate needs has come since the last restart [0 to 1]."""
        return min(1.0, self._pushed / self._settled)

    def restart(self, reason: str) -> None:
        """Forgets the signal; estimates warm up again."""
        self.grid.restart(reason)

    def add(self, stamps_ns: Sequence[int] | Stamps, samples: Samples) -> list[Estimate]:
        """Takes samples, returns one estimate per completed hop, oldest first.

        Args:
            stamps_ns: (n,) integer nanoseconds.
            samples: (n, channels) float32 in the channels' units and order.
        """
        estimates: list[Estimate] = []
        for run in self.grid.add(stamps_ns, samples):
            if run.starts_segment:
                self._restarts += self._begun
                self._begun = True
                self._clear()
            self._append(run)
            estimates += self._advance()
        return estimates

    def _clear(self) -> None:
        self.stream.reset()
        self._pushed = 0
        self._hop_index = 0
        # Stamps and fill flags of what is pushed or waiting, from grid position `_front` on.
        self._front = 0
        self._stamps = np.zeros(0, np.int64)
        self._filled = np.zeros(0, np.bool_)
        self._waiting = np.zeros((len(self.model.channels), 0), np.float32)

    def _append(self, run: Run) -> None:
        normalised = ((run.samples - self._mean) / self._scale).T
        self._waiting = np.concatenate([self._waiting, normalised], axis=1)
        self._stamps = np.concatenate([self._stamps, run.stamps_ns])
        self._filled = np.concatenate([self._filled, run.filled])

    def _advance(self) -> list[Estimate]:
        estimates: list[Estimate] = []
        hop = self.model.hop
        while (hops := min(self._waiting.shape[1] // hop, self._max_hops)) > 0:
            chunk, self._waiting = np.split(self._waiting, [hops * hop], axis=1)
            rows = self.stream.push(np.ascontiguousarray(chunk[None]))
            silent = hops - rows.shape[0]
            for number in range(hops):
                self._pushed += hop
                row = self._scores(rows[number - silent, 0]) if number >= silent else None
                estimates.append(self._estimate(row))
                self._hop_index += 1
        dropped = max(0, len(self._stamps) - self._keep - self._waiting.shape[1])
        self._stamps, self._filled = self._stamps[dropped:], self._filled[dropped:]
        self._front += dropped
        return estimates

    def _estimate(self, scores: npt.NDArray[np.float32] | None) -> Estimate:
        newest = self._pushed - self._front
        end = newest - self.stream.delay if scores is not None else newest
        start = max(0, end - self.model.window)
        fill = float(self._filled[start:end].mean())
        if self._pushed < self._settled or scores is None or self.grid.measured_rate_hz is None:
            status = EstimateStatus.WARMING_UP
        else:
            status = EstimateStatus.FILLED if fill > self._max_filled else EstimateStatus.OK
        return Estimate(
            stamp_ns=int(self._stamps[end - 1]),
            window_start_ns=int(self._stamps[start]),
            hop_index=self._hop_index,
            restarts=self._restarts,
            scores=np.zeros(0, np.float32) if scores is None else scores,
            fill_fraction=fill,
            status=status,
        )

    def _scores(self, row: Tensor) -> npt.NDArray[np.float32]:
        if self.model.scores == "softmax":
            row = torch.softmax(row, dim=-1)
        elif self.model.scores == "sigmoid":
            row = torch.sigmoid(row)
        scores: npt.NDArray[np.float32] = row.numpy().astype(np.float32)
        return scores
