"""Every condition under which a network cannot be streamed exactly is refused, with a remedy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.streaming import NotStreamableError, convert

torch.set_num_threads(1)


def refusal(module: nn.Module, **settings: object) -> str:
    arguments = {"window": 32, "hop": 2, "channels": 2, **settings}
    with pytest.raises(NotStreamableError) as caught:
        convert(module.eval() if not settings.get("keep") else module, **arguments)
    text = str(caught.value)
    assert "Remedy: " in text
    return text


class Forward(nn.Module):
    """A convolution, then whatever ``body`` does with it, then another convolution."""

    def __init__(self, body) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 4, 3, padding=1)
        self.second = nn.Conv1d(4, 4, 3, padding=1)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.body(self.first(x)))


def test_training_mode() -> None:
    module = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4)).train()
    with pytest.raises(NotStreamableError, match=r"training mode.*module.eval\(\)"):
        convert(module, window=32, hop=2, channels=2)


def test_one_layer_left_in_training_mode_is_named() -> None:
    module = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Dropout(0.5)).eval()
    module[1].train()
    with pytest.raises(NotStreamableError, match=r"^1: is in training mode"):
        convert(module, window=32, hop=2, channels=2)


@pytest.mark.parametrize("mode", ["reflect", "circular"])
def test_padding_that_mirrors_or_wraps(mode: str) -> None:
    module = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1, padding_mode=mode))
    assert f"'{mode}'" in refusal(module)


def test_functional_reflect_padding() -> None:
    assert "reflect" in refusal(Forward(lambda x: F.pad(x, (1, 1), mode="reflect")))


def test_window_that_is_no_multiple_of_the_total_stride() -> None:
    module = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.MaxPool1d(4))
    text = refusal(module, window=34, hop=4)
    assert "window 34 is not a multiple of its total stride 4" in text
    assert "32 or 36" in text


def test_hop_longer_than_the_window() -> None:
    assert "hop 64 exceeds window 32" in refusal(nn.Sequential(nn.Conv1d(2, 4, 3)), hop=64)


def test_hop_of_zero() -> None:
    assert "hop is 0" in refusal(nn.Sequential(nn.Conv1d(2, 4, 3)), hop=0)


def test_layer_norm_over_time() -> None:
    assert "32 positions of the window" in refusal(Forward(nn.LayerNorm(32)))


def test_softmax_over_time() -> None:
    text = refusal(Forward(lambda x: torch.softmax(x, dim=-1)))
    assert "softmax over the 32 positions of the window" in text


def test_squeeze_and_excitation_inside_the_trunk() -> None:
    text = refusal(Forward(lambda x: x * torch.sigmoid(x.mean(-1, keepdim=True))))
    assert "follows" in text
    assert "depends on the whole window" in text


def test_window_standardisation_before_a_convolution() -> None:
    module = Forward(lambda x: (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True))
    assert "depends on the whole window" in refusal(module)


def test_positional_encoding_before_a_convolution() -> None:
    class Encoded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(1, 2, 32))
            self.conv = nn.Conv1d(2, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x + self.table)

    assert "depends on the whole window" in refusal(Encoded())


@pytest.mark.parametrize(
    "body",
    [
        nn.MultiheadAttention(4, 2, batch_first=True),
        nn.TransformerEncoderLayer(4, 2, batch_first=True),
    ],
)
def test_attention(body: nn.Module) -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(2, 4, 3)
            self.body = body

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x).transpose(1, 2)
            return (
                self.body(y, y, y)[0]
                if isinstance(self.body, nn.MultiheadAttention)
                else (self.body(y))
            )

    assert "neither local in time nor a supported head layer" in refusal(Attending())


def test_fourier_transform_of_the_window() -> None:
    assert "neither local in time" in refusal(Forward(lambda x: torch.fft.rfft(x).abs()))


def test_recurrent_layer_between_convolutions() -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(2, 4, batch_first=True, bidirectional=True)
            self.conv = nn.Conv1d(8, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.gru(x.transpose(1, 2))
            return self.conv(y.transpose(1, 2))

    assert "depends on the whole window" in refusal(Between())


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_upsampling_that_looks_ahead_or_is_not_whole(mode: str) -> None:
    factor = 2 if mode == "linear" else 1.5
    module = Forward(nn.Upsample(scale_factor=factor, mode=mode))
    assert "interpolates" in refusal(module)


def test_transposed_convolution() -> None:
    assert "ConvTranspose1d" in refusal(Forward(nn.ConvTranspose1d(4, 4, 4, stride=2)))


def test_two_dimensional_convolution() -> None:
    module = nn.Sequential(nn.Unflatten(1, (1, 2)), nn.Conv2d(1, 2, (2, 3)))
    assert "Conv2d" in refusal(module)


def test_branches_of_different_total_stride() -> None:
    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv1d(2, 2, 1, stride=2)
            self.b = nn.Conv1d(2, 2, 17)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x)

    assert "total stride 2 and 1" in refusal(Uneven())


def test_branches_of_different_length() -> None:
    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv1d(2, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + x[:, :, :29]

    assert "fails on a window" in refusal(Uneven()) or "positions" in refusal(Uneven())


def test_in_place_layer_on_a_value_read_elsewhere() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv1d(2, 2, 3, padding=1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return self.relu(y) + y

    assert "in place" in refusal(Overwriting())


def test_control_flow_on_values() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    assert "torch.fx cannot trace" in refusal(Branching())


def test_padding_that_reaches_everything() -> None:
    layers = [nn.Conv1d(2, 2, 9, padding=4) for _ in range(6)]
    text = refusal(nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 2)))
    assert "100 % of the embedding meets padding" in text
    assert "mode='stream'" in text


def test_reversed_time() -> None:
    assert "neither local in time" in refusal(Forward(lambda x: torch.flip(x, (-1,))))


def test_concatenation_along_time() -> None:
    assert "not channels" in refusal(Forward(lambda x: torch.cat([x, x], dim=2)))


def test_several_outputs() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    assert "one tensor" in refusal(Two())


def test_a_hook_that_changes_the_signal_is_found_by_the_self_check() -> None:
    module = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.ReLU())
    module[0].register_forward_hook(lambda m, args, out: out.roll(1, dims=-1))
    assert "self-check" in refusal(module)


def test_wrong_arguments_are_named() -> None:
    module = nn.Sequential(nn.Conv1d(2, 4, 3)).eval()
    with pytest.raises(ValueError, match="mode is 'approximate'"):
        convert(module, window=32, hop=2, channels=2, mode="approximate")
    with pytest.raises(ValueError, match="executor is 'tensorrt'"):
        convert(module, window=32, hop=2, channels=2, executor="tensorrt")
    with pytest.raises(ValueError, match="float32 on CPU"):
        convert(module.double(), window=32, hop=2, channels=2, executor="onnxruntime")
