"""Behaviour cloning of the policy `geo` on a training set."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sensorium.configuration import parameter
from sensorium.models.policy.fields import Fields
from sensorium.models.policy.geo.configuration import (
    GEOMETRY_GLOBAL,
    HEADS_OF_GEOMETRY,
    STATE,
    TOKEN_VALID,
    read_geo_configuration,
)
from sensorium.models.policy.geo.modeling import GeoNetwork, Prediction
from sensorium.models.policy.geo.processor import WORD_MASK, WORDS
from sensorium.models.policy.geo.words import WordTable
from sensorium.policy.dataset import CELL, TrainingSet
from sensorium.policy.dataset_features import IMAGE
from sensorium.policy.dataset_pooled_tokens import PooledSet, pooled_set
from sensorium.policy.pooled_tokens import PooledTokensConfiguration
from sensorium.policy.training_checkpoint import (
    MOTION_UNIT_M,
    geo_configuration_fields,
    write_checkpoint,
)

__all__ = ["TrainingConfiguration", "behaviour_cloning_loss", "train"]

_STATE_FILE = "training_state.pt"
_LOG_FILE = "training.jsonl"
_REPORT_EVERY = 100


@dataclass(frozen=True)
class TrainingConfiguration:
    """Network and recipe; what `sensorium train policy --config` reads."""

    geometry: str = parameter(
        "tokens", "How geometry enters the network.", choices=HEADS_OF_GEOMETRY
    )
    chunk_size: int = parameter(8, "Steps of a chunk.", minimum=1, maximum=64)
    n_action_steps: int = parameter(2, "Steps used of each chunk.", minimum=1, maximum=64)
    picture_stride: int = parameter(
        2, "Places of the picture's own reading are so many tokens wide and high.", minimum=1,
        maximum=64,
    )  # fmt: skip
    channels: int = parameter(32, "Width of the convolutions.", minimum=8, maximum=512)
    heads: int = parameter(8, "Attention heads over tokens.", minimum=2, maximum=64)
    hidden: int = parameter(384, "Width of the action token.", minimum=16, maximum=4096)
    injector_widths: tuple[int, ...] = parameter(
        (128, 256, 256), "Hidden widths of the injector (pooled, point_cloud).", minimum=8,
        maximum=4096,
    )  # fmt: skip
    cloud_points: int = parameter(
        1024, "Points that the network looks at (point_cloud): every n-th token.", minimum=1,
        maximum=1_000_000,
    )  # fmt: skip
    pooled_tokens: PooledTokensConfiguration = field(default_factory=PooledTokensConfiguration)
    minutes: float = parameter(
        0.0, "Wall time after which the training ends, in place of steps; 0 for steps [min].",
        minimum=0.0, maximum=1440.0,
    )  # fmt: skip
    steps: int = parameter(16000, "Optimiser steps.", minimum=1, maximum=10_000_000)
    batch_size: int = parameter(128, "Observations per step.", minimum=1, maximum=4096)
    learning_rate: float = parameter(1.5e-3, "Highest learning rate.", minimum=1e-7, maximum=1.0)
    warm_up_steps: int = parameter(200, "Steps until it is reached.", minimum=1, maximum=100_000)
    weight_decay: float = parameter(1e-3, "AdamW's weight decay.", minimum=0.0, maximum=1.0)
    average_decay: float = parameter(
        0.999, "Of the moving average of the weights that is saved.", minimum=0.0, maximum=0.99999
    )
    geometry_dropout: float = parameter(
        0.1, "Share of observations without any token.", minimum=0.0, maximum=1.0
    )
    word_noise: float = parameter(
        0.75, "Length of the noise on each word's direction (which has length 1).", minimum=0.0,
        maximum=4.0,
    )  # fmt: skip
    word_dropout: float = parameter(0.1, "Share of words left out.", minimum=0.0, maximum=0.9)
    gripper_weight: float = parameter(0.3, "Of the gripper's loss.", minimum=0.0, maximum=10.0)
    keyframe_weight: float = parameter(
        0.1, "Of the loss that shows head 0 the next keyframe.", minimum=0.0, maximum=10.0
    )
    bfloat16: bool = parameter(True, "Compute in bfloat16 where torch's autocast does.")
    seed: int = parameter(0, "Of initial weights, order and noise.", minimum=0, maximum=2**31)
    save_every_s: float = parameter(180.0, "Time between checkpoints [s].", minimum=1.0)


def behaviour_cloning_loss(
    prediction: Prediction,
    motion: Tensor,
    gripper: Tensor,
    mask: Tensor,
    cell: Tensor,
    valid: Tensor | None,
    columns: int,
    configuration: TrainingConfiguration,
) -> dict[str, Tensor]:
    """The parts of the loss and their sum.

    Smooth L1 on motion, cross-entropy on the gripper, and cross-entropy of what head 0 attends to
    against the cell of the next keyframe (CLIPort, PerAct), for picture and bank alike.

    Args:
        prediction: Of the network.
        motion: (B, T, 3) normalised labels.
        gripper: (B, T) labels, 1 open.
        mask: (B, T), 0 for rows that do not count.
        cell: (B,) keyframe cell, -1 for none.
        valid: (B, N) tokens that can be attended to, or None without a bank.
        columns: Columns of the token grid, for the coarser grid of the picture's reading.
        configuration: Weights of the parts.

    Returns:
        Scalars "motion", "gripper", "keyframe" and "total".
    """
    rows, stride = mask.sum().clamp(min=1.0), configuration.picture_stride
    # Later rows are farther away and less certain.
    certainty = torch.arange(1, motion.shape[1] + 1).rsqrt()[:, None]
    distance = functional.smooth_l1_loss(
        prediction.motion * certainty, motion * certainty, reduction="none", beta=0.1
    )
    parts = {"motion": (distance.mean(2) * mask).sum() / rows}
    closed = functional.binary_cross_entropy_with_logits(
        prediction.gripper, gripper, reduction="none"
    )
    parts["gripper"] = (closed * mask).sum() / rows
    known = cell >= 0
    target = cell.clamp(min=0).long()
    coarse = target // columns // stride * (columns // stride) + target % columns // stride
    pictured = functional.cross_entropy(
        prediction.picture_logits[:, 0].float(), coarse, reduction="none"
    )
    keyframe = (pictured * known).sum() / known.sum().clamp(min=1)
    if prediction.token_logits is not None and valid is not None:
        attainable = known & (valid.gather(1, target[:, None])[:, 0] > 0)
        logits = prediction.token_logits[:, 0].float().masked_fill(valid == 0, -1e4)
        attended = functional.cross_entropy(logits, target, reduction="none")
        keyframe = keyframe + (attended * attainable).sum() / attainable.sum().clamp(min=1)
    parts["keyframe"] = keyframe
    parts["total"] = (
        parts["motion"]
        + configuration.gripper_weight * parts["gripper"]
        + configuration.keyframe_weight * keyframe
    )
    return parts


class _Batches:
    """Random observations of a training set with their labels, as tensors."""

    def __init__(
        self, data: TrainingSet, configuration: TrainingConfiguration, pooled: PooledSet | None
    ) -> None:
        self._data = data
        self._configuration = configuration
        self._pooled = pooled
        table = WordTable()
        self._sentences = [
            [table.encode(sentence, 16) for sentence in sentences]
            for sentences in data.instructions
        ]
        needed = {"tokens": 3, "point_cloud": 3}.get(configuration.geometry, 0)
        names = [name for name in data.arrays if name.startswith("observation.geometry")]
        self._names = [IMAGE, STATE, *(names if needed else [])]

    def draw(
        self, random: np.random.Generator
    ) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]:
        """A batch of the network and (motion, gripper, mask, cell)."""
        configuration, data = self._configuration, self._data
        steps = np.sort(random.integers(len(data), size=configuration.batch_size))
        batch = {name: torch.from_numpy(data.arrays[name][steps]) for name in self._names}
        batch = {name: value.float() for name, value in batch.items()}
        batch[IMAGE] = batch[IMAGE].permute(0, 3, 1, 2) / 255.0
        if self._pooled is not None:
            batch[GEOMETRY_GLOBAL] = self._pooled.normalized(steps)
        tasks = np.asarray(data.arrays["task"])[steps]
        chosen = [self._sentences[t][int(random.integers(len(self._sentences[t])))] for t in tasks]
        batch[WORDS], batch[WORD_MASK] = self._spoilt(
            torch.stack([words for words, _ in chosen]), torch.stack([mask for _, mask in chosen])
        )
        if configuration.geometry == "tokens" and configuration.geometry_dropout:
            kept = torch.rand(len(steps), 1) >= configuration.geometry_dropout
            batch[TOKEN_VALID] = batch[TOKEN_VALID] * kept
        motion, gripper, mask = data.chunks(steps, configuration.chunk_size)
        cell = torch.from_numpy(np.asarray(data.arrays[CELL])[steps])
        labels = (
            torch.from_numpy(motion) / MOTION_UNIT_M, torch.from_numpy(gripper),
            torch.from_numpy(mask), cell,
        )  # fmt: skip
        return batch, labels

    def _spoilt(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Words moved to neighbouring directions and some left out, so that synonyms work."""
        configuration = self._configuration
        noise = torch.randn_like(words) * configuration.word_noise / math.sqrt(words.shape[-1])
        words = functional.normalize(words + noise, dim=-1) * mask[..., None]
        return words, mask * (torch.rand_like(mask) >= configuration.word_dropout)


