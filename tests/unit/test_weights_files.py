"""Weights on disk: listed, added, verified, loaded; bad files refused with the reason."""

from __future__ import annotations

import hashlib
import json
import socket
import struct

import pytest
import torch
from omnivggt_models import CONFIGURATION, largest_difference, random_images, small_model
from safetensors.torch import save_file

from sensorium import weights
from sensorium.weights import WeightsError


@pytest.fixture(scope="module")
def good_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    metadata = {"configuration": json.dumps(CONFIGURATION)}
    save_file(dict(small_model().state_dict()), path, metadata=metadata)
    return path


def _added(good_file, tmp_path, **changes):
    arguments = {"name": "small", "licence": "MIT", "source": "a test"} | changes
    return weights.add_weights(tmp_path / "manifest.json", good_file, **arguments)


def test_an_added_file_is_listed_verified_and_loaded(good_file, tmp_path):
    added = _added(good_file, tmp_path, measured={"abs_rel": 0.03})
    manifest = tmp_path / "manifest.json"
    assert weights.list_weights([manifest]) == (added,)
    assert added.sha256 == hashlib.sha256(good_file.read_bytes()).hexdigest()
    assert added.configuration == CONFIGURATION
    assert added.measured == {"abs_rel": 0.03}
    assert weights.verify_weights(added) == weights.Verification("small", good_file, True, "")
    loaded = weights.load_omnivggt("small", manifests=[manifest])
    images = random_images(2)
    assert largest_difference(loaded.model(images), small_model()(images)) < 1e-6
    assert loaded.sha256 == added.sha256
    assert loaded.notice == ""
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_a_file_beside_the_manifest_is_recorded_by_its_name(good_file, tmp_path):
    copy = tmp_path / "weights.safetensors"
    copy.write_bytes(good_file.read_bytes())
    _added(copy, tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["weights"][0]["file"] == "weights.safetensors"


def test_half_precision_files_load_as_float32(good_file, tmp_path):
    path = tmp_path / "half.safetensors"
    state = {key: value.half() for key, value in small_model().state_dict().items()}
    save_file(state, path, metadata={"configuration": json.dumps(CONFIGURATION)})
    loaded = weights.load_omnivggt(path)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert path.stat().st_size < 0.6 * good_file.stat().st_size


def test_the_packaged_manifest_names_the_published_weights_as_non_commercial():
    entry = weights.find_weights("omnivggt-published")
    assert entry.non_commercial
    assert "NON-COMMERCIAL USE ONLY" in weights.licence_notice(entry)
    assert "CC BY-NC 4.0" in weights.licence_notice(entry)


def test_a_bare_file_of_unknown_licence_is_called_non_commercial(good_file):
    assert "licence is unknown; treat them as non-commercial" in (
        weights.load_omnivggt(good_file).notice
    )


@pytest.mark.parametrize(
    ("licence", "non_commercial"),
    [("CC BY-NC 4.0", True), ("Non-Commercial research", True), ("MIT", False), ("unknown", True)],
)
def test_non_commercial_licences_are_recognised(good_file, tmp_path, licence, non_commercial):
    assert _added(good_file, tmp_path, licence=licence).non_commercial is non_commercial


def _truncated(data):
    return data[:-1]


def _header_only(data):
    return data[: 8 + struct.unpack("<Q", data[:8])[0] // 2]


def _longer(data):
    return data + b"\0"


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (_truncated, r"is truncated: \d+ bytes of \d+"),
        (_header_only, "truncated inside its header"),
        (_longer, "is too long"),
        (lambda _: b"", "header length is 0"),
        (lambda _: b"\x80\x04\x95 pickle protocol 4", "is a pickle"),
        (lambda _: b"PK\x03\x04 zip of a .pt file", "is a pickle"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (lambda _: struct.pack("<Q", 4) + b"nope", "header is unreadable"),
        (lambda _: struct.pack("<Q", 2) + b"{}", "header is unreadable"),
        (lambda _: b'{"json": "config, not weights"}', "no safetensors file"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(good_file, tmp_path, damage, text):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(damage(good_file.read_bytes()))
    with pytest.raises(WeightsError, match=text):
        weights.load_omnivggt(bad)
    with pytest.raises(WeightsError, match=text):
        _added(bad, tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_another_sha256_is_refused_by_name_and_by_path(good_file, tmp_path):
    copy = tmp_path / "weights.safetensors"
    copy.write_bytes(good_file.read_bytes())
    entry = _added(copy, tmp_path)
    data = bytearray(good_file.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(bytes(data))
    manifests = [tmp_path / "manifest.json"]
    for name in ("small", copy):
        with pytest.raises(WeightsError, match=r"has SHA-256 .* the manifest says"):
            weights.load_omnivggt(name, manifests=manifests)
    verification = weights.verify_weights(entry)
    assert not verification.passed
    assert entry.sha256 in verification.reason


def test_an_entry_without_a_recorded_sha256_verifies_with_a_remark(good_file, tmp_path):
    entry = _added(good_file, tmp_path)
    import dataclasses

    verification = weights.verify_weights(dataclasses.replace(entry, sha256=None))
    assert verification.passed
    assert "no SHA-256 is recorded" in verification.reason


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("depth_head.norm.bias"), "1 tensors are missing .depth_head.norm.bias"),
        (lambda s: s.update({"track_head.x": torch.zeros(1)}), "looks like a VGGT checkpoint"),
        (lambda s: s.update({"depth_head.norm.bias": torch.zeros(3)}), "of another size"),
        (
            lambda s: s.update({"depth_head.norm.bias": torch.zeros(64, dtype=torch.int64)}),
            "floating point is needed",
        ),
    ],
)
def test_another_architecture_is_refused(tmp_path, change, text):
    state = dict(small_model().state_dict())
    change(state)
    path = tmp_path / "other.safetensors"
    save_file(state, path, metadata={"configuration": json.dumps(CONFIGURATION)})
    with pytest.raises(WeightsError, match=text):
        weights.load_omnivggt(path)


def test_a_small_file_without_its_configuration_is_not_the_published_model(tmp_path):
    path = tmp_path / "plain.safetensors"
    save_file(dict(small_model().state_dict()), path)
    with pytest.raises(WeightsError, match="or the configuration it was made with"):
        weights.load_omnivggt(path)


def test_a_missing_file_is_refused_and_nothing_is_fetched(tmp_path, monkeypatch):
    def no_network(*_arguments, **_keywords):
        pytest.fail("the network was touched")

    monkeypatch.setattr(socket, "socket", no_network)
    with pytest.raises(WeightsError, match="nothing is downloaded"):
        weights.load_omnivggt(tmp_path / "absent.safetensors")


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(WeightsError, match=r"known are: .*omnivggt-published"):
        weights.load_omnivggt("omnivgtt")


def test_a_name_is_taken_once(good_file, tmp_path):
    _added(good_file, tmp_path)
    with pytest.raises(WeightsError, match="choose another name"):
        _added(good_file, tmp_path)


def test_a_local_copy_of_packaged_weights_inherits_their_licence(good_file, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert not weights.user_manifest().exists()
    assert not weights.find_weights("omnivggt-published").is_present
    weights.add_weights(
        weights.user_manifest(), good_file, name="omnivggt-published", configuration=CONFIGURATION
    )
    own = weights.find_weights("omnivggt-published")
    assert own.path == good_file
    assert own.non_commercial
    assert "CC BY-NC 4.0" in own.licence
    assert "NON-COMMERCIAL" in weights.load_omnivggt("omnivggt-published").notice
    assert len(weights.list_weights()) == len(weights.list_weights(weights.PACKAGED_MANIFESTS))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not readable as JSON"),
        ('{"version": 2, "weights": []}', "of version 1"),
        ('{"version": 1, "weights": [{"name": "x"}]}', "an entry lacks 'file'"),
    ],
)
def test_a_broken_manifest_is_refused(tmp_path, text, reason):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match=reason):
        weights.read_manifest(path)
