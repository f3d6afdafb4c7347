"""The parity check that follows every conversion; a mismatch refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sensorium.streaming.errors import NotStreamableError
from sensorium.streaming.evaluate import evaluate_trunk
from sensorium.streaming.geometry import Timeline
from sensorium.streaming.report import Parity
from sensorium.streaming.stream import SignalStream
from sensorium.streaming.trace import TracedNetwork

LIMITS = {torch.float32: 5e-6, torch.float64: 1e-12}
_MAX_HOPS = 512
_MAX_ROWS = 12


def check_parity(
    module: nn.Module,
    network: TracedNetwork,
    stream: SignalStream,
    make_stream: Callable[[nn.Module], tuple[TracedNetwork, SignalStream]],
    like: Tensor,
) -> Parity:
    """Compares ``stream`` with the network on whole windows, random and integer-valued.

    "exact_window" is compared with ``module`` itself on every window, "stream" with one pass of the
    trunk over the whole signal.

    Args:
        module: the original network.
        network: its trace.
        stream: the conversion under test; it is reset afterwards.
        make_stream: converts the integer-valued copy in the same way.
        like: dtype and device of the network.

    Raises:
        NotStreamableError: the stream's output differs.
    """
    generator = torch.Generator("cpu").manual_seed(7)
    times = stream.timeline
    hops = min(_MAX_HOPS, (2 * times.window + times.receptive_field) // times.hop + 70)
    length = times.first_row_samples + hops * times.hop
    shape = (network.batch, network.channels, length)
    signal = torch.randn(shape, generator=generator).to(like)
    rows, references = _compare(module, network, stream, signal)
    limit = _limit(module, like, signal[..., : times.window])
    random_error = _error(rows, references)
    if not random_error <= limit:
        raise NotStreamableError(
            type(module).__name__,
            f"self-check: streamed outputs differ from the network by {random_error:.2e} "
            f"(limit {limit:.1e})",
            "a layer or a hook changes the signal in a way the converter does not see: convert "
            "the parts separately to find it, and report it",
        )
    integer = _integer_copy(module, generator)
    signal = torch.randint(-3, 4, shape, generator=generator).to(like)
    other_network, other = make_stream(integer)
    rows, references = _compare(integer, other_network, other, signal)
    integer_error = _error(rows, references)
    if not integer_error <= _limit(integer, like, signal[..., : times.window]):
        raise NotStreamableError(
            type(module).__name__,
            f"self-check: an integer-valued copy differs by {integer_error:.2e}",
            "report this network: positions are mixed up in one of its layers",
        )
    exact = torch.equal(rows, references)
    stream.reset()
    return Parity(rows.shape[0], random_error, limit, integer_error, exact)


def window_rows(
    module: nn.Module, network: TracedNetwork, times: Timeline, signal: Tensor, rows: list[int]
) -> Tensor:
    """``module`` on the windows of the given rows: the reference of "exact_window"."""
    starts = [times.first_window_start + row * times.hop for row in rows]
    with torch.no_grad():
        return torch.stack([module(signal[..., s : s + times.window]) for s in starts])


def signal_padded_rows(
    network: TracedNetwork, times: Timeline, signal: Tensor, rows: list[int]
) -> Tensor:
    """One pass over the whole ``signal``, then the head per row: the reference of "stream"."""
    with torch.no_grad():
        values = evaluate_trunk(network.trunk, signal, open_end=True)
        outputs = []
        for row in rows:
            at = times.first_window_start + row * times.hop
            pieces = []
            for index in network.embeddings:
                node = network.trunk[index]
                start = int(at / node.stride)
                pieces.append(values[index][..., start : start + node.length].contiguous())
            outputs.append(network.head(*pieces))
        return torch.stack(outputs)


def _compare(
    module: nn.Module, network: TracedNetwork, stream: SignalStream, signal: Tensor
) -> tuple[Tensor, Tensor]:
    times = stream.timeline
    stream.reset()
    rows = stream.push(signal)
    chosen = _chosen(rows.shape[0])
    if stream.report.mode == "exact_window":
        references = window_rows(module, network, times, signal, chosen)
    else:
        references = signal_padded_rows(network, times, signal, chosen)
    return rows[chosen], references


def _chosen(count: int) -> list[int]:
    """First rows, last rows (behind every ring's first copy-back) and some between."""
    middle = [round(count * i / _MAX_ROWS) for i in range(1, _MAX_ROWS)]
    return sorted({i for i in (0, 1, 2, *middle, count - 2, count - 1) if 0 <= i < count})


def _error(rows: Tensor, references: Tensor) -> float:
    if rows.shape != references.shape:
        return float("inf")
    return float(((rows - references).abs() / (1 + references.abs())).max())


def _limit(module: nn.Module, like: Tensor, window: Tensor) -> float:
    """The allowed error: no conversion can be closer than the rounding of the network itself."""
    limit = LIMITS.get(like.dtype, 5e-6)
    if like.dtype != torch.float32:
        return limit
    with torch.no_grad():
        doubled = _copied(module).double()(window.double())
        return max(limit, 8 * _error(module(window).double(), doubled))


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except (TypeError, RuntimeError) as error:
        raise NotStreamableError(
            type(module).__name__,
            f"cannot be copied ({error}), so that the self-check cannot run",
            "remove what copy.deepcopy refuses, such as open files or patched methods",
        ) from error


def _integer_copy(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """The same architecture with small integers, sparse enough that float32 sums stay exact."""
    integer = _copied(module)
    if any(parametrize.is_parametrized(m) for m in integer.modules()):
        return integer
    for m in integer.modules():
        for name, buffer in m.named_buffers(recurse=False):
            if name == "running_var":
                buffer.fill_(1.0)
            elif name == "running_mean":
                buffer.copy_(torch.randint(-1, 2, buffer.shape, generator=generator))
        if isinstance(m, (nn.BatchNorm1d, nn.InstanceNorm1d)):
            m.eps = 0.0
        for parameter in m.parameters(recurse=False):
            parameter.data.copy_(_integers(parameter.shape, generator))
    return integer


def _integers(shape: torch.Size, generator: torch.Generator) -> Tensor:
    values = torch.randint(0, 2, shape, generator=generator) * 2.0 - 1.0
    if len(shape) < 2:
        return values
    flat = values.reshape(shape[0], -1)
    keep = torch.rand(flat.shape, generator=generator).topk(min(3, flat.shape[1]), dim=1).indices
    mask = torch.zeros_like(flat).scatter_(1, keep, 1.0)
    return (flat * mask).reshape(shape)
