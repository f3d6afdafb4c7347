"""Accuracy of an OmniVGGT model with none, some or all auxiliary inputs, in the paper's shape.

Source of the table's shape: OmniVGGT (arXiv 2511.10560), table 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.geometry.evaluation_completion import CompletionErrors, completion_errors
from sensorium.geometry.evaluation_metrics import (
    LEAST_BASELINE_M,
    absolute_relative_error,
    accuracy_within,
    area_under_curve,
    median_scale,
    pair_errors,
    within_delta,
)
from sensorium.geometry.evaluation_views import EvaluationGroup
from sensorium.models.omnivggt import OmniVGGT
from sensorium.models.omnivggt.pose_encoding import decode_cameras
from sensorium.models.omnivggt.processor import OmniVGGTProcessor, PreparedView

ALIGNMENT = (
    "AbsRel and d<1.25: depth of all views of a group multiplied by one factor, the median of true "
    "over predicted depth. AbsRel metric: the factor comes from what the model was given, the "
    "median of measured over predicted depth of the views with depth, else true over predicted "
    "baselines of the views with cameras. RRA, RTA, AUC: relative poses of all pairs, no alignment."
)
METRICS = ("AbsRel", "d<1.25", "AbsRel metric", "RRA@5", "RTA@5", "AUC@30")


@dataclass(frozen=True)
class Condition:
    """Which share of the views has depth and cameras."""

    name: str
    depth: float = 0.0
    cameras: float = 0.0


CONDITIONS = (
    Condition("none"),
    *(Condition(f"depth {share} %", depth=share / 100) for share in (30, 50, 70, 100)),
    *(Condition(f"cameras {share} %", cameras=share / 100) for share in (30, 50, 70, 100)),
    Condition("both 100 %", depth=1.0, cameras=1.0),
)
EXACT_DEPTH = "exact depth 100 %"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A group at the size of the model's input.

    Attributes:
        views: as the processor made them; depth is what was measured.
        camera_from_world: (S, 4, 4) float64.
        true_depth_m: (S, h, w) float32, 0 where unknown.
    """

    views: tuple[PreparedView, ...]
    camera_from_world: NDArray[np.float64]
    true_depth_m: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says of S views: depth and confidence (S, h, w), poses (S, 3, 4), its unit."""

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    camera_from_world: NDArray[np.float64]


@dataclass(eq=False)
class Scores:
    """Numbers of every group, in the order of the groups.

    Attributes:
        names: Of the groups.
        metrics: {condition: {metric: [number per group]}}.
        true_depth_m: (S, h, w) of each group, for the predictors that see no image.
        completion: Of each group.
    """

    names: list[str] = field(default_factory=list)
    metrics: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    true_depth_m: list[NDArray[np.float32]] = field(default_factory=list)
    completion: list[CompletionErrors] = field(default_factory=list)


def evaluate(
    model: OmniVGGT,
    groups: Iterable[EvaluationGroup],
    *,
    width_px: int,
    truth_is_exact: bool,
    seed: int = 0,
) -> Scores:
    """Runs a model on groups of views under every condition.

    Args:
        model: In eval mode, on its device.
        groups: Neighbouring views.
        width_px: Width of the model's input.
        truth_is_exact: False for recordings, whose truth is what was measured; then there is no
            row with exact depth.
        seed: Draws which views have depth and which blocks are hidden.
    """
    processor = OmniVGGTProcessor(width_px=width_px, patch_size=model.config.patch_size)
    scores = Scores()
    for group in groups:
        random = np.random.default_rng((seed, len(scores.names)))
        prepared = prepare(group, processor)
        count = len(group.views)
        order = random.permutation(count)
        scores.names.append(group.name)
        for condition in CONDITIONS:
            with_depth = sorted(order[: _share(condition.depth, count)].tolist())
            with_cameras = list(range(_share(condition.cameras, count)))
            prediction = predict(model, prepared, with_depth, with_cameras)
            values = measure(prepared, prediction, with_depth, with_cameras)
            _keep(scores, condition.name, values)
        if truth_is_exact:
            exact = torch.from_numpy(prepared.true_depth_m)
            everywhere = list(range(count))
            prediction = predict(model, prepared, everywhere, [], depth_m=exact)
            _keep(scores, EXACT_DEPTH, measure(prepared, prediction, everywhere, []))
        scores.true_depth_m.append(prepared.true_depth_m)
        scores.completion.append(completion_errors(model, group, processor, random))
    return scores


def prepare(group: EvaluationGroup, processor: OmniVGGTProcessor) -> Prepared:
    """Brings a group to the size of the model's input."""
    views, true = [], []
    for view in group.views:
        color, intrinsics = torch.from_numpy(view.color), torch.from_numpy(view.K)
        views.append(processor(color, intrinsics, torch.from_numpy(view.measured_depth_m)))
        exact = processor(color, intrinsics, torch.from_numpy(view.true_depth_m)).depth_m
        assert exact is not None  # noqa: S101 - depth was given
        true.append(exact.numpy())
    poses = np.stack([np.linalg.inv(view.world_from_camera) for view in group.views])
    return Prepared(tuple(views), poses, np.stack(true))


