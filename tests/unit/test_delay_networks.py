"""Delay networks: the stepper equals the offline delayed convolution."""

from __future__ import annotations

import pytest
import torch

from sensorium.streaming.delays import DelayLayer, DelayNetwork, DelayStream, run_offline

torch.set_num_threads(1)


def layer(inputs: int, outputs: int, seed: int, **settings: object) -> DelayLayer:
    generator = torch.Generator().manual_seed(seed)
    synapses, longest = int(settings.pop("synapses", 1)), int(settings.pop("longest", 12))
    shape = (synapses, outputs, inputs)
    return DelayLayer(
        weight=torch.randn(shape, generator=generator),
        delay_steps=torch.randint(0, longest + 1, shape, generator=generator),
        max_delay_steps=longest,
        scale=0.5 + torch.rand(outputs, generator=generator),
        bias=0.2 * torch.randn(outputs, generator=generator),
        tau_steps=float(settings.pop("tau_steps", 1.5)),
        **settings,
    )


def network(readout: str = "softmax_sum", **settings: object) -> DelayNetwork:
    layers = (
        layer(7, 11, 1, **settings),
        layer(11, 9, 2, **settings),
        layer(9, 4, 3, **{**settings, "threshold": float("inf")}),
    )
    return DelayNetwork(layers, time_step_ns=10_000_000, readout=readout)


def spikes(batch: int, channels: int, steps: int, rate: float = 0.15) -> torch.Tensor:
    generator = torch.Generator().manual_seed(17)
    return (torch.rand(batch, channels, steps, generator=generator) < rate).float()


@pytest.mark.parametrize("readout", ["softmax_sum", "membrane", "spikes"])
@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("decay_input", [False, True])
def test_stepping_equals_the_delayed_convolution(
    readout: str, reset: str, decay_input: bool
) -> None:
    made = network(readout, reset=reset, decay_input=decay_input, synapses=2)
    x = spikes(3, 7, 120)
    stepped = DelayStream(made, batch=3).push(x)
    assert torch.allclose(stepped, run_offline(made, x), atol=1e-6, rtol=1e-6)


def test_a_spike_arrives_exactly_after_its_delay() -> None:
    delays = torch.tensor([[[0, 3, 8]]])
    made = DelayNetwork(
        (
            DelayLayer(
                torch.tensor([[[1.0, 2.0, 4.0]]]), delays, 8, torch.ones(1), torch.zeros(1),
                tau_steps=1.0, threshold=float("inf"),
            ),
        ),
        time_step_ns=1_000_000,
        readout="membrane",
    )  # fmt: skip
    x = torch.zeros(1, 3, 12)
    x[0, :, 1] = 1.0
    membrane = DelayStream(made).push(x)[:, 0, 0]
    expected = torch.zeros(12)
    expected[1], expected[4], expected[9] = 1.0, 2.0, 4.0
    assert torch.equal(membrane, expected)


def test_counts_and_graded_inputs_are_weighted() -> None:
    made = network("membrane")
    x = 3.0 * torch.rand(2, 7, 60) * spikes(2, 7, 60)
    stepped = DelayStream(made, batch=2).push(x)
    assert torch.allclose(stepped, run_offline(made, x), atol=1e-5, rtol=1e-6)


def test_the_folded_bias_flows_without_any_spike() -> None:
    made = network("membrane")
    silent = DelayStream(made).push(torch.zeros(1, 7, 30))
    assert silent.abs().max() > 0
    assert torch.allclose(silent, run_offline(made, torch.zeros(1, 7, 30)), atol=1e-6)


def test_pushing_in_pieces_and_from_a_saved_state_changes_nothing() -> None:
    made = network()
    x = spikes(2, 7, 90)
    whole = DelayStream(made, batch=2).push(x)
    first, second = DelayStream(made, batch=2), DelayStream(made, batch=2)
    head = first.push(x[..., :37])
    second.push(spikes(2, 7, 11))
    second.load_state(first.state())
    tail = second.push(x[..., 37:])
    assert second.steps == 90
    assert torch.equal(torch.cat([head, tail]), whole)


def test_skipping_a_gap_steps_its_empty_bins() -> None:
    made = network()
    x = spikes(1, 7, 40)
    x[..., 20:29] = 0.0
    stream = DelayStream(made)
    stream.push(x[..., :20])
    stream.skip(9)
    assert torch.equal(stream.push(x[..., 29:])[-1], DelayStream(made).push(x)[-1])


def test_a_gap_longer_than_the_memory_asks_for_a_reset() -> None:
    made = network()
    assert made.memory_steps == 36
    with pytest.raises(ValueError, match=r"gap of 37 steps, expected 0 \.\. 36.*reset"):
        DelayStream(made).skip(37)


def test_reset_forgets_spikes_under_way() -> None:
    stream = DelayStream(network())
    x = spikes(1, 7, 30)
    first = stream.push(x)
    stream.reset()
    assert torch.equal(stream.push(x), first)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"delay_steps": torch.full((1, 2, 3), 9)}, r"delays span 9 \.\. 9 steps"),
        ({"delay_steps": torch.zeros(1, 2, 3)}, "expected integers; round learned delays"),
        ({"delay_steps": torch.zeros(1, 3, 2, dtype=torch.int64)}, "must both be"),
        ({"scale": torch.ones(3)}, r"must be \(2,\)"),
        ({"tau_steps": 0.5}, "tau_steps is 0.5, expected at least 1"),
        ({"reset": "gentle"}, "reset is 'gentle'"),
    ],
)
def test_layers_that_make_no_sense_are_refused(change: dict[str, object], text: str) -> None:
    settings: dict[str, object] = {
        "weight": torch.ones(1, 2, 3),
        "delay_steps": torch.zeros(1, 2, 3, dtype=torch.int64),
        "max_delay_steps": 8,
        "scale": torch.ones(2),
        "bias": torch.zeros(2),
        "tau_steps": 2.0,
    }
    with pytest.raises(ValueError, match=text):
        DelayLayer(**{**settings, **change})


def test_layers_must_fit_together() -> None:
    with pytest.raises(ValueError, match="layer 0 has 5 outputs, layer 1 takes 6"):
        DelayNetwork((layer(3, 5, 0), layer(6, 2, 0)), time_step_ns=1)


def test_wrong_inputs_are_refused() -> None:
    stream = DelayStream(network(), batch=2)
    with pytest.raises(ValueError, match=r"expected \(2, 7\)"):
        stream.step(torch.zeros(1, 7))
    with pytest.raises(ValueError, match="expected \\(batch, inputs, steps\\)"):
        stream.push(torch.zeros(2, 7))
    with pytest.raises(ValueError, match="membrane_0 needs shape"):
        stream.load_state({"score": torch.zeros(2, 4), "steps": torch.tensor(1),
                           "scheduled_0": torch.zeros(13, 2, 11)})  # fmt: skip
