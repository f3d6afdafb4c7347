"""A window classifier: convolutions, pools, and a dense layer over what they leave."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ConvolutionalClassifierConfiguration:
    """Shape of the network.

    Attributes:
        channels: channels of the signal.
        window: samples of one window.
        classes: number of outputs.
        widths: output channels of each block.
        kernels: odd kernel length of each block.
        pools: max-pool length and stride of each block; 1 for none.
        padding: zeros "centred" on the window, or "causal": all on the left.
        head: "flatten" tells positions in the window apart, "mean" averages over time.

    Raises:
        ValueError: a number or name is not as above.
    """

    channels: int
    window: int
    classes: int
    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    pools: tuple[int, ...]
    padding: str = "centred"
    head: str = "flatten"

    def __post_init__(self) -> None:
        numbers = (self.channels, self.window, self.classes, *self.widths, *self.pools)
        if not all(isinstance(n, int) and n >= 1 for n in (*numbers, *self.kernels)):
            raise ValueError(f"{self}: sizes must be integers of 1 or more")
        if not self.widths or not len(self.widths) == len(self.kernels) == len(self.pools):
            raise ValueError(f"{self}: give one width, kernel and pool per block")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels {self.kernels} must be odd")
        if self.padding not in ("centred", "causal") or self.head not in ("flatten", "mean"):
            raise ValueError(
                f"padding '{self.padding}' must be 'centred' or 'causal', head '{self.head}' "
                "'flatten' or 'mean'"
            )
        if self.window % self.stride:
            raise ValueError(f"window {self.window} must be a multiple of the pools' {self.stride}")

    @property
    def stride(self) -> int:
        """Samples per position of the last block."""
        return int(torch.tensor(self.pools).prod())


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, kernel: int, pool: int, padding: str) -> None:
        super().__init__()
        both = kernel // 2
        self.pad = (both, both) if padding == "centred" else (kernel - 1, 0)
        self.convolution = nn.Conv1d(inside, outside, kernel)
        self.norm = nn.BatchNorm1d(outside)
        self.pool = nn.MaxPool1d(pool) if pool > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.convolution(functional.pad(x, self.pad)))
        pooled: Tensor = self.pool(functional.relu(y))
        return pooled


class ConvolutionalClassifier(nn.Module):
    """Logits of one window; streams in both modes of ``sensorium.streaming.convert``."""

    def __init__(self, configuration: ConvolutionalClassifierConfiguration) -> None:
        super().__init__()
        c = configuration
        self.configuration = c
        inside = (c.channels, *c.widths[:-1])
        self.blocks = nn.Sequential(
            *(
                _Block(i, o, kernel, pool, c.padding)
                for i, o, kernel, pool in zip(inside, c.widths, c.kernels, c.pools, strict=True)
            )
        )
        positions = c.window // c.stride if c.head == "flatten" else 1
        self.head = nn.Linear(c.widths[-1] * positions, c.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) of windows (batch, channels, window)."""
        y = self.blocks(x)
        y = torch.flatten(y, 1) if self.configuration.head == "flatten" else y.mean(dim=2)
        logits: Tensor = self.head(y)
        return logits
