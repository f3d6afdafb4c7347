"""Sizes of fcclip-small: FC-CLIP's architecture, few enough numbers for one CPU core."""

from __future__ import annotations

from captions import kept_tokens

from sensorium.models.fcclip import FCCLIPConfig

SHORT_EDGE_PX = 384


def small_config() -> FCCLIPConfig:
    """Return the configuration; 640 x 480 pictures are resized to 512 x 384."""
    return FCCLIPConfig(
        trunk_depths=(1, 2, 4, 1),
        trunk_widths=(32, 64, 160, 320),
        embed_dim=128,
        text_layers=2,
        text_width=128,
        text_heads=4,
        kept_tokens=kept_tokens(),
        hidden_dim=64,
        attention_heads=4,
        encoder_layers=1,
        encoder_points=4,
        encoder_ffn_dim=192,
        decoder_layers=3,
        decoder_ffn_dim=256,
        queries=48,
        training_classes=15,
        short_edge_px=SHORT_EDGE_PX,
        long_edge_px=1024,
        # Masks of a small network overlap more: with the published 0.8 more things stay without a
        # label, and PQ is the same (inference_choices.py).
        overlap_threshold=0.5,
    )
