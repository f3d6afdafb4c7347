"""What must not change the result, from the published description; numbers free of the model."""

from __future__ import annotations

import math

import pytest
import torch
from omnivggt_models import (
    cameras,
    depth,
    largest_difference,
    random_images,
    rotation,
    small_model,
)

from sensorium.models.omnivggt.auxiliary import normalise_cameras, normalise_depth

VIEWS = 3


@pytest.fixture(scope="module")
def model():
    return small_model(dtype=torch.float64)


@pytest.fixture(scope="module")
def inputs():
    extrinsics, intrinsics = cameras(VIEWS)
    metres, mask = depth(VIEWS)
    return {
        "images": random_images(VIEWS).double(),
        "extrinsics": extrinsics,
        "intrinsics": intrinsics.double(),
        "depth": metres.double(),
        "mask": mask,
        "camera_views": [0, 1, 2],
        "depth_views": [0, 2],
    }


@pytest.fixture(scope="module")
def expected(model, inputs):
    return model(**inputs)


def test_every_auxiliary_input_is_read(model, inputs, expected):
    for change in ({"camera_views": []}, {"depth_views": []}, {"mask": inputs["mask"] * 0}):
        assert largest_difference(model(**(inputs | change)), expected) > 1e-4


def test_the_world_frame_of_the_cameras_does_not_matter(model, inputs, expected):
    camera_from_world = torch.eye(4, dtype=torch.float64).repeat(1, VIEWS, 1, 1)
    camera_from_world[..., :3, :] = inputs["extrinsics"]
    world_from_other = torch.eye(4, dtype=torch.float64)
    world_from_other[:3, :3] = rotation((0.3, -1, 0.2), 1.1)
    world_from_other[:3, 3] = torch.tensor([5000.0, -300.0, 12.0])
    moved = (camera_from_world @ world_from_other)[..., :3, :]
    assert largest_difference(model(**(inputs | {"extrinsics": moved})), expected) < 1e-6


def test_the_unit_of_the_poses_does_not_matter(model, inputs, expected):
    scaled = inputs["extrinsics"].clone()
    scaled[..., 3] *= 7.3
    assert largest_difference(model(**(inputs | {"extrinsics": scaled})), expected) < 1e-6


def test_the_unit_of_the_depth_does_not_matter(model, inputs, expected):
    millimetres = model(**(inputs | {"depth": inputs["depth"] * 1000}))
    assert largest_difference(millimetres, expected) < 1e-6


def test_the_principal_point_does_not_matter(model, inputs, expected):
    shifted = inputs["intrinsics"].clone()
    shifted[..., :2, 2] += 50
    assert largest_difference(model(**(inputs | {"intrinsics": shifted})), expected) == 0


def test_a_boolean_mask_equals_a_float_mask(model, inputs, expected):
    as_float = model(**(inputs | {"mask": inputs["mask"].double()}))
    assert largest_difference(as_float, expected) == 0


def test_values_of_views_that_are_not_listed_are_not_read(model, inputs):
    few = inputs | {"camera_views": [0, 1]}
    spoilt = {key: few[key].clone() for key in ("extrinsics", "intrinsics", "depth")}
    spoilt["extrinsics"][:, 2] = float("nan")
    spoilt["intrinsics"][:, 2] = 0
    spoilt["depth"][:, 1] = float("nan")
    assert largest_difference(model(**(few | spoilt)), model(**few)) == 0


def test_masked_depth_values_do_not_matter(model, inputs, expected):
    changed = torch.where(inputs["mask"][..., None], inputs["depth"], 77.0)
    assert largest_difference(model(**(inputs | {"depth": changed})), expected) < 1e-12


def test_batch_elements_do_not_see_each_other(model, inputs, expected):
    other = {key: inputs[key].flip(1) for key in ("images", "depth", "mask")}
    other["extrinsics"], other["intrinsics"] = (x.double() for x in cameras(VIEWS, seed=9))
    both = {key: torch.cat([inputs[key], other[key]]) for key in other}
    together = model(**(inputs | both))
    assert largest_difference({k: v[:1] for k, v in together.items()}, expected) < 1e-9


def test_a_depth_map_without_a_valid_pixel_is_not_the_same_as_no_depth(model, inputs):
    nothing = inputs | {"mask": torch.zeros_like(inputs["mask"])}
    outputs = model(**nothing)
    assert all(bool(value.isfinite().all()) for value in outputs.values())
    assert largest_difference(outputs, model(**(nothing | {"depth_views": []}))) > 1e-4


def test_cameras_are_moved_to_the_first_and_scaled_by_the_mean_of_the_others():
    camera_from_world = torch.zeros(1, 3, 3, 4, dtype=torch.float64)
    camera_from_world[..., :3] = torch.eye(3, dtype=torch.float64)
    # Centres at (1, 0, 0), (1, 2, 0) and (1, 0, 4): distances 2 and 4, mean 3.
    camera_from_world[0, :, :, 3] = -torch.tensor([[1.0, 0, 0], [1, 2, 0], [1, 0, 4]])
    normalised = normalise_cameras(camera_from_world)
    wanted = torch.tensor([[0.0, 0, 0], [0, -2 / 3, 0], [0, 0, -4 / 3]], dtype=torch.float64)
    torch.testing.assert_close(normalised[0, :, :, 3], wanted)


def test_cameras_in_one_place_stay_finite_and_a_single_one_is_the_identity():
    extrinsics, _ = cameras(1)
    still = normalise_cameras(extrinsics.repeat(1, 2, 1, 1))
    identity = torch.eye(4, dtype=torch.float64)[:3].expand(1, 2, 3, 4)
    torch.testing.assert_close(still, identity, atol=1e-8, rtol=0)
    torch.testing.assert_close(normalise_cameras(extrinsics), identity[:, :1])


def test_depth_is_divided_by_the_mean_over_all_views_together():
    metres = torch.tensor([[[[1.0, 2.0]], [[3.0, 100.0]]]])
    mask = torch.tensor([[[[1.0, 1.0]], [[1.0, 0.0]]]])
    wanted = torch.tensor([[[[0.5, 1.0]], [[1.5, 0.0]]]])
    torch.testing.assert_close(normalise_depth(metres, mask), wanted)


def test_baseline_jitter_is_blown_up_to_unit_length():
    # Why a standing robot must not feed its poses: the published model does this.
    extrinsics = torch.zeros(1, 2, 3, 4, dtype=torch.float64)
    extrinsics[..., :3] = torch.eye(3, dtype=torch.float64)
    extrinsics[0, 1, 0, 3] = 1e-5
    assert math.isclose(float(normalise_cameras(extrinsics)[0, 1, 0, 3]), 1.0)