def train(
    data: TrainingSet,
    configuration: TrainingConfiguration,
    output: Path,
    *,
    resume: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Trains and writes the checkpoint directory, also every few minutes on the way.

    Args:
        data: The training set.
        configuration: Network and recipe.
        output: Checkpoint directory in LeRobot's layout, with the training's own state and log.
        resume: Go on from the state in ``output``.
        report: Takes one line of progress now and then.

    Returns:
        ``output``.

    Raises:
        FileNotFoundError: ``resume`` without a state.
        ValueError: Pooled tokens cannot be made of the set; the text says what it lacks.
        WeightsError: The weights of pooled tokens are missing or refused.
    """
    is_pooled = configuration.geometry == "pooled"
    pooled = pooled_set(data, configuration.pooled_tokens, report) if is_pooled else None
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(configuration.seed)
    fields = geo_configuration_fields(configuration, data, pooled)
    network = GeoNetwork(read_geo_configuration(Fields(fields, "the training configuration")))
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(
        network.parameters(), configuration.learning_rate, weight_decay=configuration.weight_decay
    )
    first, spent_s = 0, 0.0
    if resume:
        state = torch.load(output / _STATE_FILE, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, first, spent_s = state["average"], int(state["step"]), float(state["spent_s"])
    batches = _Batches(data, configuration, pooled)
    random = np.random.default_rng((configuration.seed, first))
    sums: dict[str, float] = {}
    begun = saved = time.monotonic()
    done, progress = first, 0.0
    while progress < 1.0:
        elapsed_s = spent_s + time.monotonic() - begun
        progress = _progress(done + 1, elapsed_s, configuration)
        for group in optimizer.param_groups:
            group["lr"] = configuration.learning_rate * _schedule(done, progress, configuration)
        batch, labels = batches.draw(random)
        with torch.autocast("cpu", torch.bfloat16, enabled=configuration.bfloat16):
            prediction = network.predict(batch)
        parts = behaviour_cloning_loss(
            prediction, *labels, batch.get(TOKEN_VALID), data.columns, configuration
        )
        optimizer.zero_grad(set_to_none=True)
        parts["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        done += 1
        # The average starts as a plain mean, so that early checkpoints are no initial weights.
        decay = min(configuration.average_decay, done / (done + 9))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                average[name].lerp_(value, 1.0 - decay)
        for name, part in parts.items():
            sums[name] = sums.get(name, 0.0) + float(part.detach())
        if done % _REPORT_EVERY == 0:
            line = {"step": done, "minutes": round(elapsed_s / 60, 2)}
            means = {name: round(total / _REPORT_EVERY, 5) for name, total in sums.items()}
            with (output / _LOG_FILE).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line | means) + "\n")
            report(json.dumps(line | means))
            sums.clear()
        if progress >= 1.0 or time.monotonic() - saved > configuration.save_every_s:
            state = {
                "network": network.state_dict(), "optimizer": optimizer.state_dict(),
                "average": average, "step": done, "spent_s": elapsed_s,
            }  # fmt: skip
            torch.save(state, output / _STATE_FILE)
            write_checkpoint(output, fields, average, configuration, done, pooled)
            saved = time.monotonic()
    return output


def _progress(steps: int, elapsed_s: float, configuration: TrainingConfiguration) -> float:
    """Share of the training that is over; 1 ends it."""
    if configuration.minutes:
        return elapsed_s / (60.0 * configuration.minutes)
    return steps / configuration.steps


def _schedule(done: int, progress: float, configuration: TrainingConfiguration) -> float:
    """Share of the learning rate: linear warm-up, then half a cosine down to 2 %."""
    warm = min(1.0, (done + 1) / configuration.warm_up_steps)
    return warm * (0.02 + 0.49 * (1.0 + math.cos(math.pi * min(1.0, progress))))
