"""Reducing tokens: the best linear one, bound to its weights; fitted by the command line."""

from __future__ import annotations

import json
import struct

import cv2
import numpy as np
import pytest
from omnivggt_backends import make_backend, save_small_weights, view

from sensorium.cli import main
from sensorium.geometry.token_reduction import (
    ReductionFit,
    ReductionRefused,
    load_reduction,
    save_reduction,
)

WEIGHTS = "a" * 64


def tokens(count=500, channels=6, seed=0):
    """Tokens with variances 36, 25, 16, ... along axes that are turned, about a large mean."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(channels, channels)))[0]
    values = random.normal(size=(count, channels)) * np.arange(channels, 0, -1)
    return (values @ axes + 1000).astype(np.float32)


def fitted(data, channels, pieces=3):
    fit = ReductionFit(data.shape[1])
    for piece in np.array_split(data, pieces):
        fit.add(piece)
    return fit.reduction(channels, WEIGHTS)


def test_the_components_are_those_of_a_singular_value_decomposition():
    data = tokens()
    reduction = fitted(data, 3)
    centred = data.astype(np.float64) - data.mean(axis=0, dtype=np.float64)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    overlap = np.abs(reduction.components @ directions[:3].T)
    np.testing.assert_allclose(overlap, np.eye(3), atol=1e-3)
    share = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(reduction.explained, share[:3], rtol=1e-4)
    np.testing.assert_allclose(reduction.mean, data.mean(axis=0), rtol=1e-5)


def test_all_components_put_tokens_back_together():
    data = tokens()
    reduction = fitted(data, 6)
    back = reduction.apply(data) @ reduction.components + reduction.mean
    np.testing.assert_allclose(back, data, atol=1e-2)


def test_rows_with_nan_are_left_out():
    data = tokens()
    spoiled = np.concatenate((data, np.full((5, 6), np.nan, np.float32)))
    np.testing.assert_allclose(
        np.abs(fitted(spoiled, 2).components), np.abs(fitted(data, 2).components), atol=1e-5
    )


@pytest.mark.parametrize(
    ("data", "channels", "words"),
    [
        (tokens(), 7, "choose 1 to 6"),
        (tokens(), 0, "choose 1 to 6"),
        (tokens(3), 3, "choose 1 to 2"),
        (np.ones((50, 6), np.float32), 2, "all tokens are equal"),
        (np.full((50, 6), np.nan, np.float32), 2, "0 tokens"),
    ],
)
def test_what_cannot_be_fitted_is_refused(data, channels, words):
    with pytest.raises(ReductionRefused, match=words):
        fitted(data, channels)


def test_a_file_comes_back_and_names_its_channels(tmp_path):
    reduction = fitted(tokens(), 2)
    path = tmp_path / "new" / "tokens.safetensors"
    save_reduction(reduction, path)
    loaded = load_reduction(path, WEIGHTS, 6)
    np.testing.assert_array_equal(loaded.components, reduction.components)
    np.testing.assert_array_equal(loaded.mean, reduction.mean)
    assert loaded.channel_names == tuple(f"pca{i}@{loaded.sha256[:12]}" for i in range(2))
    assert len(loaded.sha256) == 64
    assert [entry.name for entry in path.parent.iterdir()] == ["tokens.safetensors"]


def test_a_file_that_does_not_fit_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "tokens.safetensors"
    save_reduction(fitted(tokens(), 2), path)
    with pytest.raises(ReductionRefused, match="tokens of other weights mean something else"):
        load_reduction(path, "b" * 64, 6)
    with pytest.raises(ReductionRefused, match="the tokens have 7"):
        load_reduction(path, WEIGHTS, 7)
    with pytest.raises(ReductionRefused, match="does not exist"):
        load_reduction(tmp_path / "absent", WEIGHTS, 6)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ReductionRefused, match="damaged"):
        load_reduction(cut, WEIGHTS, 6)
    other = tmp_path / "other.safetensors"
    header = json.dumps({}).encode()
    other.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ReductionRefused, match="no token reduction"):
        load_reduction(other, WEIGHTS, 6)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A 7-Scenes folder of noise without poses."""
    folder = tmp_path_factory.mktemp("recording")
    random = np.random.default_rng(0)
    np.savetxt(folder / "camera-intrinsics.txt", ((90, 0, 55.5), (0, 90, 41.5), (0, 0, 1)))
    for index in range(6):
        name = f"frame-{index:06d}"
        color = random.integers(0, 255, (84, 112, 3), np.uint8)
        cv2.imwrite(str(folder / f"{name}.color.png"), color)
        cv2.imwrite(str(folder / f"{name}.depth.png"), np.full((84, 112), 2000, np.uint16))
    return folder


def test_the_command_fits_and_the_backend_uses_it(weights, recording, tmp_path, capsys):
    output = tmp_path / "reduction.safetensors"
    arguments = ["weights", "fit-reduction", str(recording), str(output), "--weights", str(weights),
                 "--width", "56", "--height", "42", "--channels", "5", "--frames", "3",
                 "--device", "cpu"]  # fmt: skip
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "36 tokens of 3 frames (0 skipped), 64 -> 5 channels" in said
    assert "the licence is unknown" in said
    whole = make_backend(weights).add(view(1, depth_m=2.0)).newest.tokens
    backend = make_backend(weights, **{"tokens.reduction": str(output)})
    assert backend.token_layout.channels == 5
    reduction = load_reduction(output, backend.token_layout.weights_sha256, 64)
    assert backend.token_layout.channel_names == reduction.channel_names
    reduced = backend.add(view(1, depth_m=2.0)).newest.tokens
    wanted = (whole.features - reduction.mean) @ reduction.components.T
    np.testing.assert_allclose(reduced.features, wanted, atol=1e-4)
    other = save_small_weights(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(ReductionRefused, match="other weights"):
        make_backend(other, **{"tokens.reduction": str(output)})


def test_the_command_refuses_what_it_cannot_read(weights, tmp_path, capsys):
    arguments = ["--weights", str(weights), "--width", "56", "--height", "42"]
    nowhere = ["weights", "fit-reduction", str(tmp_path / "no"), str(tmp_path / "r")]
    assert main([*nowhere, *arguments]) == 2
    assert "does not exist" in capsys.readouterr().err
