"""The published model's numbers, keys and norms, from ../shared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sensorium.models.omnivggt import OmniVGGT, OmniVGGTConfig

# Threads cost more than they bring on matrices this small.
torch.set_num_threads(1)

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "omnivggt"
CASES = ["both_batch2", "cam_prefix", "depth_subset", "one_view_all", "rgb_rect", "rgb_square"]
OUTPUTS = ["pose_enc", "depth", "depth_conf", "world_points", "world_points_conf"]

pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason=f"{REFERENCE} is not there (it is never shipped)"
)


def _model(dtype: torch.dtype) -> OmniVGGT:
    model = OmniVGGT(OmniVGGTConfig(**json.loads((REFERENCE / "config.json").read_text())))
    model.load_state_dict(load_file(REFERENCE / "weights.safetensors"), strict=True)
    return model.to(dtype).eval()


def _inputs(case: str, dtype: torch.dtype) -> dict[str, object]:
    tensors = {
        key.rsplit("/", 1)[1]: value
        for key, value in load_file(REFERENCE / "cases.safetensors").items()
        if key.startswith(f"{case}/in/")
    }
    inputs: dict[str, object] = {
        "depth_views": tensors.pop("depth_gt_index").tolist(),
        "camera_views": tensors.pop("camera_gt_index").tolist(),
    }
    return inputs | {key: value.to(dtype) for key, value in tensors.items()}


def _expected(case: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    name = "cases_float64" if dtype == torch.float64 else "cases"
    return {
        key.rsplit("/", 1)[1]: value
        for key, value in load_file(REFERENCE / f"{name}.safetensors").items()
        if key.startswith(f"{case}/out/")
    }


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    return float(((ours - theirs).abs() / (1 + theirs.abs())).max())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-6)])
def test_outputs_equal_the_published_ones(case: str, dtype: torch.dtype, tolerance: float) -> None:
    model, inputs, expected = _model(dtype), _inputs(case, dtype), _expected(case, dtype)
    with torch.no_grad():
        outputs = model(**inputs)
    for key in OUTPUTS:
        assert _difference(outputs[key], expected[key]) < tolerance, key


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_the_same_with_gradients_on(case: str) -> None:
    # Without gradients a CPU runs view by view; with them all views run together.
    outputs = _model(torch.float32)(**_inputs(case, torch.float32))
    expected = _expected(case, torch.float32)
    for key in OUTPUTS:
        assert _difference(outputs[key].detach(), expected[key]) < 2e-5, key


def test_every_iteration_of_the_camera_head_equals_the_published_one() -> None:
    model, inputs = _model(torch.float64), _inputs("rgb_square", torch.float64)
    seen: list[list[torch.Tensor]] = []
    model.camera_head.register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.no_grad():
        model(**inputs)
    expected = _expected("rgb_square", torch.float64)
    assert len(seen[0]) == 4
    for index, encoding in enumerate(seen[0]):
        assert _difference(encoding, expected[f"pose_enc_list[{index}]"]) < 1e-6


def test_the_default_model_has_all_published_keys_and_shapes() -> None:
    published = json.loads((REFERENCE / "full_state_dict_keys.json").read_text())
    with torch.device("meta"):
        state = OmniVGGT(OmniVGGTConfig()).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == published
    assert len(published) == 1505


def test_every_norm_has_the_published_eps() -> None:
    published = json.loads((REFERENCE / "norm_eps.json").read_text())
    config = OmniVGGTConfig(**json.loads((REFERENCE / "config.json").read_text()))
    with torch.device("meta"):
        modules = OmniVGGT(config).named_modules()
    ours = {name: m.eps for name, m in modules if isinstance(m, torch.nn.LayerNorm)}
    assert ours == published
