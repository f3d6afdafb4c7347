"""Sizes, thresholds and preprocessing constants of FC-CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class FCCLIPConfig:
    """Configuration of one FC-CLIP model; defaults are the published ConvNeXt-L (d_320) release.

    Attributes:
        trunk_depths: Blocks in each of the four ConvNeXt stages (strides 4, 8, 16, 32).
        trunk_widths: Channels of the four stages.
        embed_dim: Width of the joint image and text space.
        text_layers: Blocks of the text tower.
        text_width: Width of the text tower.
        text_heads: Attention heads of the text tower.
        context_length: Longest token sequence, start and end tokens included.
        kept_tokens: BPE ids that own a row of the token table, in row order; None keeps all 49408.
            A token that is not kept is spelled with smaller kept tokens.
        hidden_dim: Width of the pixel decoder and of the transformer decoder.
        attention_heads: Heads of both decoders.
        encoder_layers: Deformable attention layers of the pixel decoder.
        encoder_points: Sampling points per head and level of deformable attention.
        encoder_ffn_dim: Hidden width of the pixel decoder's feed-forward layers.
        decoder_layers: Masked attention layers; the prediction head runs once more than that.
        decoder_ffn_dim: Hidden width of the decoder's feed-forward layers.
        queries: Number of mask queries.
        training_classes: Classes the checkpoint was trained on (size of its stored loss weights).
        training_names: Names that the head was trained on; a class with one of them counts as seen.
            None for the names of the published release, COCO's.
        short_edge_px: The short image edge is resized to this.
        long_edge_px: Upper limit of the long image edge after the resize.
        size_divisor: The resized image is zero padded to a multiple of this.
        image_mean: RGB mean in 0..255.
        image_std: RGB standard deviation in 0..255.
        object_mask_threshold: Queries whose best class probability is not above this are dropped
            from the panoptic map.
        overlap_threshold: A segment is dropped when less than this share of its mask is visible.
        instances_max: Number of (query, class) pairs kept by the instance output.
        seen_ensemble_weight: Weight of the CLIP classifier for classes seen in training (alpha).
        unseen_ensemble_weight: The same for unseen classes (beta).
        bfloat16_trunk: Run the convolutional trunk in bfloat16; everything after it stays float32.
    """

    trunk_depths: tuple[int, ...] = (3, 3, 27, 3)
    trunk_widths: tuple[int, ...] = (192, 384, 768, 1536)
    embed_dim: int = 768
    text_layers: int = 16
    text_width: int = 768
    text_heads: int = 12
    context_length: int = 77
    kept_tokens: tuple[int, ...] | None = None
    hidden_dim: int = 256
    attention_heads: int = 8
    encoder_layers: int = 6
    encoder_points: int = 4
    encoder_ffn_dim: int = 1024
    decoder_layers: int = 9
    decoder_ffn_dim: int = 2048
    queries: int = 250
    training_classes: int = 133
    training_names: tuple[str, ...] | None = None
    short_edge_px: int = 800
    long_edge_px: int = 1333
    size_divisor: int = 32
    image_mean: tuple[float, float, float] = (122.7709383, 116.7460125, 104.09373615)
    image_std: tuple[float, float, float] = (68.5005327, 66.6321579, 70.32316305)
    object_mask_threshold: float = 0.0
    overlap_threshold: float = 0.8
    instances_max: int = 100
    seen_ensemble_weight: float = 0.4
    unseen_ensemble_weight: float = 0.8
    bfloat16_trunk: bool = False

    def __post_init__(self) -> None:
        if len(self.trunk_depths) != 4 or len(self.trunk_widths) != 4:
            raise ValueError(
                f"trunk_depths {self.trunk_depths} and trunk_widths {self.trunk_widths} must hold "
                "four numbers each, one per stage"
            )
        if self.hidden_dim % self.attention_heads:
            raise ValueError(
                f"hidden_dim {self.hidden_dim} must be a multiple of attention_heads "
                f"{self.attention_heads}"
            )
        if self.hidden_dim % GROUP_NORM_GROUPS:
            raise ValueError(
                f"hidden_dim {self.hidden_dim} must be a multiple of {GROUP_NORM_GROUPS}, the "
                "number of groups of the pixel decoder's normalisation"
            )
        if self.text_width % self.text_heads:
            raise ValueError(
                f"text_width {self.text_width} must be a multiple of text_heads {self.text_heads}"
            )
        if self.size_divisor % 32:
            raise ValueError(
                f"size_divisor {self.size_divisor} must be a multiple of 32, the stride of the "
                "coarsest feature map"
            )

    @property
    def token_count(self) -> int:
        """Rows of the token embedding table."""
        return BPE_TOKENS if self.kept_tokens is None else len(self.kept_tokens)

    @classmethod
    def reference_small(cls) -> FCCLIPConfig:
        """Return the small configuration that the golden tensors in shared/ were made with."""
        return cls(
            trunk_depths=(1, 1, 2, 1),
            trunk_widths=(128, 256, 512, 1024),
            embed_dim=64,
            text_layers=2,
            text_width=96,
            text_heads=3,
            hidden_dim=64,
            attention_heads=4,
            encoder_layers=2,
            decoder_layers=4,
            decoder_ffn_dim=128,
            queries=20,
            short_edge_px=96,
            overlap_threshold=0.1,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> FCCLIPConfig:
        """Build a configuration from what ``to_dict`` or its JSON form holds.

        Raises:
            ValueError: If a key is not a field of the configuration.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown FC-CLIP settings {unknown}; known are {sorted(known)}")
        # JSON has lists where the frozen configuration has tuples.
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, object]:
        """Return all settings as plain values that JSON can hold."""
        return asdict(self)


BPE_TOKENS = 49408
GROUP_NORM_GROUPS = 32
