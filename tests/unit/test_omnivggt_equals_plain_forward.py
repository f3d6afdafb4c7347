"""The model against a plain forward written separately from the published description."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from omnivggt_models import cameras, depth, largest_difference, random_images, small_model

from sensorium.models.omnivggt.auxiliary import known_cameras, known_depth


def _plain_forward():
    path = Path(__file__).parents[2] / "benchmarks" / "omnivggt_plain.py"
    spec = importlib.util.spec_from_file_location("omnivggt_plain", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.plain_forward


@pytest.mark.parametrize(("views", "height", "width"), [(1, 42, 42), (3, 28, 42), (9, 42, 14)])
def test_outputs_equal_the_plain_forward(views, height, width):
    model = small_model()
    images = random_images(views, height, width)
    plain = _plain_forward()(model.config, dict(model.named_parameters()), images)
    with torch.no_grad():
        assert largest_difference(model(images), plain) < 2e-5


def test_running_with_and_without_gradients_gives_the_same():
    model = small_model(dtype=torch.float64)
    images = random_images(3).double()
    extrinsics, intrinsics = cameras(3)
    with torch.no_grad():
        view_by_view = model(images, extrinsics, intrinsics, camera_views=[0, 1])
    together = model(images, extrinsics, intrinsics, camera_views=[0, 1])
    assert largest_difference(view_by_view, together) < 1e-12


def test_gradients_reach_every_parameter_that_was_used():
    model = small_model().requires_grad_(requires_grad=True).train()
    extrinsics, intrinsics = cameras(2)
    metres, mask = depth(2)
    outputs = model(
        random_images(2), extrinsics, intrinsics, metres, mask, depth_views=[1], camera_views=[0]
    )
    sum(value.square().mean() for value in outputs.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    # It starts the first iteration, from which no gradient flows into the last.
    assert without == ["camera_head.empty_pose_tokens"]


def test_every_iteration_of_the_pose_can_be_trained():
    model = small_model().requires_grad_(requires_grad=True).train()
    layers = model.aggregate(model.encode_images(random_images(2)), (28, 42))
    iterations = model.pose_encodings(layers)
    assert len(iterations) == 4
    assert torch.equal(iterations[-1], model.predict(layers, (28, 42))["pose_enc"])
    sum(encoding.square().mean() for encoding in iterations).backward()
    assert model.camera_head.empty_pose_tokens.grad.abs().min() > 0


def test_the_three_steps_called_by_themselves_equal_one_call():
    model = small_model(dtype=torch.float64)
    images = random_images(3).double()
    extrinsics, intrinsics = cameras(3)
    metres, mask = depth(3)
    whole = model(
        images, extrinsics, intrinsics, metres, mask, depth_views=[2, 0], camera_views=[1, 0]
    )
    size = (28, 42)
    one_by_one = torch.cat([model.encode_images(images[:, i : i + 1]) for i in range(3)], dim=1)
    layers = model.aggregate(
        one_by_one,
        size,
        known_cameras(extrinsics, intrinsics, [1, 0], size),
        known_depth(metres, mask, [2, 0]),
    )
    assert set(layers) == {0, 1, 2, 3}
    assert largest_difference(model.predict(layers, size), whole) < 1e-6


def test_only_the_views_wanted_are_predicted_and_they_are_the_same():
    model = small_model()
    images = random_images(3)
    with torch.no_grad():
        whole = model(images)
        some = model(images, output_views=[2, 0], with_points=False)
    assert set(some) == {"pose_enc", "depth", "depth_conf"}
    wanted = {key: whole[key][:, [2, 0]] for key in ("depth", "depth_conf")}
    assert largest_difference(some, wanted | {"pose_enc": whole["pose_enc"]}) < 1e-5


def test_patch_tokens_are_not_modified_by_the_aggregator():
    model = small_model()
    tokens = model.encode_images(random_images(2))
    before = tokens.clone()
    metres, mask = depth(2)
    model.aggregate(tokens, (28, 42), None, known_depth(metres, mask, [0]))
    assert torch.equal(tokens, before)


def test_a_new_position_embedding_is_used_after_loading_other_weights():
    model, other = small_model(0), small_model(5)
    images = random_images(1, 28, 42)
    with torch.no_grad():
        model(images)
        model.load_state_dict(other.state_dict())
        assert largest_difference(model(images), other(images)) == 0


def test_mixed_precision_stays_close_and_keeps_heads_and_outputs_in_float32():
    model, mixed = small_model(), small_model()
    mixed.use_mixed_precision(torch.bfloat16)
    images = random_images(2)
    with torch.no_grad():
        exact, short = model(images), mixed(images)
    assert {value.dtype for value in short.values()} == {torch.float32}
    assert {p.dtype for p in mixed.depth_head.parameters()} == {torch.float32}
    assert 0 < float((exact["depth"] - short["depth"]).abs().median()) < 0.1


def test_the_full_size_model_runs_on_the_meta_device():
    from sensorium.models.omnivggt import OmniVGGT, OmniVGGTConfig

    with torch.device("meta"):
        model = OmniVGGT(OmniVGGTConfig())
        images = torch.empty(1, 2, 3, 294, 392)
    with torch.no_grad():
        outputs = model(images)
    assert sum(p.numel() for p in model.parameters()) == 1_217_494_552
    assert outputs["pose_enc"].shape == (1, 2, 9)
    assert outputs["depth"].shape == (1, 2, 294, 392, 1)
    assert outputs["world_points"].shape == (1, 2, 294, 392, 3)
