"""The published OmniVGGT forward, written plainly: the yardstick of benchmarks/geometry_model.py.

It does what the published code does, operation by operation, including what is wasted: all layers
are kept and concatenated, injections are added as full tensors, rotary tables are gathered for
every call, position embeddings are made anew, all views go through both DPT heads, eight at a time.
It takes its parameters from a state dict, so that both implementations run on the same memory.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.models.omnivggt import OmniVGGTConfig

Weights = Mapping[str, Tensor]


def plain_forward(config: OmniVGGTConfig, weights: Weights, images: Tensor) -> dict[str, Tensor]:
    """Runs the model on images (B, S, 3, H, W) without cameras and depth.

    Returns:
        The outputs of ``OmniVGGT.forward``.
    """
    size = (images.shape[-2], images.shape[-1])
    layers = _aggregate(config, weights, images)
    depth = _dpt(config, weights, "depth_head", layers, size)
    points = _dpt(config, weights, "point_head", layers, size)
    xyz = points[..., :3, :, :].permute(0, 1, 3, 4, 2)
    return {
        "pose_enc": _camera(config, weights, layers[-1]),
        "depth": depth[:, :, :1].exp().permute(0, 1, 3, 4, 2),
        "depth_conf": 1 + depth[:, :, 1].exp(),
        "world_points": torch.sign(xyz) * torch.expm1(xyz.abs()),
        "world_points_conf": 1 + points[:, :, 3].exp(),
    }


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, weights[name + ".weight"], weights[name + ".bias"])


def _norm(weights: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    scale, shift = weights[name + ".weight"], weights[name + ".bias"]
    return functional.layer_norm(x, scale.shape, scale, shift, eps)


def _conv(weights: Weights, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    bias = weights.get(name + ".bias")
    return functional.conv2d(x, weights[name + ".weight"], bias, stride, padding)


def _mlp(weights: Weights, name: str, x: Tensor) -> Tensor:
    return _linear(weights, name + ".fc2", functional.gelu(_linear(weights, name + ".fc1", x)))


def _block(
    weights: Weights, name: str, x: Tensor, heads: int, eps: float, positions: Tensor | None = None
) -> Tensor:
    normed = _norm(weights, name + ".norm1", x, eps)
    count, tokens, dim = x.shape
    qkv = _linear(weights, name + ".attn.qkv", normed)
    q, k, v = qkv.reshape(count, tokens, 3, heads, dim // heads).permute(2, 0, 3, 1, 4).unbind(0)
    if positions is not None:
        q = _rotate(_norm(weights, name + ".attn.q_norm", q, 1e-5), positions)
        k = _rotate(_norm(weights, name + ".attn.k_norm", k, 1e-5), positions)
    attended = functional.scaled_dot_product_attention(q, k, v)
    attended = attended.transpose(1, 2).reshape(count, tokens, dim)
    x = x + _linear(weights, name + ".attn.proj", attended) * weights[name + ".ls1.gamma"]
    normed = _norm(weights, name + ".norm2", x, eps)
    return x + _mlp(weights, name + ".mlp", normed) * weights[name + ".ls2.gamma"]


def _rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotates (N, heads, P, head_dim) by positions (N, P, 2), half of the channels per axis."""
    largest = int(positions.max()) + 1
    halves = []
    for half, position in zip(x.chunk(2, dim=-1), positions.unbind(-1), strict=True):
        dim = half.shape[-1]
        frequency = 1.0 / 100 ** (torch.arange(0, dim, 2).float() / dim)
        angle = torch.arange(largest).float()[:, None] * frequency
        angle = torch.cat([angle, angle], dim=-1).to(x.dtype)
        cos = functional.embedding(position, angle.cos())[:, None]
        sin = functional.embedding(position, angle.sin())[:, None]
        first, second = half.chunk(2, dim=-1)
        halves.append(half * cos + torch.cat([-second, first], dim=-1) * sin)
    return torch.cat(halves, dim=-1)