def predict(
    model: OmniVGGT,
    prepared: Prepared,
    with_depth: list[int],
    with_cameras: list[int],
    depth_m: Tensor | None = None,
) -> Prediction:
    """Runs the model on a group.

    Args:
        model: In eval mode.
        prepared: The group.
        with_depth: Views whose depth is given.
        with_cameras: Views whose camera is given.
        depth_m: (S, h, w) depth to give in place of what was measured; 0 where invalid.
    """
    device = next(model.parameters()).device
    images = torch.stack([view.image for view in prepared.views])
    if depth_m is None:
        depth_m = torch.stack([_depth(view) for view in prepared.views])
    intrinsics = torch.stack([_intrinsics(view) for view in prepared.views])
    poses = torch.from_numpy(prepared.camera_from_world[:, :3])
    with torch.inference_mode():
        result = model(
            images=images.to(device),
            extrinsics=poses.to(device),
            intrinsics=intrinsics.to(device),
            depth=depth_m[..., None].to(device),
            depth_views=with_depth,
            camera_views=with_cameras,
            with_points=False,
        )
    size = (images.shape[-2], images.shape[-1])
    camera_from_world, _ = decode_cameras(result["pose_enc"][0].double().cpu(), size)
    return Prediction(
        result["depth"][0, ..., 0].float().cpu().numpy(),
        result["depth_conf"][0].float().cpu().numpy(),
        camera_from_world.numpy(),
    )


def measure(
    prepared: Prepared, prediction: Prediction, with_depth: list[int], with_cameras: list[int]
) -> dict[str, float]:
    """Returns every number of ``METRICS`` for one group."""
    known = prepared.true_depth_m > 0
    predicted = prediction.depth[known].astype(np.float64)
    true = prepared.true_depth_m[known].astype(np.float64)
    aligned = predicted * median_scale(predicted, true)
    metres = predicted * metric_scale(prepared, prediction, with_depth, with_cameras)
    errors = pair_errors(prediction.camera_from_world, prepared.camera_from_world)
    return {
        "AbsRel": absolute_relative_error(aligned, true),
        "d<1.25": within_delta(aligned, true),
        "AbsRel metric": absolute_relative_error(metres, true),
        "RRA@5": accuracy_within(errors.rotation_deg, 5.0),
        "RTA@5": accuracy_within(errors.direction_deg, 5.0),
        "AUC@30": area_under_curve(errors),
    }


def metric_scale(
    prepared: Prepared, prediction: Prediction, with_depth: list[int], with_cameras: list[int]
) -> float:
    """Metres per unit of the model, from what it was given; NaN where that says nothing."""
    if with_depth:
        measured = np.stack([_depth(prepared.views[view]).numpy() for view in with_depth])
        valid = measured > 0
        own = prediction.depth[with_depth][valid].astype(np.float64)
        return median_scale(own, measured[valid].astype(np.float64))
    if len(with_cameras) > 1:
        own, true = (
            _baselines(poses[with_cameras])
            for poses in (prediction.camera_from_world, prepared.camera_from_world)
        )
        if true.mean() >= LEAST_BASELINE_M and own.mean() > 0:
            return float(true.mean() / own.mean())
    return float("nan")


def _baselines(camera_from_world: NDArray[np.float64]) -> NDArray[np.float64]:
    rotation, translation = camera_from_world[:, :3, :3], camera_from_world[:, :3, 3]
    centres = -np.einsum("sji,sj->si", rotation, translation)
    result: NDArray[np.float64] = np.linalg.norm(centres[1:] - centres[0], axis=1)
    return result


def _keep(scores: Scores, condition: str, values: dict[str, float]) -> None:
    row = scores.metrics.setdefault(condition, {metric: [] for metric in METRICS})
    for metric, value in values.items():
        row[metric].append(value)


def _share(share: float, count: int) -> int:
    return max(1, round(share * count)) if share else 0


def _depth(view: PreparedView) -> Tensor:
    assert view.depth_m is not None  # noqa: S101 - depth was given
    return view.depth_m


def _intrinsics(view: PreparedView) -> Tensor:
    assert view.intrinsics is not None  # noqa: S101 - intrinsics were given
    return view.intrinsics
