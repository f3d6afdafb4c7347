"""Dimensions of an OmniVGGT model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class OmniVGGTConfig:
    """Dimensions of an OmniVGGT model; the defaults are the published 1.2 B parameter model.

    Source: OmniVGGT (arXiv 2511.10560) and the published checkpoint's tensor shapes.

    Attributes:
        img_size: Side of the square image, in pixels, at which the DINO position embedding is used
            without interpolation. Other sizes work; both sides must be multiples of ``patch_size``.
        patch_size: Side of one patch in pixels. The model accepts no other than 14, because its
            DPT heads are laid out for it.
        embed_dim: Channels of a token. Aggregator outputs carry twice as many (frame and global).
        dino_depth: Blocks of the DINOv2 image encoder.
        dino_heads: Attention heads of the DINOv2 image encoder.
        depth: Pairs of (frame attention, global attention) blocks.
        num_heads: Attention heads of the frame and global blocks.
        mlp_ratio: Hidden channels of every transformer MLP, as a multiple of its input channels.
        num_register_tokens: Register tokens per view, in DINO and again in the aggregator.
        pose_hidden_dim: Numbers in a pose encoding: translation 3, quaternion 4, field of view 2.
        rope_freq: Base of the rotary position embedding's frequencies.
        init_values: Initial value of the LayerScale factors outside DINO.
        camera_trunk_depth: Transformer blocks of the camera head.
        camera_heads: Attention heads of the camera head.
        dpt_features: Channels of the fused maps in the DPT heads.
        dpt_out_channels: Channels of the four maps the DPT heads start from, finest first.
        dpt_layers: Indices of the four aggregator layers that the DPT heads read, ascending.
    """

    img_size: int = 518
    patch_size: int = 14
    embed_dim: int = 1024
    dino_depth: int = 24
    dino_heads: int = 16
    depth: int = 24
    num_heads: int = 16
    mlp_ratio: float = 4
    num_register_tokens: int = 4
    pose_hidden_dim: int = 9
    rope_freq: float = 100
    init_values: float = 0.01
    camera_trunk_depth: int = 4
    camera_heads: int = 16
    dpt_features: int = 256
    dpt_out_channels: Sequence[int] = (256, 512, 1024, 1024)
    dpt_layers: Sequence[int] = (4, 11, 17, 23)

    def __post_init__(self) -> None:
        """Freezes the sequences and refuses dimensions that cannot form a model.

        Raises:
            ValueError: Naming the field, its value, the rule and the remedy.
        """
        object.__setattr__(self, "dpt_out_channels", tuple(self.dpt_out_channels))
        object.__setattr__(self, "dpt_layers", tuple(self.dpt_layers))
        if self.patch_size <= 0 or self.img_size <= 0 or self.img_size % self.patch_size:
            raise ValueError(
                f"img_size={self.img_size} must be a positive multiple of patch_size="
                f"{self.patch_size}; the published model has 518 = 37 x 14"
            )
        if self.pose_hidden_dim != 9:
            raise ValueError(
                f"pose_hidden_dim={self.pose_hidden_dim} must be 9 (translation 3, quaternion 4, "
                "field of view 2); other pose encodings are not built"
            )
        self._check_heads("dino_heads", self.embed_dim, self.dino_heads, multiple=1)
        self._check_heads("num_heads", self.embed_dim, self.num_heads, multiple=4)
        self._check_heads("camera_heads", 2 * self.embed_dim, self.camera_heads, multiple=1)
        if len(self.dpt_out_channels) != 4 or len(self.dpt_layers) != 4:
            raise ValueError(
                f"dpt_out_channels={self.dpt_out_channels} and dpt_layers={self.dpt_layers} must "
                "have four entries each: the DPT heads fuse four maps"
            )
        if any(not 0 <= layer < self.depth for layer in self.dpt_layers):
            raise ValueError(
                f"dpt_layers={self.dpt_layers} must lie in 0..depth-1 = 0..{self.depth - 1}; "
                "lower the indices or raise depth"
            )

    @staticmethod
    def _check_heads(name: str, channels: int, heads: int, *, multiple: int) -> None:
        if heads <= 0 or channels % heads or (channels // heads) % multiple:
            raise ValueError(
                f"{name}={heads} must divide {channels} channels into heads whose width is a "
                f"multiple of {multiple}; choose another {name} or embed_dim"
            )

    @property
    def token_dim(self) -> int:
        """Channels of an aggregator output token: frame and global halves side by side."""
        return 2 * self.embed_dim

    @property
    def patch_start(self) -> int:
        """Index of the first patch token of a view; before it: the camera token and registers."""
        return 1 + self.num_register_tokens
