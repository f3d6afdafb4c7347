"""Three ways for geometry to reach the action token, as something that is added to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.policy.geo.configuration import TOKEN_FEATURES, GeoConfiguration
from sensorium.models.policy.geo.reading import (
    OFFSET_SIZE,
    PlaceAttention,
    PlaceEncoder,
    offset_code,
    patches,
)

__all__ = ["PointNet", "TokenBank", "TokenCrossAttention", "ZeroInjector"]

_VALUE_SIZE = 16
_POINT_UNIT_M = 0.3
_TIP_UNIT_M = 0.1


class TokenBank(NamedTuple):
    """Geometry tokens of a batch.

    Attributes:
        points_m: (B, N, 3) in the robot's base; whatever where invalid.
        features: (B, N, C); whatever where invalid.
        valid: (B, N), 1 or 0.
    """

    points_m: Tensor
    features: Tensor
    valid: Tensor


class TokenCrossAttention(nn.Module):
    """Cross-attention of the action token on the bank of geometry tokens.

    Each head reads features and the expected position of what it looks at, relative to the tip.
    Tokens carry their position in the base and relative to the tip and the pixels of their patch.
    No path from the bank to the action token has a bias, and weights are zero without valid tokens,
    so an empty bank adds exactly zero (as Spatial Grafting, arXiv 2609.35249).

    Args:
        configuration: Of the policy.
        action_size: Width of what queries are made from.
    """

    _center_m: Tensor

    def __init__(self, configuration: GeoConfiguration, action_size: int) -> None:
        super().__init__()
        heads = configuration.heads
        grid = (configuration.token_rows, configuration.token_columns)
        self._patch = configuration.patch_px
        inputs = configuration.features[TOKEN_FEATURES].shape[1] + 7 + 3 * self._patch**2
        self.encode = PlaceEncoder(inputs, configuration.channels, configuration.text_size, grid)
        self.attention = PlaceAttention(action_size, configuration.channels, heads, _VALUE_SIZE)
        self.inject = nn.Linear(
            heads * (_VALUE_SIZE + OFFSET_SIZE), configuration.hidden, bias=False
        )
        center = torch.tensor(configuration.points_center_m)
        self.register_buffer("_center_m", center, persistent=False)

    def forward(
        self, bank: TokenBank, tip_m: Tensor, image: Tensor, text: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the bank adds to the action token.

        Args:
            bank: N = rows * columns tokens, row-major.
            tip_m: (B, 3) tip in the base.
            image: (B, 3, H, W) the picture, of which each token gets its patch.
            text: (B, text_size).
            action: (B, action_size).

        Returns:
            (B, hidden) to be added, and logits (B, heads, N).
        """
        present = bank.valid[..., None] > 0
        points = torch.where(present, bank.points_m, 0.0)
        entries = torch.cat(
            (
                patches(image, self._patch),
                torch.where(present, (points - self._center_m) / _POINT_UNIT_M, 0.0),
                torch.where(present, (points - tip_m[:, None]) / _TIP_UNIT_M, 0.0),
                torch.where(present, bank.features, 0.0),
                bank.valid[..., None],
            ),
            dim=2,
        )
        places = self.encode(entries, text)
        logits, weights, values = self.attention(action, places, bank.valid)
        looked_at = torch.einsum("bhn,bnc->bhc", weights, points)
        seen = weights.sum(-1, keepdim=True)
        code = offset_code(looked_at - seen * tip_m[:, None]) * seen
        added: Tensor = self.inject(torch.cat((values, code.flatten(1)), dim=1))
        return added, logits


class ZeroInjector(nn.Module):
    """One vector to what is added to the action token; adds nothing before training.

    Source: the point-cloud and spatial injectors of FALCON (arXiv 2510.17439) and the VLA of
    OmniVGGT (arXiv 2511.10560, section on VLA): linear layers with layer norm and GELU, the last
    one zero-initialised.

    Args:
        size: Values of the vector.
        widths: Hidden widths.
        hidden: Width of the action token.
    """

    def __init__(self, size: int, widths: tuple[int, ...], hidden: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, width in enumerate(widths):
            layers += [nn.Linear(size, width), nn.LayerNorm(width)]
            layers += [nn.GELU()] if i else []
            size = width
        last = nn.Linear(size, hidden)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, vector: Tensor) -> Tensor:
        """(B, size) -> (B, hidden)."""
        added: Tensor = self.layers(vector)
        return added


class PointNet(nn.Module):
    """A cloud to one vector: stages of point-wise layers, each with the maximum of the one before.

    Source: multi-stage PointNet of iDP3 (Ze et al. 2024), as FALCON's point-cloud baseline uses it.

    Args:
        size: Values of the result.
        width: Width of the stages.
        stages: Number of stages.
    """

    def __init__(self, size: int = 128, width: int = 128, stages: int = 4) -> None:
        super().__init__()
        self.enter = nn.Linear(3, width)
        self.local = nn.ModuleList(nn.Linear(width, width) for _ in range(stages))
        self.joint = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(stages))
        self.leave = nn.Linear(stages * width, size)

    def forward(self, points: Tensor, valid: Tensor) -> Tensor:
        """(B, size) of points (B, N, 3) with valid (B, N), 1 or 0; zero without valid points."""
        # An absent point repeats one that is there, which no maximum notices: cheaper than masks.
        some = points.gather(1, valid.argmax(1)[:, None, None].expand(-1, 1, 3))
        x = functional.relu(self.enter(torch.where(valid[..., None] > 0, points, some)))
        stages = []
        # ModuleList forgets what it holds.
        layers = cast(
            "Iterable[tuple[nn.Linear, nn.Linear]]", zip(self.local, self.joint, strict=True)
        )
        for local, joint in layers:
            x = functional.relu(local(x))
            width = x.shape[2]
            # The layer on (x, whole), in which the share of the whole is computed once per cloud.
            whole = functional.linear(x.max(1).values, joint.weight[:, width:], joint.bias)
            x = functional.relu(functional.linear(x, joint.weight[:, :width]) + whole[:, None])
            stages.append(x.max(1).values)
        vector: Tensor = self.leave(torch.cat(stages, dim=1))
        return vector * valid.amax(1, keepdim=True)
