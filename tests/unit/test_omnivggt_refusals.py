"""Inputs that break a rule are refused with the rule and the remedy."""

from __future__ import annotations

import pytest
import torch
from omnivggt_models import CONFIGURATION, cameras, depth, random_images, small_model

from sensorium.models.omnivggt import OmniVGGTConfig

VIEWS = 2


@pytest.fixture(scope="module")
def model():
    return small_model()


def _good():
    extrinsics, intrinsics = cameras(VIEWS)
    metres, mask = depth(VIEWS)
    return {
        "images": random_images(VIEWS),
        "extrinsics": extrinsics.float(),
        "intrinsics": intrinsics,
        "depth": metres,
        "mask": mask,
        "camera_views": [0, 1],
        "depth_views": [0, 1],
    }


def _with(tensor, index, value):
    changed = tensor.clone()
    changed[index] = value
    return changed


NAN = float("nan")

REFUSED = [
    ("images_side", lambda g: {"images": g["images"][..., :-1]}, "multiples of 14"),
    ("images_channels", lambda g: {"images": g["images"].transpose(2, 4)}, "three RGB channels"),
    ("images_8_bit", lambda g: {"images": (g["images"] * 255).byte()}, "divide by 255"),
    ("images_0_to_255", lambda g: {"images": g["images"] * 255}, "divide 8-bit values by 255"),
    ("images_nan", lambda g: {"images": g["images"] * NAN}, "replace NaN"),
    ("no_views", lambda g: {"images": g["images"][:, :0]}, "at least one view"),
    (
        "extrinsics_4x4",
        lambda g: {"extrinsics": torch.eye(4).expand(1, VIEWS, 4, 4)},
        r"extrinsics\[..., :3, :\]",
    ),
    ("extrinsics_count", lambda g: {"extrinsics": g["extrinsics"][:, :1]}, "one entry per view"),
    (
        "extrinsics_nan",
        lambda g: {"extrinsics": _with(g["extrinsics"], (0, 1, 0, 3), NAN)},
        "pose is known",
    ),
    ("intrinsics_missing", lambda g: {"intrinsics": None}, "needs both"),
    (
        "intrinsics_zero",
        lambda g: {"intrinsics": _with(g["intrinsics"], (0, 1, 0, 0), 0)},
        "positive and finite",
    ),
    (
        "depth_nan",
        lambda g: {"depth": _with(g["depth"], (0, 1, 3, 3, 0), NAN)},
        "1 NaN or infinite",
    ),
    (
        "depth_infinite",
        lambda g: {"depth": _with(g["depth"], (0, 0, 0, 0, 0), float("inf"))},
        "set them to 0",
    ),
    ("depth_without_channel", lambda g: {"depth": g["depth"][0, ..., 0]}, "depth has shape"),
    ("depth_integer", lambda g: {"depth": (g["depth"] * 1000).int()}, "floating point"),
    ("depth_missing", lambda g: {"depth": None}, "give depth"),
    ("mask_shape", lambda g: {"mask": g["mask"][..., None]}, "mask has shape"),
    ("view_unknown", lambda g: {"camera_views": [0, 2]}, r"in 0\.\.1"),
    ("view_twice", lambda g: {"depth_views": [1, 1]}, "at most once"),
    ("nothing_wanted", lambda g: {"output_views": []}, "at least one view"),
]


def test_the_inputs_that_the_cases_start_from_are_accepted(model):
    assert bool(model(**_good())["depth"].isfinite().all())


@pytest.mark.parametrize(("change", "text"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_a_broken_rule_is_refused(model, change, text):
    good = _good()
    with pytest.raises(ValueError, match=text):
        model(**(good | change(good)))


def test_masked_nan_depth_is_refused_too(model):
    good = _good()
    good["depth"][0, 0, 0, 0, 0] = NAN
    good["mask"][0, 0, 0, 0] = False
    with pytest.raises(ValueError, match="even where the mask is 0"):
        model(**good)


def test_everything_but_images_may_be_left_out(model):
    four_dimensions = model(random_images(VIEWS)[0])
    assert four_dimensions["pose_enc"].shape == (1, VIEWS, 9)


def test_without_lists_everything_given_is_used(model):
    good = _good()
    listed = model(**good)
    unlisted = model(**{k: v for k, v in good.items() if not k.endswith("_views")})
    assert torch.equal(listed["pose_enc"], unlisted["pose_enc"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"img_size": 50}, "multiple of patch_size"),
        ({"num_heads": 3}, "num_heads=3 must divide"),
        ({"num_heads": 16}, "multiple of 4"),
        ({"dpt_layers": [0, 1, 2, 4]}, r"0\.\.depth-1"),
        ({"dpt_layers": [0, 1, 2]}, "four entries"),
        ({"pose_hidden_dim": 8}, "must be 9"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(change, text):
    with pytest.raises(ValueError, match=text):
        OmniVGGTConfig(**(CONFIGURATION | change))


def test_an_unknown_configuration_key_is_refused():
    with pytest.raises(TypeError, match="track_head"):
        OmniVGGTConfig(track_head=True)
