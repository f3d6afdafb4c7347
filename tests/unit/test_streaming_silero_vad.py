"""Silero VAD as published (ONNX file of the package ``silero-vad``), rebuilt in torch and streamed.

The file is read from the installed package; its Python code is never imported. At 16 kHz the
published network takes chunks of 512 samples with 64 samples before them, mirrors 64 at the end,
and carries the state of an LSTM: https://github.com/snakers4/silero-vad (MIT).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from streaming_networks import push_in_pieces, relative_error, windows_of
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.streaming import NotStreamableError, convert

SPEC = importlib.util.find_spec("silero_vad")
if SPEC is None or not SPEC.submodule_search_locations:
    pytest.skip(
        "the published network is in silero-vad: pip install --no-deps silero-vad==6.2.3",
        allow_module_level=True,
    )
onnx = pytest.importorskip("onnx", reason="the weights are in an ONNX file")
onnxruntime = pytest.importorskip("onnxruntime", reason="runs the published network")

torch.set_num_threads(1)
FOLDER = Path(SPEC.submodule_search_locations[0]) / "data"
RATE_HZ, CHUNK, CONTEXT = 16_000, 512, 64
FRAMES = 4
"""Spectra of one chunk."""
CHUNKS = 16
"""Of one window: 0.5 s."""


class Published:
    """The published file in ONNX Runtime, its state carried from chunk to chunk."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(FOLDER / "silero_vad.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def probabilities(self, chunks: Tensor) -> Tensor:
        """From chunks with their context, (n, 576), starting at rest: (n,)."""
        state, rate = np.zeros((2, 1, 128), np.float32), np.array(RATE_HZ, np.int64)
        found = []
        for chunk in chunks.numpy():
            feeds = {"input": chunk[None], "state": state, "sr": rate}
            probability, state = self.session.run(None, feeds)
            found.append(probability.item())
        return torch.tensor(found)


