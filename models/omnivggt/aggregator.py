"""Alternating attention over views, with known cameras and depth injected (GeoAdapter)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from sensorium.models.omnivggt.auxiliary import KnownCameras, KnownDepth
from sensorium.models.omnivggt.configuration import OmniVGGTConfig
from sensorium.models.omnivggt.image_encoder import ImageEncoder, PatchProjection
from sensorium.models.omnivggt.layers import Block
from sensorium.models.omnivggt.rope import rotary_table


class LayerTokens(NamedTuple):
    """Output of one (frame, global) pair of blocks, its two halves not yet side by side.

    Attributes:
        frame: (B, S, P, C) after the frame block and the camera injection.
        global_: (B, S, P, C) after the global block.
    """

    frame: Tensor
    global_: Tensor

    def join(self, views: Tensor | None = None, tokens: slice = slice(None)) -> Tensor:
        """Returns (B, S or len(views), tokens, 2 C), the layout of the published list."""
        halves = [self.frame[:, :, tokens], self.global_[:, :, tokens]]
        if views is not None:
            halves = [half.index_select(1, views) for half in halves]
        return torch.cat(halves, dim=-1)


class Aggregator(nn.Module):
    """Image encoder, special tokens, GeoAdapter and the alternating attention blocks.

    Source: VGGT (arXiv 2503.11651) section 3.2, OmniVGGT (arXiv 2511.10560) section 3, and the
    published checkpoint. Module names are those of its state dict.
    """

    def __init__(self, config: OmniVGGTConfig) -> None:
        super().__init__()
        self.config = config
        dim, stages = config.embed_dim, config.depth + 1
        self.patch_embed = ImageEncoder(config)
        # Index 0 is view 0's, index 1 all other views'.
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, dim))
        self.register_token = nn.Parameter(torch.zeros(1, 2, config.num_register_tokens, dim))
        self.frame_blocks = nn.ModuleList(_attention_block(config) for _ in range(config.depth))
        self.global_blocks = nn.ModuleList(_attention_block(config) for _ in range(config.depth))
        self.pose_embeddings = nn.ModuleList(
            nn.Linear(config.pose_hidden_dim, dim) for _ in range(stages)
        )
        self.camera_adapters = nn.ModuleList(nn.Linear(dim, dim) for _ in range(stages))
        self.depth_patch_embed = PatchProjection(2, dim, config.patch_size)
        self.depth_placeholder = nn.Parameter(torch.zeros(1, 1, dim))
        nn.init.normal_(self.camera_token, std=1e-6)
        nn.init.normal_(self.register_token, std=1e-6)
        for adapter in self.camera_adapters.parameters():
            nn.init.zeros_(adapter)

    def forward(
        self,
        patch_tokens: Tensor,
        grid: tuple[int, int],
        cameras: KnownCameras | None,
        depth: KnownDepth | None,
        keep: Collection[int],
    ) -> dict[int, LayerTokens]:
        """Runs the alternating attention.

        Args:
            patch_tokens: (B, S, patches, C) of ``patch_embed``; not modified.
            grid: (rows, columns) of patches.
            cameras: Known cameras, or None.
            depth: Known depth, or None.
            keep: Layers whose output is wanted; all others are freed at once.

        Returns:
            The output of each layer in ``keep``.
        """
        batch, views = patch_tokens.shape[:2]
        injections = self._camera_injections(batch, views, cameras)
        x = self._input_tokens(patch_tokens, injections[0], depth).flatten(0, 1)
        rope = rotary_table(
            grid,
            self.config.patch_start,
            head_dim=self.config.embed_dim // self.config.num_heads,
            base=float(self.config.rope_freq),
            device=x.device,
            dtype=x.dtype,
        )
        kept: dict[int, LayerTokens] = {}
        for layer in range(max(keep) + 1):
            x = self.frame_blocks[layer](x, rope)
            x[:, 0] += injections[layer + 1].flatten(0, 1)
            frame = x
            x = self.global_blocks[layer](x, rope, views_together=views)
            if layer in keep:
                shape = (batch, views)
                kept[layer] = LayerTokens(
                    torch.unflatten(frame, 0, shape), torch.unflatten(x, 0, shape)
                )
        return kept

    def _input_tokens(
        self, patch_tokens: Tensor, injection: Tensor, depth: KnownDepth | None
    ) -> Tensor:
        """Tokens (B, S, P, C) before the first block: camera, registers, patches with depth."""
        batch, views = patch_tokens.shape[:2]
        camera = _per_view(self.camera_token, batch, views) + injection[:, :, None]
        register = _per_view(self.register_token, batch, views)
        patches = patch_tokens + self.depth_placeholder
        if depth is not None:
            tokens = self.depth_patch_embed(depth.depth_and_mask.flatten(0, 1))
            listed = patch_tokens.index_select(1, depth.views)
            listed = listed + torch.unflatten(tokens.to(listed.dtype), 0, (batch, -1))
            patches = patches.index_copy(1, depth.views, listed)
        return torch.cat([camera, register, patches], dim=2)

    def _camera_injections(
        self, batch: int, views: int, cameras: KnownCameras | None
    ) -> list[Tensor]:
        """What each of the depth + 1 stages adds to the camera tokens: (B, S, C) each.

        A view without a camera puts zeros into the adapter and so receives its bias.
        """
        injections = []
        # ModuleList forgets what it holds.
        stages = cast(
            "Iterable[tuple[nn.Linear, nn.Linear]]",
            zip(self.pose_embeddings, self.camera_adapters, strict=True),
        )
        for embedding, adapter in stages:
            injection = adapter.bias.expand(batch, views, -1)
            if cameras is not None:
                encoding = cameras.encoding.to(embedding.weight.dtype)
                injection = injection.index_copy(1, cameras.views, adapter(embedding(encoding)))
            injections.append(injection)
        return injections


def _attention_block(config: OmniVGGTConfig) -> Block:
    return Block(
        config.embed_dim,
        config.num_heads,
        config.mlp_ratio,
        init_values=config.init_values,
        norm_eps=1e-5,
        qk_norm=True,
    )


def _per_view(token: Tensor, batch: int, views: int) -> Tensor:
    """Gives view 0 the first and every other view the second token: (B, S, tokens, C)."""
    per_view = torch.cat([token[:, :1], token[:, 1:].expand(-1, views - 1, -1, -1)], dim=1)
    return per_view.expand(batch, -1, -1, -1)
