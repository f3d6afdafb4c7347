"""Pooled OmniVGGT tokens of every step of a training set, computed once and kept beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.models.policy.geo.configuration import GEOMETRY_GLOBAL
from sensorium.policy.dataset import DEPTH, INTRINSICS, TrainingSet
from sensorium.policy.dataset_features import IMAGE
from sensorium.policy.pooled_tokens import PooledTokensConfiguration, TokenPooler
from sensorium.policy.pooled_tokens_record import PooledTokensRecord

__all__ = ["PooledSet", "pooled_set"]

_BATCH = 64
_REPORT_EVERY = 2048
_LEAST_STD = 1e-6


@dataclass(frozen=True, eq=False)
class PooledSet:
    """Vectors of all steps of a training set.

    Attributes:
        values: (steps, C) float32.
        record: What they were made of.
        mean: (C,) float32 over the steps.
        std: (C,) float32; 1 where a value does not vary.
    """

    values: NDArray[np.float32]
    record: PooledTokensRecord
    mean: Tensor
    std: Tensor

    def normalized(self, steps: NDArray[np.int64]) -> Tensor:
        """(B, C) of some steps, as the checkpoint's normalizer gives them to the network."""
        return (torch.from_numpy(self.values[steps]) - self.mean) / (self.std + 1e-8)


def pooled_set(
    data: TrainingSet,
    configuration: PooledTokensConfiguration,
    report: Callable[[str], None] = lambda _: None,
) -> PooledSet:
    """Reads the vectors of a training set, or makes and keeps them.

    They are kept in the set's folder under a name that tells weights, inputs, size and pooling.

    Args:
        data: The training set.
        configuration: What to make.
        report: Takes one line of progress now and then.

    Raises:
        ValueError: The set lacks depth or intrinsics that are needed.
        WeightsError: The weights are missing or refused.
    """
    pooler = TokenPooler(configuration)
    record = pooler.record
    if pooler.needs_depth and not {DEPTH, INTRINSICS} <= data.arrays.keys():
        raise ValueError(
            f"training set {data.directory} keeps no depth, of which tokens of inputs 'rgbd' are "
            "made; record it with training/policy/record_training_set.py --keep-depth, give "
            "demonstrations in place of features, or train with inputs 'rgb'"
        )
    size = f"{record.input_height_px}x{record.input_width_px}"
    tag = f"{record.inputs}-{size}-{record.pooling}-{record.weights_sha256[:16]}"
    path = data.directory / f"{GEOMETRY_GLOBAL}.{tag}.npy"
    if not path.exists() or len(np.load(path, mmap_mode="r")) != len(data):
        # The handle keeps numpy from adding a second suffix.
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, _made(data, pooler, report))
        partial.replace(path)
    values = np.load(path)
    mean, std = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    return PooledSet(
        values,
        record,
        torch.from_numpy(mean.astype(np.float32)),
        torch.from_numpy(np.where(std < _LEAST_STD, 1.0, std).astype(np.float32)),
    )


def _made(
    data: TrainingSet, pooler: TokenPooler, report: Callable[[str], None]
) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(data), _BATCH):
        part = slice(start, start + _BATCH)
        depth_m = intrinsics = None
        if DEPTH in data.arrays and INTRINSICS in data.arrays:
            depth_m = np.asarray(data.arrays[DEPTH][part], np.float32)
            intrinsics = np.asarray(data.arrays[INTRINSICS][part], np.float64)
        parts.append(pooler(np.asarray(data.arrays[IMAGE][part], np.uint8), depth_m, intrinsics))
        if start % _REPORT_EVERY == 0:
            report(f"pooled tokens ({pooler.record.inputs}): {start} of {len(data)} steps")
    return np.concatenate(parts)
