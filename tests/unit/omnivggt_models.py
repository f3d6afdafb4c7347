"""A small OmniVGGT with random weights, in which every parameter matters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sensorium.models.omnivggt import OmniVGGT, OmniVGGTConfig

# Threads cost more than they bring on matrices this small.
torch.set_num_threads(1)

CONFIGURATION = {
    "img_size": 42,
    "embed_dim": 32,
    "dino_depth": 2,
    "dino_heads": 2,
    "depth": 4,
    "num_heads": 2,
    "camera_trunk_depth": 1,
    "camera_heads": 4,
    "dpt_features": 16,
    "dpt_out_channels": [8, 8, 16, 16],
    "dpt_layers": [0, 1, 2, 3],
}


def small_model(seed: int = 0, dtype: torch.dtype = torch.float32) -> OmniVGGT:
    """Weights are random and far from their zero initial values, so nothing hides."""
    model = OmniVGGT(OmniVGGTConfig(**CONFIGURATION))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma"):
                parameter.copy_(0.5 + 0.1 * noise)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            elif parameter.ndim > 1 and name.endswith("weight"):
                parameter.copy_(noise / math.sqrt(parameter[0].numel()))
            else:
                parameter.copy_(0.3 * noise)
    return model.to(dtype).eval().requires_grad_(requires_grad=False)


def random_images(views: int, height: int = 28, width: int = 42, seed: int = 1) -> Tensor:
    return torch.rand(1, views, 3, height, width, generator=torch.Generator().manual_seed(seed))


def rotation(axis: tuple[float, float, float], angle: float) -> Tensor:
    """Rodrigues' formula, float64."""
    x, y, z = torch.tensor(axis, dtype=torch.float64) / math.dist(axis, (0, 0, 0))
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return (
        torch.eye(3, dtype=torch.float64)
        + math.sin(angle) * cross
        + (1 - math.cos(angle)) * (cross @ cross)
    )


def cameras(views: int, seed: int = 2) -> tuple[Tensor, Tensor]:
    """Random camera_from_world (1, S, 3, 4) and intrinsics (1, S, 3, 3) for 28x42 images."""
    generator = torch.Generator().manual_seed(seed)
    matrices = []
    for _ in range(views):
        axis = torch.randn(3, generator=generator)
        turn = rotation(tuple(axis.tolist()), float(torch.rand(1, generator=generator)) * 2)
        shift = torch.randn(3, 1, generator=generator, dtype=torch.float64)
        matrices.append(torch.cat([turn, shift], dim=1))
    intrinsics = torch.tensor([[40.0, 0, 20.5], [0, 38, 13.5], [0, 0, 1]]).expand(1, views, 3, 3)
    return torch.stack(matrices)[None], intrinsics.clone()


def depth(views: int, height: int = 28, width: int = 42, seed: int = 3) -> tuple[Tensor, Tensor]:
    """Random depth (1, S, H, W, 1) in 0.5..4.5 and a mask (1, S, H, W) with a fifth missing."""
    generator = torch.Generator().manual_seed(seed)
    metres = 0.5 + 4 * torch.rand(1, views, height, width, 1, generator=generator)
    mask = torch.rand(1, views, height, width, generator=generator) > 0.2
    return metres, mask


def largest_difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """Largest |d| / (1 + |right|) over all outputs."""
    assert left.keys() == right.keys()
    return max(
        float(((left[key] - right[key]).abs() / (1 + right[key].abs())).max()) for key in right
    )
