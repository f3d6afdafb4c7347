"""OmniVGGT: cameras, depth and points of a set of views, with optional known cameras and depth."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from sensorium.models.omnivggt.aggregator import Aggregator, LayerTokens
from sensorium.models.omnivggt.auxiliary import (
    KnownCameras,
    KnownDepth,
    known_cameras,
    known_depth,
)
from sensorium.models.omnivggt.camera_head import CameraHead
from sensorium.models.omnivggt.configuration import OmniVGGTConfig
from sensorium.models.omnivggt.dpt_head import DPTHead, activate_depth, activate_points
from sensorium.models.omnivggt.inputs import check_inputs


class OmniVGGT(nn.Module):
    """Feed-forward multi-view geometry with optional known cameras and depth.

    The call runs three steps, each of which can be called by itself: ``encode_images`` (one image
    at a time, its tokens can be kept while the view stays in a window), ``aggregate`` (all views
    of a window together) and ``predict`` (heads, only on the views wanted).

    Source: OmniVGGT (arXiv 2511.10560) and the published checkpoint, whose state dict loads
    strictly. Lengths in the output are in a unit of the model's own, not in metres.
    """

    def __init__(self, config: OmniVGGTConfig) -> None:
        super().__init__()
        self.config = config
        self.aggregator = Aggregator(config)
        self.camera_head = CameraHead(config)
        self.point_head = DPTHead(config, out_channels=4)
        self.depth_head = DPTHead(config, out_channels=2)

    def forward(
        self,
        images: Tensor,
        extrinsics: Tensor | None = None,
        intrinsics: Tensor | None = None,
        depth: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        depth_views: Sequence[int] | None = None,
        camera_views: Sequence[int] | None = None,
        output_views: Sequence[int] | None = None,
        with_points: bool = True,
    ) -> dict[str, Tensor]:
        """Estimates cameras, depth and points of S views seen together.

        Args:
            images: (B, S, 3, H, W) or (S, 3, H, W) (then B = 1), RGB in [0, 1]; H and W multiples
                of the patch size, 14.
            extrinsics: (B, S, 3, 4) camera from world, OpenCV axes, any length unit. Only rows of
                ``camera_views`` are read.
            intrinsics: (B, S, 3, 3) in pixels of ``images``. The principal point is ignored.
            depth: (B, S, H, W, 1) z-depth in any unit, finite on ``depth_views``.
            mask: (B, S, H, W), positive where the depth is valid; None: where it is positive.
            depth_views: Views whose depth is used; None: all, when ``depth`` is given.
            camera_views: Views whose camera is used; the first one listed becomes the origin.
                None: all, when ``extrinsics`` are given. The model was trained with cameras on
                the first views 0..k-1 only.
            output_views: Views of which depth and points are wanted, in this order; None: all.
            with_points: Run the point head. Points can also be had, usually more accurately, from
                depth and camera.

        Returns:
            ``pose_enc`` (B, S, 9), see ``pose_encoding.py``; ``depth`` (B, V, H, W, 1) z-depth;
            ``depth_conf`` (B, V, H, W) above 1; and with points ``world_points`` (B, V, H, W, 3) in
            the frame of view 0's camera and ``world_points_conf``. V counts the output views.

        Raises:
            ValueError: An input breaks a rule; the text names it, its value and the remedy.
        """
        inputs = check_inputs(
            self.config,
            images,
            extrinsics=extrinsics,
            intrinsics=intrinsics,
            depth=depth,
            mask=mask,
            depth_views=depth_views,
            camera_views=camera_views,
            output_views=output_views,
        )
        images = inputs.images
        image_size = (images.shape[-2], images.shape[-1])
        cameras = None
        if inputs.extrinsics is not None and inputs.intrinsics is not None:
            cameras = known_cameras(
                inputs.extrinsics, inputs.intrinsics, inputs.camera_views, image_size
            )
        measured = None
        if inputs.depth is not None:
            measured = known_depth(inputs.depth, inputs.mask, inputs.depth_views)
        layers = self.aggregate(self.encode_images(images), image_size, cameras, measured)
        return self.predict(
            layers, image_size, output_views=inputs.output_views, with_points=with_points
        )

    def use_mixed_precision(self, dtype: torch.dtype) -> None:
        """Stores the matrices of encoder and aggregator in a shorter dtype, for inference.

        Residual stream, norms, rotary embedding, injections and all heads stay in float32.

        Args:
            dtype: torch.bfloat16 is meant.
        """
        aggregator = self.aggregator
        for part in (aggregator.patch_embed, aggregator.frame_blocks, aggregator.global_blocks):
            for module in part.modules():
                if isinstance(module, (nn.Linear, nn.Conv2d)):
                    module.to(dtype)

    def encode_images(self, images: Tensor) -> Tensor:
        """Encodes each image by itself; the result depends on nothing else.

        Args:
            images: (B, S, 3, H, W), RGB in [0, 1], H and W multiples of the patch size.

        Returns:
            (B, S, patches, C) patch tokens, before depth is added.
        """
        tokens: Tensor = self.aggregator.patch_embed(images.flatten(0, 1))
        return torch.unflatten(tokens, 0, images.shape[:2])

    def aggregate(
        self,
        patch_tokens: Tensor,
        image_size: tuple[int, int],
        cameras: KnownCameras | None = None,
        depth: KnownDepth | None = None,
        *,
        keep: Collection[int] | None = None,
    ) -> dict[int, LayerTokens]:
        """Lets the views attend to one another.

        Args:
            patch_tokens: (B, S, patches, C) of ``encode_images``.
            image_size: (H, W) of the images.
            cameras: Result of ``known_cameras``, or None.
            depth: Result of ``known_depth``, or None.
            keep: Layers to keep; None: those the heads read.

        Returns:
            Tokens of the layers kept. ``layers[last].join(tokens=slice(patch_start, None))``
            gives geometry tokens (B, S, patches, 2 C).
        """
        if keep is None:
            keep = self.head_layers
        grid = (image_size[0] // self.config.patch_size, image_size[1] // self.config.patch_size)
        layers: dict[int, LayerTokens] = self.aggregator(patch_tokens, grid, cameras, depth, keep)
        return layers

    @property
    def head_layers(self) -> tuple[int, ...]:
        """Aggregator layers that the heads read, ascending and without repetition."""
        return tuple(sorted({*self.config.dpt_layers, self.config.depth - 1}))

    def pose_encodings(self, layers: dict[int, LayerTokens]) -> list[Tensor]:
        """Pose encodings (B, S, 9) after each iteration of the camera head, the last one best."""
        last = layers[self.config.depth - 1]
        encodings: list[Tensor] = self.camera_head(last.join(tokens=slice(0, 1))[:, :, 0])
        return encodings

    def predict(
        self,
        layers: dict[int, LayerTokens],
        image_size: tuple[int, int],
        *,
        output_views: Sequence[int] | None = None,
        with_points: bool = True,
    ) -> dict[str, Tensor]:
        """Runs the heads; see ``forward`` for arguments and result."""
        result = {"pose_enc": self.pose_encodings(layers)[-1]}
        count = layers[self.config.depth - 1].frame.shape[1]
        views = range(count) if output_views is None else output_views
        raw = self._dense(self.depth_head, layers, image_size, views)
        result["depth"], result["depth_conf"] = _per_view(activate_depth(raw), len(views))
        if with_points:
            raw = self._dense(self.point_head, layers, image_size, views)
            points, confidence = _per_view(activate_points(raw), len(views))
            result["world_points"], result["world_points_conf"] = points, confidence
        return result

    def _dense(
        self,
        head: DPTHead,
        layers: dict[int, LayerTokens],
        image_size: tuple[int, int],
        views: Sequence[int],
    ) -> Tensor:
        """Raw maps (B * V, channels, H, W), made for a few views at a time to bound the memory."""
        config = self.config
        grid = (image_size[0] // config.patch_size, image_size[1] // config.patch_size)
        patches = slice(config.patch_start, None)
        batch = layers[config.depth - 1].frame.shape[0]
        maps = []
        for chunk in _chunks(list(views), self._views_per_chunk(batch)):
            index = torch.tensor(chunk).to(layers[config.depth - 1].frame.device)
            read = [layers[layer].join(index, patches).flatten(0, 1) for layer in config.dpt_layers]
            maps.append(torch.unflatten(head(read, grid, image_size), 0, (batch, len(chunk))))
        return torch.cat(maps, dim=1).flatten(0, 1)

    def _views_per_chunk(self, batch: int) -> int:
        # On a CPU one view at a time is fastest as well as smallest. Gradients keep every chunk's
        # activations anyway.
        on_cpu = self.depth_head.norm.weight.device.type == "cpu"
        if torch.is_grad_enabled() or not on_cpu:
            return max(1, 8 // batch)
        return 1


def _per_view(maps: tuple[Tensor, Tensor], views: int) -> tuple[Tensor, Tensor]:
    prediction, confidence = maps
    return torch.unflatten(prediction, 0, (-1, views)), torch.unflatten(confidence, 0, (-1, views))


def _chunks(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
