"""Training for signal padding, and how far a streamed network is from its window network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from sensorium.streaming.errors import NotStreamableError
from sensorium.streaming.geometry import samples_of, timeline
from sensorium.streaming.selfcheck import LIMITS, signal_padded_rows
from sensorium.streaming.trace import trace_network


class SignalPadded(nn.Module):
    """A window network as mode "stream" will run it: real samples instead of zeros at the left.

    Train this wrapper instead of the network (StreamiNNC, arXiv 2408.03223): the convolutional part
    runs over ``context`` extra samples, what comes from those is thrown away, and the head sees one
    window. The wrapped network is trained in place; convert it afterwards with mode="stream".

    Args:
        module: the window network in eval mode (call ``train()`` on the wrapper afterwards).
        window: samples of one window.
        channels: channels of the signal.

    Attributes:
        context: samples before the window, enough for the whole receptive field.
        lookahead: samples after it, which layers padded on the right read.
        samples: context + window + lookahead, the length ``forward`` takes.

    Raises:
        NotStreamableError: the network cannot be streamed.
    """

    def __init__(self, module: nn.Module, *, window: int, channels: int) -> None:
        super().__init__()
        network = trace_network(module, window=window, channels=channels, batch=2)
        nodes = network.trunk
        times = timeline(nodes, network.embeddings, window, window, padded=False)
        grid = max(node.stride.numerator for node in nodes)
        first = samples_of(nodes, dict.fromkeys(network.embeddings, 0), last=False)
        self.context = -(first // grid) * grid if first < 0 else 0
        self.window = window
        self.lookahead = times.lookahead
        self.network = network.source
        self._head = network.head_nodes
        self._cuts: dict[str, tuple[int, int, int]] = {}
        for name, value in network.trunk_values.items():
            node = nodes[value.node]
            start = int(self.context / node.stride)
            self._cuts[name] = (2 if value.layout == "BCT" else 1, start, node.length)
        self._check(network, times)

    @property
    def samples(self) -> int:
        """Samples of one training example."""
        return self.context + self.window + self.lookahead

    def forward(self, x: Tensor) -> Tensor:
        """The window's output for ``x`` (batch, channels, ``samples``).

        Raises:
            ValueError: another number of samples.
        """
        if x.shape[-1] != self.samples:
            raise ValueError(
                f"SignalPadded: got {x.shape[-1]} samples, expected context {self.context} + "
                f"window {self.window} + lookahead {self.lookahead} = {self.samples}"
            )
        runner = fx.Interpreter(self.network)
        values: dict[fx.Node, Any] = {}
        for node in self.network.graph.nodes:
            if node.op == "placeholder":
                values[node] = node.args[0] if node.args else x
                continue
            args, kwargs = fx.map_arg((node.args, node.kwargs), self._reader(node, values))
            if node.op == "output":
                return args[0]  # type: ignore[no-any-return]
            values[node] = getattr(runner, node.op)(node.target, args, kwargs)
        raise RuntimeError("traced graph without output")

    def _reader(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:  # noqa: ANN401
        leaves = node.name in self._head or node.op == "output"

        def read(source: fx.Node) -> Any:  # noqa: ANN401
            if leaves and source.name in self._cuts:
                axis, start, length = self._cuts[source.name]
                return values[source].narrow(axis, start, length)
            return values[source]

        return read

    def _check(self, network: Any, times: Any) -> None:  # noqa: ANN401
        generator = torch.Generator().manual_seed(3)
        parameter = next(self.network.parameters(), torch.zeros(1))
        shape = (2, network.channels, self.samples + times.first_row_samples)
        signal = torch.randn(shape, generator=generator).to(parameter)
        # Row r of a stream of window-sized hops starts at first_window_start + r * window.
        row = -(-self.context // self.window)
        start = times.first_window_start + row * self.window - self.context
        signal = torch.cat([signal, signal], dim=2)
        with torch.no_grad():
            reference = signal_padded_rows(network, times, signal, [row])[0]
            output = self(signal[..., start : start + self.samples])
        error = float(((output - reference).abs() / (1 + reference.abs())).max())
        if not error <= 4 * LIMITS.get(parameter.dtype, 5e-6):
            raise NotStreamableError(
                "SignalPadded",
                f"the network on a longer signal differs from its stream by {error:.1e}: forward() "
                "computes with the length of the signal",
                "use sizes that do not depend on the window",
            )


def nrmse_percent(streamed: Tensor, windowed: Tensor) -> Tensor:
    """Normalised root mean square error of each output, as the StreamiNNC paper reports it.

    Args:
        streamed: rows of a stream, (rows, ...).
        windowed: the window network's outputs for the same windows, (rows, ...).

    Returns:
        100 * RMSE over rows / (max - min of ``windowed`` over rows), shape (...).

    Raises:
        ValueError: the shapes differ.
    """
    if streamed.shape != windowed.shape:
        raise ValueError(
            f"nrmse_percent: streamed has shape {tuple(streamed.shape)}, windowed "
            f"{tuple(windowed.shape)}; compare the same rows"
        )
    rmse = (streamed - windowed).square().mean(0).sqrt()
    return 100 * rmse / (windowed.amax(0) - windowed.amin(0))