class Detector(nn.Module):
    """Encoder over spectra (batch, 129, 4 per chunk), LSTM over its chunks, speech probability."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1))
        layers = (
            layer
            for inside, outside, stride in sizes
            for layer in (nn.Conv1d(inside, outside, 3, stride, padding=1), nn.ReLU())
        )
        self.encoder = nn.Sequential(*layers)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.decoder = nn.Linear(128, 1)

    def forward(self, spectra: Tensor) -> Tensor:
        return self.decide(self.encoder(spectra))

    def decide(self, embedding: Tensor) -> Tensor:
        hidden = self.lstm(embedding.transpose(1, 2))[0][:, -1]
        return torch.sigmoid(self.decoder(torch.relu(hidden)))


class OnSound(nn.Module):
    """The detector behind its short-time Fourier transform, on sound (batch, 1, samples)."""

    def __init__(self, basis: Tensor, detector: Detector, pads: tuple[int, int], mode: str) -> None:
        super().__init__()
        self.stft = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.stft.weight.data = basis
        self.detector, self.pads, self.mode = detector, pads, mode

    def spectra(self, sound: Tensor) -> Tensor:
        parts = self.stft(F.pad(sound, self.pads, mode=self.mode))
        real, imaginary = parts[:, :129], parts[:, 129:]
        return torch.sqrt(real * real + imaginary * imaginary)

    def forward(self, sound: Tensor) -> Tensor:
        return self.detector(self.spectra(sound))


def published_weights() -> dict[str, Tensor]:
    # The package's safetensors file holds other weights than its ONNX files, which agree.
    graph = onnx.load(FOLDER / "silero_vad_16k_op15.onnx").graph
    return {
        tensor.name.removeprefix("model."): torch.from_numpy(
            onnx.numpy_helper.to_array(tensor).copy()
        )
        for tensor in graph.initializer
    }


@pytest.fixture(scope="module")
def rebuilt() -> OnSound:
    """For one chunk with its context, (batch, 1, 576)."""
    weights, detector = published_weights(), Detector()
    names = {f"encoder.{2 * i}": f"encoder.{i}.reparam_conv" for i in range(4)}
    state = {}
    for name, parameter in detector.state_dict().items():
        layer, kind = name.rsplit(".", 1)
        source = {"lstm": "decoder.rnn", "decoder": "decoder.decoder.2"}.get(layer) or names[layer]
        held = weights[f"{source}.{kind.removesuffix('_l0')}"]
        state[name] = held.reshape(parameter.shape)
    detector.load_state_dict(state)
    basis = weights["stft.forward_basis_buffer"]
    return OnSound(basis, detector, (0, CONTEXT), "reflect").eval()


@pytest.fixture(scope="module")
def sound() -> Tensor:
    """Silence, four synthetic vowels with hisses between them, silence: (samples,)."""
    random = np.random.default_rng(0)
    time = np.arange(8 * CHUNK) / RATE_HZ
    pulses = np.diff(np.floor(120 * time + 0.6 * np.sin(2 * np.pi * 5 * time)), prepend=0)
    silence = 0.003 * random.standard_normal(16 * CHUNK)
    parts = [silence]
    for formants_hz in ((700, 1200, 2600), (300, 2300, 3000), (500, 1800, 2500), (320, 800, 2300)):
        voice = pulses + 0.01 * random.standard_normal(len(time))
        for formant_hz in formants_hz:
            ringing = np.exp(-np.pi * 90 * time) * np.sin(2 * np.pi * formant_hz * time)
            voice = np.convolve(voice, ringing)[: len(time)]
        parts += [0.4 * voice / np.abs(voice).max(), 0.05 * random.standard_normal(2 * CHUNK)]
    return torch.from_numpy(np.concatenate([*parts, silence]).astype(np.float32))


@pytest.fixture(scope="module")
def chunks(sound: Tensor) -> Tensor:
    """Every chunk with the samples before it: (n, 576)."""
    return F.pad(sound, (CONTEXT, 0)).unfold(0, CONTEXT + CHUNK, CHUNK).contiguous()


@pytest.fixture(scope="module")
def spectra(rebuilt: OnSound, chunks: Tensor) -> Tensor:
    """Of all chunks in order: (1, 129, 4 n)."""
    with torch.no_grad():
        return torch.cat(list(rebuilt.spectra(chunks[:, None])), dim=-1)[None]


def chunks_apart(detector: Detector) -> Detector:
    """The same on a row of chunks: the published encoder pads each chunk with zeros by itself.

    On 4 spectra each of its layers is a matrix, found from its answers to unit inputs.
    """
    made, positions = Detector().eval(), FRAMES
    made.lstm, made.decoder = detector.lstm, detector.decoder
    layers: list[nn.Module] = []
    for conv in (layer for layer in detector.encoder if isinstance(layer, nn.Conv1d)):
        inputs = conv.in_channels * positions
        unit = torch.eye(inputs).reshape(inputs, conv.in_channels, positions)
        with torch.no_grad():
            answers = F.conv1d(unit, conv.weight, None, conv.stride, conv.padding)
        after = answers.shape[-1]
        outputs = conv.out_channels * after
        # The first layer reads (channels, 4 spectra); later ones have made positions channels.
        kernel = 1 if layers else positions
        layer = nn.Conv1d(inputs // kernel, outputs, kernel, stride=kernel)
        layer.weight.data = answers.permute(1, 2, 0).reshape(layer.weight.shape).contiguous()
        layer.bias.data = conv.bias.data.repeat_interleave(after)
        layers += [layer, nn.ReLU()]
        positions = after
    made.encoder = nn.Sequential(*layers)
    return made.eval()


def test_the_rebuilt_network_gives_the_published_probabilities(
    rebuilt: OnSound, chunks: Tensor
) -> None:
    published = Published().probabilities(chunks)
    with torch.no_grad():
        detector = rebuilt.detector
        embedding = detector.encoder(rebuilt.spectra(chunks[:, None]))[..., 0]
        hidden = detector.lstm(embedding[None])[0][0]
        ours = torch.sigmoid(detector.decoder(torch.relu(hidden)))[:, 0]
    assert torch.allclose(ours, published, rtol=0, atol=1e-5)
    assert published[16:48].median() > 0.9
    assert published[8:16].max() < 0.1


@pytest.mark.parametrize("mode", ["exact_window", "stream"])
def test_streamed_windows_equal_the_published_file_run_on_each(
    rebuilt: OnSound, chunks: Tensor, spectra: Tensor, mode: str
) -> None:
    network = chunks_apart(rebuilt.detector)
    stream = convert(
        network, window=FRAMES * CHUNKS, hop=FRAMES, channels=129, mode=mode, recompute="never"
    )
    rows = push_in_pieces(stream, spectra, FRAMES)
    assert relative_error(rows, windows_of(network, spectra, FRAMES * CHUNKS, FRAMES)) < 5e-6
    published = Published()
    windows = (chunks[first : first + CHUNKS] for first in range(rows.shape[0]))
    expected = torch.stack([published.probabilities(window)[-1] for window in windows])
    assert torch.allclose(rows[:, 0, 0], expected, rtol=0, atol=1e-5)
    assert expected.min() < 0.1
    assert expected.max() > 0.9
    assert stream.report.touched_by_padding == 0
    assert stream.report.reused_share == pytest.approx(1 - 1 / CHUNKS)


def test_the_published_layers_on_whole_windows_stream_in_both_modes(
    rebuilt: OnSound, spectra: Tensor
) -> None:
    # Without the seams between chunks, padded at the ends of the window only. With these weights
    # that is no speech detector any more; it is a real network with centred, strided layers.
    network = rebuilt.detector
    settings = {"window": FRAMES * CHUNKS, "hop": FRAMES, "channels": 129, "recompute": "never"}
    exact = convert(network, mode="exact_window", **settings)
    rows = push_in_pieces(exact, spectra, FRAMES)
    assert relative_error(rows, windows_of(network, spectra, FRAMES * CHUNKS, FRAMES)) < 5e-6
    assert exact.report.reused_share > 0.8

    stream = convert(network, mode="stream", **settings)
    rows = push_in_pieces(stream, spectra, FRAMES)
    first = stream.timeline.first_window_start // FRAMES
    with torch.no_grad():
        embedding = network.encoder(spectra)
        windows = [embedding[..., first + r :][..., :CHUNKS] for r in range(rows.shape[0])]
        reference = torch.stack([network.decide(window) for window in windows])
    assert relative_error(rows, reference) < 5e-6
    assert stream.report.reused_share == pytest.approx(1 - 1 / CHUNKS)
    assert stream.delay > 0


def test_a_hop_of_half_a_chunk_is_refused(rebuilt: OnSound) -> None:
    with pytest.raises(
        NotStreamableError, match=r"^encoder\.4 \(Conv1d\): hop 2 .* stride 4"
    ) as no:
        convert(rebuilt.detector, window=FRAMES * CHUNKS, hop=FRAMES // 2, channels=129)
    assert "Remedy: use a hop of 4 (multiples of 4)" in str(no.value)


def test_the_mirrored_end_of_the_published_transform_is_refused(rebuilt: OnSound) -> None:
    window = CONTEXT + CHUNK * CHUNKS
    with pytest.raises(NotStreamableError, match=r"^pad \(pad\): .*'reflect' mirrors") as no:
        convert(rebuilt, window=window, hop=CHUNK, channels=1)
    assert "Remedy: use zero, causal or replicate padding" in str(no.value)


@pytest.mark.parametrize("mode", ["exact_window", "stream"])
@pytest.mark.parametrize("executor", ["torch", "onnxruntime"])
def test_sound_through_a_magnitude_spectrum_inside_the_network_streams(
    rebuilt: OnSound, sound: Tensor, mode: str, executor: str
) -> None:
    basis = rebuilt.stft.weight.data
    padded = OnSound(basis, rebuilt.detector, (CONTEXT, CONTEXT), "constant").eval()
    stream = convert(
        padded, window=CHUNK * CHUNKS, hop=CHUNK, channels=1, mode=mode, executor=executor,
        recompute="never",
    )  # fmt: skip
    signal = sound[None, None]
    rows = push_in_pieces(stream, signal, CHUNK)
    if mode == "exact_window":
        reference = windows_of(padded, signal, CHUNK * CHUNKS, CHUNK)
    else:
        first = stream.timeline.first_window_start // CHUNK
        with torch.no_grad():
            embedding = rebuilt.detector.encoder(padded.spectra(signal))
            windows = [embedding[..., first + r :][..., :CHUNKS] for r in range(rows.shape[0])]
            reference = torch.stack([rebuilt.detector.decide(window) for window in windows])
    assert relative_error(rows, reference) < 5e-6