def _encode(config: OmniVGGTConfig, weights: Weights, images: Tensor) -> Tensor:
    name = "aggregator.patch_embed"
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float32).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float32).view(1, 3, 1, 1)
    patch = config.patch_size
    grid = (images.shape[-2] // patch, images.shape[-1] // patch)
    x = _conv(weights, name + ".patch_embed.proj", (images - mean) / std, stride=patch)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([weights[name + ".cls_token"].expand(len(x), -1, -1), x], dim=1)
    position = weights[name + ".pos_embed"]
    side = config.img_size // patch
    if grid != (side, side):
        square = position[:, 1:].float().view(1, side, side, -1).permute(0, 3, 1, 2)
        square = functional.interpolate(square, size=grid, mode="bicubic", antialias=True)
        patches = square.permute(0, 2, 3, 1).flatten(1, 2).to(position.dtype)
        position = torch.cat([position[:, :1], patches], dim=1)
    x = x + position
    registers = weights[name + ".register_tokens"].expand(len(x), -1, -1)
    x = torch.cat([x[:, :1], registers, x[:, 1:]], dim=1)
    for layer in range(config.dino_depth):
        x = _block(weights, f"{name}.blocks.{layer}", x, config.dino_heads, 1e-6)
    return _norm(weights, name + ".norm", x, 1e-6)[:, 1 + config.num_register_tokens :]


def _special(token: Tensor, batch: int, views: int) -> Tensor:
    first, other = token[:, :1], token[:, 1:].expand(-1, views - 1, -1, -1)
    return torch.cat([first, other], dim=1).expand(batch, -1, -1, -1).flatten(0, 1)


def _aggregate(config: OmniVGGTConfig, weights: Weights, images: Tensor) -> list[Tensor]:
    batch, views = images.shape[:2]
    rows, columns = (side // config.patch_size for side in images.shape[-2:])
    patches = _encode(config, weights, images.flatten(0, 1))
    patches = patches + weights["aggregator.depth_placeholder"]
    camera = _special(weights["aggregator.camera_token"], batch, views)
    register = _special(weights["aggregator.register_token"], batch, views)
    unknown = torch.zeros(batch * views, 1, config.embed_dim)
    camera = camera + _linear(weights, "aggregator.camera_adapters.0", unknown)
    x = torch.cat([camera, register, patches], dim=1)
    tokens = x.shape[1]
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)) + 1
    special = torch.zeros(config.patch_start, 2, dtype=torch.int64)
    positions = torch.cat([special, grid]).expand(batch * views, -1, -1).contiguous()
    layers = []
    for layer in range(config.depth):
        name = f"aggregator.frame_blocks.{layer}"
        x = x.view(batch * views, tokens, -1)
        x = _block(weights, name, x, config.num_heads, 1e-5, positions)
        injection = torch.zeros_like(x)
        adapter = f"aggregator.camera_adapters.{layer + 1}"
        injection[:, :1] = _linear(weights, adapter, unknown)
        x = x + injection
        frame = x
        name = f"aggregator.global_blocks.{layer}"
        together = positions.view(batch, views * tokens, 2)
        x = _block(
            weights, name, x.view(batch, views * tokens, -1), config.num_heads, 1e-5, together
        )
        shape = (batch, views, tokens, config.embed_dim)
        layers.append(torch.cat([frame.view(shape), x.view(shape)], dim=-1))
    return layers


def _camera(config: OmniVGGTConfig, weights: Weights, last: Tensor) -> Tensor:
    name = "camera_head"
    tokens = _norm(weights, name + ".token_norm", last[:, :, 0], 1e-5)
    previous = weights[name + ".empty_pose_tokens"].expand(*tokens.shape[:2], -1)
    raw = torch.zeros_like(previous)
    for _ in range(4):
        embedded = _linear(weights, name + ".embed_pose", previous)
        modulation = _linear(weights, name + ".poseLN_modulation.1", functional.silu(embedded))
        shift, scale, gate = modulation.chunk(3, dim=-1)
        normed = functional.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
        x = gate * (normed * (1 + scale) + shift) + tokens
        for layer in range(config.camera_trunk_depth):
            x = _block(weights, f"{name}.trunk.{layer}", x, config.camera_heads, 1e-5)
        delta = _mlp(weights, name + ".pose_branch", _norm(weights, name + ".trunk_norm", x, 1e-5))
        previous = raw = raw + delta
    return torch.cat([raw[..., :7], raw[..., 7:].relu()], dim=-1)


