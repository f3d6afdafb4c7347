"""FC-CLIP's published network written down plainly: the yardstick of benchmark and parity tests.

Functions over a dict of published keys, without any of the savings of ``sensorium.models.fcclip``
and without its modules: NCHW convolutions with transpositions around the linear layers, 77 tokens
per prompt, one ``grid_sample`` per level, mask and class head after every layer. Only the tokenizer
is shared; ``fcclip_plain_outputs`` makes the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.models.fcclip.configuration import FCCLIPConfig
from sensorium.models.fcclip.text_embedding import TEMPLATES
from sensorium.models.fcclip.tokenizer import Tokenizer

State = Mapping[str, Tensor]
VISUAL = "backbone.clip_model.visual."
TEXT = "backbone.clip_model."
PIXEL = "sem_seg_head.pixel_decoder."
QUERY = "sem_seg_head.predictor."


def linear(s: State, name: str, x: Tensor) -> Tensor:
    """Apply the linear layer ``name``."""
    return functional.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))


def norm(s: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    """Apply the layer norm ``name`` over the last axis."""
    weight = s[f"{name}.weight"]
    return functional.layer_norm(x, weight.shape, weight, s[f"{name}.bias"], eps)


def attend(
    s: State, name: str, query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None
) -> Tensor:
    """Run torch's own multi-head attention, sequence first, with explicit weights."""
    return functional.multi_head_attention_forward(
        query,
        key,
        value,
        query.shape[-1],
        heads,
        s[f"{name}.in_proj_weight"],
        s[f"{name}.in_proj_bias"],
        None,
        None,
        False,
        0.0,
        s[f"{name}.out_proj.weight"],
        s[f"{name}.out_proj.bias"],
        training=False,
        need_weights=True,
        attn_mask=mask,
    )[0]


def norm_nchw(s: State, name: str, x: Tensor) -> Tensor:
    """Apply a layer norm over the channels of an NCHW map."""
    return norm(s, name, x.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)


def trunk(s: State, config: FCCLIPConfig, x: Tensor) -> list[Tensor]:
    """Return res2..res5."""
    name = f"{VISUAL}trunk.stem"
    x = functional.conv2d(x, s[f"{name}.0.weight"], s[f"{name}.0.bias"], stride=4)
    x = norm_nchw(s, f"{name}.1", x)
    outputs = []
    for stage, depth in enumerate(config.trunk_depths):
        name = f"{VISUAL}trunk.stages.{stage}"
        if stage:
            x = norm_nchw(s, f"{name}.downsample.0", x)
            down = f"{name}.downsample.1"
            x = functional.conv2d(x, s[f"{down}.weight"], s[f"{down}.bias"], stride=2)
        for i in range(depth):
            block = f"{name}.blocks.{i}"
            weight = s[f"{block}.conv_dw.weight"]
            y = functional.conv2d(
                x, weight, s[f"{block}.conv_dw.bias"], padding=3, groups=len(weight)
            )
            y = norm(s, f"{block}.norm", y.permute(0, 2, 3, 1), 1e-6)
            y = linear(s, f"{block}.mlp.fc2", functional.gelu(linear(s, f"{block}.mlp.fc1", y)))
            x = x + y.permute(0, 3, 1, 2) * s[f"{block}.gamma"].view(1, -1, 1, 1)
        outputs.append(x)
    return outputs


def group_norm(s: State, name: str, x: Tensor) -> Tensor:
    """Apply the 32-group norm ``name``."""
    return functional.group_norm(x, 32, s[f"{name}.weight"], s[f"{name}.bias"])


def sine_position(height: int, width: int, dim: int) -> Tensor:
    """Return (dim, height, width) position features by counting ones along both axes."""
    ones = torch.ones(height, width)
    y, x = ones.cumsum(0), ones.cumsum(1)
    y = y / (y[-1:] + 1e-6) * 2 * math.pi
    x = x / (x[:, -1:] + 1e-6) * 2 * math.pi
    half = dim // 2
    wavelength = 10000 ** (2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half)
    features = []
    for axis in (y, x):
        angle = axis[..., None] / wavelength
        pair = torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), -1)
        features.append(pair.flatten(2))
    return torch.cat(features, 2).permute(2, 0, 1)


