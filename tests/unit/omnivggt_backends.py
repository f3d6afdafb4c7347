"""An OmniVGGT backend on a weights file with small random weights, and one whose model is told."""

from __future__ import annotations

import json
import math

import numpy as np
import torch
from omnivggt_models import CONFIGURATION, small_model
from safetensors.torch import save_file

from sensorium.configuration import build
from sensorium.frames import RgbdFrame, pinhole
from sensorium.geometry.omnivggt import OmniVGGTBackend
from sensorium.geometry.omnivggt_configuration import OmniVGGTConfiguration
from sensorium.geometry.sensor import SensorConfiguration
from sensorium.poses import inverse, quaternion_from_pose

WIDTH_PX, HEIGHT_PX = 112, 84
# Half the image size: every pixel of the model covers two by two.
INPUT = {"input_width_px": 56, "input_height_px": 42}
# The principal point lies off the middle and keeps 100 x 72 px around it.
CAMERA = pinhole(WIDTH_PX, HEIGHT_PX, (90.0, 91.0), (49.5, 47.5))
CENTRED = pinhole(WIDTH_PX, HEIGHT_PX, 90.0)


def save_small_weights(path, seed=0):
    """Write small random weights with their configuration; returns the path."""
    metadata = {"configuration": json.dumps(CONFIGURATION)}
    save_file(small_model(seed).state_dict(), path, metadata)
    return path


def make_backend(weights, **values):
    """A configured backend; values by their dotted names."""
    configuration = build(OmniVGGTConfiguration, {"weights": str(weights), **INPUT, **values})
    backend = OmniVGGTBackend(configuration, SensorConfiguration())
    backend.configure()
    return backend


def view(stamp_ns, *, camera=CAMERA, depth_m=None, pose=None, name="wrist", color=True, seed=0):
    """A frame of noise; `depth_m` a number for a wall or an array."""
    if depth_m is not None:
        depth_m = np.broadcast_to(np.float32(depth_m), (HEIGHT_PX, WIDTH_PX)).astype(np.float32)
    random = np.random.default_rng((seed, stamp_ns))
    return RgbdFrame(
        stamp_ns=stamp_ns,
        camera_name=name,
        optical_frame=f"{name}_optical",
        color=random.integers(0, 255, (HEIGHT_PX, WIDTH_PX, 3), np.uint8) if color else None,
        color_camera=camera if color else None,
        depth_m=depth_m,
        depth_camera=camera if depth_m is not None else None,
        world_frame="" if pose is None else "map",
        world_from_camera=pose,
    )


def at(x=0.0, y=0.0, z=0.0, yaw_rad=0.0):
    """A pose turned about its optical axis."""
    pose = np.eye(4)
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    pose[:2, :2] = ((c, -s), (s, c))
    pose[:3, 3] = x, y, z
    return pose


class ToldModel:
    """Makes the model of a backend say what a test wants, by stamp; everything else runs.

    Attributes:
        depth: depth of every pixel in the unit of the model.
        raw_confidence: of every pixel.
        window_from_camera: pose of the view of a stamp.
        fov_rad: vertical and horizontal field of view.
        shown_cameras: for each call whether known cameras were given.
    """

    def __init__(self, backend, monkeypatch):
        self.depth, self.raw_confidence = 0.5, 2.0
        self.window_from_camera = lambda _stamp_ns: np.eye(4)
        self.fov_rad = (0.8, 1.0)
        self.points_depth = None
        self.shown_cameras = []
        window = backend._window
        model = window._model
        aggregate, predict, summarise = model.aggregate, model.predict, window._predict

        def told_aggregate(tokens, size, cameras=None, depth=None):
            self.shown_cameras.append(cameras is not None)
            return aggregate(tokens, size, cameras, depth)

        def told_window(encoded, use_cameras=None):
            self._stamps = [entry.view.stamp_ns for entry in encoded]
            return summarise(encoded, use_cameras)

        def told_predict(layers, size, *, output_views, with_points):
            result = predict(layers, size, output_views=output_views, with_points=with_points)
            poses = [self.window_from_camera(stamp) for stamp in self._stamps]
            encoding = [
                [*inverse(p)[:3, 3], *quaternion_from_pose(inverse(p)), *self.fov_rad]
                for p in poses
            ]
            result["pose_enc"] = torch.tensor(encoding)[None].float()
            result["depth"] = torch.full_like(result["depth"], self.depth)
            result["depth_conf"] = torch.full_like(result["depth_conf"], self.raw_confidence)
            if with_points:
                result["world_points"][..., 2] = self.points_depth
            return result

        monkeypatch.setattr(model, "aggregate", told_aggregate)
        monkeypatch.setattr(model, "predict", told_predict)
        monkeypatch.setattr(window, "_predict", told_window)
