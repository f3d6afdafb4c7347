"""Networks that streaming tests convert, and the references they are compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Pre-activation residual block with a 1x1 skip where the stride or width changes."""

    def __init__(self, inside: int, outside: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv1d(inside, outside, kernel, stride, padding=kernel // 2)
        self.norm = nn.BatchNorm1d(outside)
        self.second = nn.Conv1d(outside, outside, kernel, padding="same")
        plain = stride == 1 and inside == outside
        self.skip = nn.Identity() if plain else nn.Conv1d(inside, outside, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.first(x)))
        return F.relu(self.second(y) + self.skip(x))


class Inception(nn.Module):
    """Branches with different receptive fields, concatenated."""

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv1d(inside, width, 1)
        self.wide = nn.Conv1d(inside, width, 5, padding=4, dilation=2)
        self.pool = nn.MaxPool1d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.narrow(x), self.wide(x), self.pool(x)], dim=1)


class CausalBlock(nn.Module):
    """Dilated causal block as temporal convolutional networks have it: pad both sides, chomp."""

    def __init__(self, inside: int, outside: int, dilation: int) -> None:
        super().__init__()
        self.padding = 2 * dilation
        self.conv = nn.Conv1d(inside, outside, 3, padding=self.padding, dilation=dilation)
        self.skip = nn.Conv1d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)[:, :, : -self.padding]
        return torch.relu(y) + self.skip(x)


class ChannelNorm(nn.Module):
    """LayerNorm over channels by transposing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix(self.norm(x.transpose(1, 2)))
        return F.gelu(y).transpose(1, 2)


def settle(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random running statistics (so BatchNorm matters) and eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm1d) and m.running_mean is not None:
            m.running_mean.copy_(0.3 * torch.randn(m.running_mean.shape, generator=generator))
            m.running_var.copy_(0.5 + torch.rand(m.running_var.shape, generator=generator))
    return module.eval()


def windows_of(module: nn.Module, signal: Tensor, window: int, hop: int) -> Tensor:
    """The module on every window of ``signal``: what exact_window must equal."""
    with torch.no_grad():
        starts = range(0, signal.shape[-1] - window + 1, hop)
        return torch.stack([module(signal[..., s : s + window]) for s in starts])


def relative_error(rows: Tensor, reference: Tensor) -> float:
    """Largest |difference| / (1 + |reference|)."""
    assert rows.shape == reference.shape
    return float(((rows - reference).abs() / (1 + reference.abs())).max())


def push_in_pieces(stream, signal: Tensor, hop: int, seed: int = 0) -> Tensor:
    """Pushes ``signal`` in chunks of a random number of hops."""
    generator = torch.Generator().manual_seed(seed)
    rows, at = [], 0
    while at + hop <= signal.shape[-1]:
        count = int(torch.randint(1, 5, (1,), generator=generator))
        end = min(at + count * hop, at + (signal.shape[-1] - at) // hop * hop)
        rows.append(stream.push(signal[..., at:end]))
        at = end
    return torch.cat(rows)
