"""Camera head: iterative refinement of a pose encoding per view."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.omnivggt.configuration import OmniVGGTConfig
from sensorium.models.omnivggt.layers import Block, Mlp

_ITERATIONS = 4


class CameraHead(nn.Module):
    """Refines the pose encodings of all views together in four iterations.

    Each iteration modulates the camera tokens by the previous raw encoding (adaLN, Peebles and
    Xie 2023), runs a small transformer over the views and adds a correction. Source: VGGT
    (arXiv 2503.11651) section 3.3 and the published checkpoint.
    """

    def __init__(self, config: OmniVGGTConfig) -> None:
        super().__init__()
        dim, pose = config.token_dim, config.pose_hidden_dim
        self.token_norm = nn.LayerNorm(dim, eps=1e-5)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, pose))
        self.embed_pose = nn.Linear(pose, dim)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 3 * dim))
        self.adaln_norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.trunk = nn.Sequential(
            *(
                Block(
                    dim,
                    config.camera_heads,
                    config.mlp_ratio,
                    init_values=config.init_values,
                    norm_eps=1e-5,
                )
                for _ in range(config.camera_trunk_depth)
            )
        )
        self.trunk_norm = nn.LayerNorm(dim, eps=1e-5)
        self.pose_branch = Mlp(dim, dim // 2, out=pose)

    def forward(self, camera_tokens: Tensor) -> list[Tensor]:
        """Predicts pose encodings.

        Args:
            camera_tokens: (B, S, 2 C), token 0 of each view in the last aggregator layer.

        Returns:
            The encodings (B, S, 9) after each iteration, the last one best: translation and
            quaternion as they come (the quaternion is not of unit length), field of view >= 0.
            Gradients do not flow from one iteration into the one before.
        """
        tokens = self.token_norm(camera_tokens.to(self.token_norm.weight.dtype))
        normalised = self.adaln_norm(tokens)
        raw: Tensor | None = None
        predictions = []
        for _ in range(_ITERATIONS):
            previous = self.empty_pose_tokens if raw is None else raw.detach()
            modulation = self.poseLN_modulation(self.embed_pose(previous))
            shift, scale, gate = modulation.chunk(3, dim=-1)
            modulated = gate * (normalised * (1 + scale) + shift) + tokens
            delta = self.pose_branch(self.trunk_norm(self.trunk(modulated)))
            raw = delta if raw is None else raw.detach() + delta
            predictions.append(torch.cat([raw[..., :7], functional.relu(raw[..., 7:])], dim=-1))
        return predictions
