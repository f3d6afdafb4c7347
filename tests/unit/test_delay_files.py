"""The file format of delay networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_delay_networks import network, spikes

from sensorium.streaming.delays import (
    DelayLayer,
    DelayNetwork,
    DelayStream,
    load_delay_network,
    save_delay_network,
)

torch.set_num_threads(1)


def test_a_network_survives_its_files(tmp_path: Path) -> None:
    made = network(reset="soft", synapses=2)
    save_delay_network(made, tmp_path / "shd")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shd.json", "shd.safetensors"]
    loaded = load_delay_network(tmp_path / "shd")
    x = spikes(1, 7, 50)
    assert torch.equal(DelayStream(loaded).push(x), DelayStream(made).push(x))
    assert (loaded.time_step_ns, loaded.readout) == (10_000_000, "softmax_sum")
    assert loaded.layers[-1].threshold == float("inf")


def test_the_description_is_plain_json_and_delays_are_bytes(tmp_path: Path) -> None:
    save_delay_network(network(), tmp_path / "n")
    document = json.loads((tmp_path / "n.json").read_text())
    assert document["format"] == "sensorium-delay-network"
    assert document["layers"][0] == {
        "max_delay_steps": 12,
        "tau_steps": 1.5,
        "threshold": 1.0,
        "reset": "hard",
        "decay_input": False,
    }
    assert load_file(tmp_path / "n.safetensors")["0.delay_steps"].dtype == torch.uint8


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "other"}, "not a sensorium-delay-network file"),
        ({"version": 2}, "version 2, this software reads version 1"),
        ({"taau": 1}, r"unknown \['taau'\]"),
        ({"readout": "argmax"}, "unknown readout 'argmax'"),
        ({"labels": ["a"]}, "1 labels for 4 outputs"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, change: dict[str, object], text: str
) -> None:
    save_delay_network(network(), tmp_path / "n")
    document = json.loads((tmp_path / "n.json").read_text())
    (tmp_path / "n.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(ValueError, match=text):
        load_delay_network(tmp_path / "n")


def test_missing_or_mistyped_tensors_are_named(tmp_path: Path) -> None:
    save_delay_network(network(), tmp_path / "n")
    tensors = load_file(tmp_path / "n.safetensors")
    save_file({k: v for k, v in tensors.items() if k != "1.bias"}, tmp_path / "n.safetensors")
    with pytest.raises(ValueError, match=r"tensor 1\.bias is missing"):
        load_delay_network(tmp_path / "n")
    save_file({**tensors, "0.weight": tensors["0.weight"].double()}, tmp_path / "n.safetensors")
    with pytest.raises(ValueError, match=r"tensor 0\.weight is torch\.float64"):
        load_delay_network(tmp_path / "n")


def test_delays_that_do_not_fit_a_byte_are_refused(tmp_path: Path) -> None:
    long = DelayLayer(
        torch.ones(1, 1, 1), torch.tensor([[[300]]]), 300, torch.ones(1), torch.zeros(1), 1.0
    )
    with pytest.raises(ValueError, match="at most 255; use a coarser time step"):
        save_delay_network(DelayNetwork((long,), time_step_ns=1), tmp_path / "n")
