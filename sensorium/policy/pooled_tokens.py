"""`observation.geometry.global`: OmniVGGT's tokens of one frame as one vector.

Made here for training and library evaluation, many frames at once. The live graph makes the same
vector of the tokens message of the geometry node (backend `omnivggt`, ``window_views: 1``) by the
same :func:`sensorium.policy.features.pooled_feature`.

Source: the VLA of OmniVGGT (arXiv 2511.10560): tokens of the last aggregator layer without camera
and register tokens, (N, 2 x embed_dim), pooled to one vector; the geometry model is frozen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.configuration import parameter
from sensorium.frames import CameraModel, RgbdFrame
from sensorium.geometry.omnivggt_configuration import OmniVGGTConfiguration
from sensorium.geometry.omnivggt_views import prepared_view
from sensorium.models.omnivggt import OmniVGGTProcessor
from sensorium.models.omnivggt.auxiliary import (
    KnownCameras,
    KnownDepth,
    known_cameras,
    known_depth,
)
from sensorium.models.omnivggt.processor import PreparedView
from sensorium.policy.contract import POOLINGS
from sensorium.policy.features import pooled_feature
from sensorium.policy.pooled_tokens_record import INPUTS, PooledTokensRecord
from sensorium.weights import load_omnivggt

__all__ = ["PooledTokensConfiguration", "TokenPooler"]

_CAMERA = "camera"
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class PooledTokensConfiguration:
    """What the pooled vector is made of; read for ``geometry: pooled`` only."""

    inputs: str = parameter(
        "rgbd", "What OmniVGGT sees: the picture, or also depth and intrinsics.", choices=INPUTS
    )
    weights: str = parameter(
        "omnivggt-small", "Weights: a name of `sensorium weights list`, or the path of a "
        ".safetensors file.",
    )  # fmt: skip
    input_width_px: int = parameter(
        0, "Width of the model's input, a multiple of 14; 0 for that of the weights [px].",
        minimum=0, maximum=2044,
    )  # fmt: skip
    input_height_px: int = parameter(
        0, "Height of the model's input, a multiple of 14; 0 for three quarters of the width. "
        "Pictures are cropped to this aspect [px].", minimum=0, maximum=2044,
    )  # fmt: skip
    pooling: str = parameter("mean", "How the tokens of a frame become one.", choices=POOLINGS)


class TokenPooler:
    """Makes pooled tokens of frames, each by itself (a window of one view).

    Args:
        configuration: Weights, sizes, inputs.

    Attributes:
        record: What it makes, for config.json.

    Raises:
        WeightsError: The weights are missing or refused.
        ValueError: The size is not whole patches.
    """

    def __init__(self, configuration: PooledTokensConfiguration) -> None:
        loaded = load_omnivggt(configuration.weights)
        self._model = loaded.model
        config = loaded.model.config
        size = OmniVGGTConfiguration(
            input_width_px=configuration.input_width_px,
            input_height_px=configuration.input_height_px,
        ).input_size(config.img_size, config.patch_size)
        self._processor = OmniVGGTProcessor(width_px=size[1], height_px=size[0])
        self.record = PooledTokensRecord(
            loaded.sha256, configuration.inputs, *size, size[0] // config.patch_size,
            size[1] // config.patch_size, config.token_dim, configuration.pooling,
        )  # fmt: skip

    @classmethod
    def as_recorded(cls, record: PooledTokensRecord, weights: str) -> TokenPooler:
        """The pooler of a trained policy.

        Args:
            record: Of the policy.
            weights: Name or file of OmniVGGT's weights.

        Raises:
            WeightsError: The weights are missing or refused.
            ValueError: They are not those that the policy was trained with.
        """
        made = cls(
            PooledTokensConfiguration(
                record.inputs, weights, record.input_width_px, record.input_height_px,
                record.pooling,
            )
        )  # fmt: skip
        for name, wanted in asdict(record).items():
            given = getattr(made.record, name)
            if given != wanted:
                raise ValueError(
                    f"tokens of weights '{weights}' have {name} {given!r}, the policy was trained "
                    f"with {wanted!r}: give the weights of its training (--geometry-weights)"
                )
        return made

    @property
    def needs_depth(self) -> bool:
        """Whether depth and intrinsics are shown to the model."""
        return self.record.inputs == "rgbd"

    def __call__(
        self,
        rgb: NDArray[np.uint8],
        depth_m: NDArray[np.float32] | None = None,
        intrinsics: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float32]:
        """The vectors of B frames.

        Args:
            rgb: (B, H, W, 3) uint8.
            depth_m: (B, H, W) registered to the pictures [m], NaN where there is none; ignored
                where only pictures are shown.
            intrinsics: (B, 3, 3) K of both [px]; pictures are cropped around the principal point.

        Returns:
            (B, 2 x embed_dim) float32.

        Raises:
            ValueError: Depth or intrinsics are needed and not given, or a frame has no valid depth.
            ViewRefused: A frame breaks a rule of the backend `omnivggt`.
        """
        if self.needs_depth and (depth_m is None or intrinsics is None):
            raise ValueError(
                "tokens of inputs 'rgbd' are made of picture, depth and intrinsics; depth and "
                "intrinsics are missing: record them, or train with inputs 'rgb'"
            )
        views = [
            prepared_view(
                _frame(
                    rgb[i],
                    depth_m[i] if depth_m is not None and self.needs_depth else None,
                    None if intrinsics is None else intrinsics[i],
                ),
                self._processor,
                _CPU,
            )
            for i in range(len(rgb))
        ]
        with torch.inference_mode():
            tokens = self._tokens(views).numpy()
        return np.stack([pooled_feature(one, self.record.pooling) for one in tokens])

    def _tokens(self, views: list[PreparedView]) -> Tensor:
        """(B, N, 2 x embed_dim) patch tokens of the last aggregator layer."""
        model = self._model
        size = self._processor.height_px, self._processor.width_px
        cameras, depth = self._hints(views, size) if self.needs_depth else (None, None)
        images = torch.stack([view.image for view in views])[:, None]
        last = model.config.depth - 1
        layers = model.aggregate(model.encode_images(images), size, cameras, depth, keep=(last,))
        tokens: Tensor = layers[last].join(tokens=slice(model.config.patch_start, None))
        return tokens[:, 0].float()

    @staticmethod
    def _hints(views: list[PreparedView], size: tuple[int, int]) -> tuple[KnownCameras, KnownDepth]:
        """As of windows of one view each: field of view without pose, and depth."""
        intrinsics, depth, masks = [], [], []
        for view in views:
            assert view.intrinsics is not None  # noqa: S101 - asked for by the caller
            assert view.depth_m is not None  # noqa: S101
            assert view.mask is not None  # noqa: S101
            if not bool(view.mask.any()):
                raise ValueError(
                    "a frame has no valid depth; the backend 'omnivggt' would make no such tokens "
                    "of it either: leave it out, or train with inputs 'rgb'"
                )
            intrinsics.append(view.intrinsics.double())
            depth.append(view.depth_m)
            masks.append(view.mask)
        origin = torch.eye(4, dtype=torch.float64)[None, None, :3].expand(len(views), -1, -1, -1)
        cameras = known_cameras(origin, torch.stack(intrinsics)[:, None], (0,), size)
        return cameras, known_depth(
            torch.stack(depth)[:, None, ..., None], torch.stack(masks)[:, None], (0,)
        )


def _frame(
    rgb: NDArray[np.uint8],
    depth_m: NDArray[np.float32] | None,
    intrinsics: NDArray[np.float64] | None,
) -> RgbdFrame:
    height_px, width_px = rgb.shape[:2]
    camera = None if intrinsics is None else CameraModel(width_px, height_px, intrinsics)
    depth_camera = None if depth_m is None else camera
    # Arrays of a training set are mapped from disk and read-only; torch wants its own.
    depth_m = None if depth_m is None else np.array(depth_m, np.float32)
    return RgbdFrame(0, _CAMERA, _CAMERA, np.array(rgb), camera, depth_m, depth_camera)
