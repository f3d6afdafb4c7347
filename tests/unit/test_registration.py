"""Registration of depth to colour against scenes whose depth is known in closed form."""

import numpy as np
import pytest

from sensorium.frames import CameraModel, FrameError, pinhole
from sensorium.registration import register_depth_to_color

DEPTH = pinhole(320, 240, 280.0)
SAME = pinhole(320, 240, 262.0)
FINER = pinhole(640, 480, 500.0)


def transform(angle_rad=0.02, translation=(-0.05, 0.003, 0.002)):
    pose = np.eye(4)
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    pose[:3, :3] = ((cosine, 0, sine), (0, 1, 0), (-sine, 0, cosine))
    pose[:3, 3] = translation
    return pose


def rays(camera):
    u, v = np.meshgrid(np.arange(camera.width_px), np.arange(camera.height_px))
    K = camera.K
    return np.stack(((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)), -1)


def plane_depth(camera, normal, distance):
    """Depth of the plane n . p = d seen by a camera in whose frame n and d are given."""
    return (distance / (rays(camera) @ normal)).astype(np.float32)


def plane_in_color(normal, distance, color_from_depth):
    rotated = color_from_depth[:3, :3] @ normal
    return rotated, distance + rotated @ color_from_depth[:3, 3]


@pytest.mark.parametrize("color", [SAME, FINER], ids=["same grid size", "colour twice as fine"])
@pytest.mark.parametrize("normal", [(0.0, 0.0, 1.0), (0.5, 0.2, 0.84)])
def test_a_plane_keeps_its_depth_without_cracks(color, normal):
    normal = np.array(normal) / np.linalg.norm(normal)
    color_from_depth = transform()
    depth = plane_depth(DEPTH, normal, 1.5)
    registered = register_depth_to_color(depth, DEPTH, color, color_from_depth)
    expected = plane_depth(color, *plane_in_color(normal, 1.5, color_from_depth))
    error = np.abs(registered - expected)
    # Every value is the depth of a pixel at most one depth pixel away.
    slope = sum(np.abs(np.diff(expected, axis=axis)).max() for axis in (0, 1))
    step = slope * max(1.0, color.K[0, 0] / DEPTH.K[0, 0])
    assert np.nanmax(error) <= step + 1e-5
    assert np.nanmedian(error) <= 0.3 * step + 1e-5
    # What both cameras see has no hole: go back from colour to depth by the formula.
    back = np.linalg.inv(color_from_depth)
    points = (rays(color) * expected[..., None]) @ back[:3, :3].T + back[:3, 3]
    pixel = (points @ DEPTH.K.T)[..., :2] / points[..., 2:]
    seen = ((pixel > 1) & (pixel < (DEPTH.width_px - 2, DEPTH.height_px - 2))).all(axis=-1)
    assert seen.mean() > 0.5
    assert np.isfinite(registered[seen]).all()
    outside = ((pixel < -2) | (pixel > (DEPTH.width_px + 1, DEPTH.height_px + 1))).any(axis=-1)
    assert not np.isfinite(registered[outside]).any()


def test_a_step_edge_hides_what_the_depth_camera_does_not_see():
    near, far, baseline = 1.0, 2.0, 0.1
    # Left half near, right half far; the colour camera is displaced to the right, so that a strip
    # of the far wall beside the edge is in view of colour only where depth sees it too.
    camera = pinhole(320, 240, 300.0)
    depth = np.full((240, 320), far, np.float32)
    depth[:, :160] = near
    for sign in (1, -1):
        color_from_depth = transform(0.0, (sign * baseline, 0, 0))
        result = register_depth_to_color(depth, camera, camera, color_from_depth)
        shift_near, shift_far = sign * 300 * baseline / near, sign * 300 * baseline / far
        column = np.arange(320)
        # Columns of the near wall, then of the far wall that depth saw; the near one wins.
        is_near = column < 160 + shift_near - 0.5
        is_near &= column >= shift_near - 0.5
        is_far = (column >= 160 + shift_far - 0.5) & (column < 320 + shift_far - 0.5)
        expected = np.full(320, np.nan)
        expected[is_far] = far
        expected[is_near] = near
        assert np.array_equal(result, np.broadcast_to(expected, result.shape), equal_nan=True)
        between = (column >= 160 + shift_near) & (column < 160 + shift_far)
        # Seen from the left, a gap opens that nothing may fill; from the right the far is covered.
        assert between.any() == (sign < 0)


def test_invalid_depth_stays_invalid_and_harms_nothing():
    depth = np.full((240, 320), 1.5, np.float32)
    depth[50:90, 60:120] = np.nan
    depth[150:160, 60:120] = 0.0
    depth[200:210, 60:120] = np.inf
    result = register_depth_to_color(depth, DEPTH, DEPTH, np.eye(4))
    expected = np.where((depth > 0) & np.isfinite(depth), depth, np.nan)
    assert np.array_equal(result, expected, equal_nan=True)
    nothing = register_depth_to_color(np.full_like(depth, np.nan), DEPTH, FINER, transform())
    assert nothing.shape == (480, 640) and nothing.dtype == np.float32
    assert np.isnan(nothing).all()


def test_what_is_behind_the_colour_camera_is_dropped():
    depth = np.full((240, 320), 1.5, np.float32)
    behind = np.eye(4)
    behind[2, 3] = -2.0
    assert np.isnan(register_depth_to_color(depth, DEPTH, DEPTH, behind)).all()


def test_distorted_cameras_and_wrong_sizes_are_refused_by_name():
    depth = np.ones((240, 320), np.float32)
    lens = CameraModel(320, 240, DEPTH.K, "plumb_bob", (0.1, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(FrameError, match=r"depth camera has distortion \('plumb_bob'\)"):
        register_depth_to_color(depth, lens, SAME, np.eye(4))
    with pytest.raises(FrameError, match="colour camera has distortion"):
        register_depth_to_color(depth, DEPTH, lens, np.eye(4))
    with pytest.raises(FrameError, match="320 x 240 px but its camera is 640 x 480"):
        register_depth_to_color(depth, FINER, SAME, np.eye(4))