def deformable_attention(
    s: State,
    config: FCCLIPConfig,
    name: str,
    query: Tensor,
    values: Tensor,
    sizes: Sequence[tuple[int, int]],
) -> Tensor:
    """Sample every level with ``grid_sample``: query and values (1, N, dim)."""
    heads, points, levels = config.attention_heads, config.encoder_points, len(sizes)
    length = query.shape[1]
    value = linear(s, f"{name}.value_proj", values).view(1, length, heads, -1)
    offsets = linear(s, f"{name}.sampling_offsets", query).view(1, length, heads, levels, points, 2)
    weights = linear(s, f"{name}.attention_weights", query).view(1, length, heads, levels * points)
    weights = weights.softmax(-1).view(1, length, heads, levels, points)
    reference = torch.cat(
        [
            torch.stack(
                torch.meshgrid(
                    (torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij"
                )[::-1],
                -1,
            ).view(-1, 2)
            for h, w in sizes
        ]
    )
    sampled = []
    for level, ((h, w), part) in enumerate(
        zip(sizes, torch.split(value, [h * w for h, w in sizes], 1), strict=True)
    ):
        maps = part.flatten(2).transpose(1, 2).reshape(heads, -1, h, w)
        location = reference.view(1, length, 1, 1, 2) + offsets[:, :, :, level] / torch.tensor(
            [w, h]
        )
        grid = (2 * location - 1).transpose(1, 2).flatten(0, 1)
        sampled.append(
            functional.grid_sample(
                maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False
            )
        )
    weights = weights.transpose(1, 2).reshape(heads, 1, length, levels * points)
    mixed = (torch.stack(sampled, -2).flatten(-2) * weights).sum(-1)
    return linear(s, f"{name}.output_proj", mixed.view(1, -1, length).transpose(1, 2))


def pixel_decoder(
    s: State, config: FCCLIPConfig, features: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """Return the levels at strides 32, 16, 8 and the mask features at stride 4."""
    dim = config.hidden_dim
    projected = []
    for i, x in enumerate(features[:0:-1]):
        name = f"{PIXEL}input_proj.{i}"
        y = functional.conv2d(x, s[f"{name}.0.weight"], s[f"{name}.0.bias"])
        projected.append(group_norm(s, f"{name}.1", y))
    sizes = [(x.shape[2], x.shape[3]) for x in projected]
    memory = torch.cat([x.flatten(2).transpose(1, 2) for x in projected], 1)
    position = torch.cat(
        [
            sine_position(h, w, dim).flatten(1).T + s[f"{PIXEL}transformer.level_embed"][i]
            for i, (h, w) in enumerate(sizes)
        ]
    )
    for i in range(config.encoder_layers):
        name = f"{PIXEL}transformer.encoder.layers.{i}"
        y = deformable_attention(s, config, f"{name}.self_attn", memory + position, memory, sizes)
        memory = norm(s, f"{name}.norm1", memory + y)
        y = linear(s, f"{name}.linear2", linear(s, f"{name}.linear1", memory).relu())
        memory = norm(s, f"{name}.norm2", memory + y)
    levels = [
        part.transpose(1, 2).reshape(1, dim, h, w)
        for part, (h, w) in zip(
            torch.split(memory, [h * w for h, w in sizes], 1), sizes, strict=True
        )
    ]
    y = group_norm(
        s, f"{PIXEL}adapter_1.norm", functional.conv2d(features[0], s[f"{PIXEL}adapter_1.weight"])
    )
    y = y + functional.interpolate(
        levels[-1], size=y.shape[2:], mode="bilinear", align_corners=False
    )
    y = functional.conv2d(y, s[f"{PIXEL}layer_1.weight"], padding=1)
    y = group_norm(s, f"{PIXEL}layer_1.norm", y).relu()
    return levels, functional.conv2d(
        y, s[f"{PIXEL}mask_features.weight"], s[f"{PIXEL}mask_features.bias"]
    )


def perceptron(s: State, name: str, x: Tensor) -> Tensor:
    """Apply three linear layers with ReLU between them."""
    for i in range(3):
        x = linear(s, f"{name}.layers.{i}", x)
        x = x.relu() if i < 2 else x
    return x


def pool(features: Tensor, mask_logits: Tensor) -> Tensor:
    """Average (1, C, h, w) features where (1, Q, ...) logits are positive: (1, Q, C)."""
    size = features.shape[2:]
    if mask_logits.shape[2:] != size:
        mask_logits = functional.interpolate(
            mask_logits, size=size, mode="bilinear", align_corners=False
        )
    mask = (mask_logits > 0).to(features.dtype)
    return torch.einsum(
        "bchw,bqhw->bqc", features, mask / (mask.sum((-1, -2), keepdim=True) + 1e-8)
    )


def name_logits(
    x: Tensor, rows: Tensor, synonyms: Sequence[int], void: Tensor, logit_scale: Tensor
) -> Tensor:
    """Return (..., K + 1) scaled cosines, the best synonym per class, void last."""
    table = torch.cat((rows, functional.normalize(void, dim=-1)))
    logits = logit_scale.exp().clamp(max=100) * functional.normalize(x, dim=-1) @ table.T
    groups = torch.split(logits, [*synonyms, 1], -1)
    return torch.cat([group.max(-1, keepdim=True).values for group in groups], -1)


def head(
    s: State,
    config: FCCLIPConfig,
    queries: Tensor,
    mask_features: Tensor,
    size: tuple[int, int] | None,
    text: tuple[Tensor, Sequence[int]],
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return class logits, mask logits and the attention mask for a level of this size."""
    normed = norm(s, f"{QUERY}decoder_norm", queries).transpose(0, 1)
    masks = torch.einsum(
        "bqc,bchw->bqhw", perceptron(s, f"{QUERY}mask_embed", normed), mask_features
    )
    pooled = norm(s, f"{QUERY}_mask_pooling_proj.0", pool(mask_features, masks))
    pooled = linear(s, f"{QUERY}_mask_pooling_proj.1", pooled)
    embedding = perceptron(s, f"{QUERY}class_embed", pooled + normed)
    logits = name_logits(embedding, *text, s["void_embedding.weight"], s[f"{QUERY}logit_scale"])
    if size is None:
        return logits, masks, None
    small = functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)
    blocked = (
        (small.sigmoid().flatten(2) < 0.5)[:, None]
        .repeat(1, config.attention_heads, 1, 1)
        .flatten(0, 1)
    )
    blocked[blocked.sum(-1) == blocked.shape[-1]] = False
    return logits, masks, blocked


def mask_decoder(
    s: State,
    config: FCCLIPConfig,
    levels: Sequence[Tensor],
    mask_features: Tensor,
    text: tuple[Tensor, Sequence[int]],
) -> list[tuple[Tensor, Tensor]]:
    """Return (class logits, mask logits) of every prediction head."""
    heads = config.attention_heads
    memory, position, sizes = [], [], []
    for i, x in enumerate(levels):
        sizes.append((x.shape[2], x.shape[3]))
        position.append(sine_position(*sizes[-1], config.hidden_dim).flatten(1).T[:, None])
        memory.append(x.flatten(2).permute(2, 0, 1) + s[f"{QUERY}level_embed.weight"][i])
    queries, place = (s[f"{QUERY}{name}.weight"][:, None] for name in ("query_feat", "query_embed"))
    outputs = []
    for i in range(config.decoder_layers):
        level = i % 3
        logits, masks, blocked = head(s, config, queries, mask_features, sizes[level], text)
        outputs.append((logits, masks))
        name = f"{QUERY}transformer_cross_attention_layers.{i}"
        y = attend(
            s,
            f"{name}.multihead_attn",
            queries + place,
            memory[level] + position[level],
            memory[level],
            heads,
            blocked,
        )
        queries = norm(s, f"{name}.norm", queries + y)
        name = f"{QUERY}transformer_self_attention_layers.{i}"
        y = attend(s, f"{name}.self_attn", queries + place, queries + place, queries, heads, None)
        queries = norm(s, f"{name}.norm", queries + y)
        name = f"{QUERY}transformer_ffn_layers.{i}"
        y = linear(s, f"{name}.linear2", linear(s, f"{name}.linear1", queries).relu())
        queries = norm(s, f"{name}.norm", queries + y)
    logits, masks, _ = head(s, config, queries, mask_features, None, text)
    return [*outputs, (logits, masks)]


def encode_names(s: State, config: FCCLIPConfig, names: Sequence[str]) -> Tensor:
    """Return one unit row per name from 14 prompts of 77 tokens each."""
    tokenizer = Tokenizer(config.kept_tokens, config.context_length)
    prompts = [tokenizer.encode(template.format(name)) for name in names for template in TEMPLATES]
    features = []
    for start in range(0, len(prompts), 128):
        batch = prompts[start : start + 128]
        tokens = torch.zeros(len(batch), config.context_length, dtype=torch.int64)
        for i, row in enumerate(batch):
            tokens[i, : len(row)] = torch.tensor(row)
        x = (
            s[f"{TEXT}token_embedding.weight"][tokens] + s[f"{TEXT}positional_embedding"]
        ).transpose(0, 1)
        causal = torch.full((len(x), len(x)), -torch.inf).triu(1)
        for i in range(config.text_layers):
            name = f"{TEXT}transformer.resblocks.{i}"
            y = norm(s, f"{name}.ln_1", x)
            x = x + attend(s, f"{name}.attn", y, y, y, config.text_heads, causal)
            y = functional.gelu(linear(s, f"{name}.mlp.c_fc", norm(s, f"{name}.ln_2", x)))
            x = x + linear(s, f"{name}.mlp.c_proj", y)
        x = norm(s, f"{TEXT}ln_final", x.transpose(0, 1))
        ends = torch.tensor([len(row) - 1 for row in batch])
        features.append(x[torch.arange(len(batch)), ends] @ s[f"{TEXT}text_projection"])
    rows = (
        functional.normalize(torch.cat(features), dim=-1)
        .view(len(names), len(TEMPLATES), -1)
        .mean(1)
    )
    return functional.normalize(rows, dim=-1)