def _dpt(
    config: OmniVGGTConfig, weights: Weights, name: str, layers: list[Tensor], size: tuple[int, int]
) -> Tensor:
    chunks = []
    for start in range(0, layers[0].shape[1], 8):
        chunk = [layers[layer][:, start : start + 8] for layer in config.dpt_layers]
        chunks.append(_dpt_chunk(config, weights, name, chunk, size))
    return torch.cat(chunks, dim=1)


def _dpt_chunk(
    config: OmniVGGTConfig, weights: Weights, name: str, layers: list[Tensor], size: tuple[int, int]
) -> Tensor:
    batch, views = layers[0].shape[:2]
    grid = (size[0] // config.patch_size, size[1] // config.patch_size)
    maps = []
    for index, layer in enumerate(layers):
        x = layer[:, :, config.patch_start :].flatten(0, 1)
        x = _norm(weights, name + ".norm", x, 1e-5)
        x = x.permute(0, 2, 1).reshape(batch * views, -1, *grid)
        x = _conv(weights, f"{name}.projects.{index}", x)
        x = x + _uv_map(x, size[1] / size[0])
        resize = f"{name}.resize_layers.{index}"
        if index < 2:
            weight, bias = weights[resize + ".weight"], weights[resize + ".bias"]
            x = functional.conv_transpose2d(x, weight, bias, stride=weight.shape[-1])
        elif index == 3:
            x = _conv(weights, resize, x, stride=2, padding=1)
        maps.append(_conv(weights, f"{name}.scratch.layer{index + 1}_rn", x, padding=1))
    scratch = name + ".scratch"
    x = maps[3]
    for index in (3, 2, 1, 0):
        fusion = f"{scratch}.refinenet{index + 1}"
        if index < 3:
            x = x + _residual(weights, fusion + ".resConfUnit1", maps[index])
        x = _residual(weights, fusion + ".resConfUnit2", x)
        height, width = x.shape[-2:]
        if index:
            height, width = maps[index - 1].shape[-2:]
        else:
            height, width = 2 * height, 2 * width
        x = _conv(weights, fusion + ".out_conv", _resize(x, (height, width)))
    x = _resize(_conv(weights, scratch + ".output_conv1", x, padding=1), size)
    x = x + _uv_map(x, size[1] / size[0])
    x = functional.relu_(_conv(weights, scratch + ".output_conv2.0", x, padding=1))
    x = _conv(weights, scratch + ".output_conv2.2", x)
    return x.view(batch, views, *x.shape[1:])


def _residual(weights: Weights, name: str, x: Tensor) -> Tensor:
    hidden = _conv(weights, name + ".conv1", functional.relu_(x), padding=1)
    return _conv(weights, name + ".conv2", functional.relu_(hidden), padding=1) + x


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _uv_map(x: Tensor, aspect: float) -> Tensor:
    channels, height, width = x.shape[1:]
    diagonal = (aspect**2 + 1) ** 0.5
    edge_x = aspect / diagonal * (width - 1) / width
    edge_y = 1 / diagonal * (height - 1) / height
    u, v = torch.meshgrid(
        torch.linspace(-edge_x, edge_x, width, dtype=torch.float64),
        torch.linspace(-edge_y, edge_y, height, dtype=torch.float64),
        indexing="xy",
    )
    quarter = channels // 4
    frequency = 100.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = [position[..., None] * frequency for position in (u, v)]
    parts = [part for angle in angles for part in (angle.sin(), angle.cos())]
    embedding = torch.cat(parts, dim=-1).float() * 0.1
    return embedding.permute(2, 0, 1)[None].to(x.dtype)
