"""The losses of fcclip-small's head and the cheap form of deformable attention."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.models.fcclip import FCCLIP, FCCLIPConfig
from sensorium.models.fcclip.modeling_decoder import HeadOutput

TRAINING = Path(__file__).parents[2] / "training" / "segmentation"


@pytest.fixture(autouse=True)
def training_folder(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAINING))


def test_sampling_level_by_level_changes_neither_values_nor_gradients():
    deformable = pytest.importorskip("deformable_training")
    torch.manual_seed(0)
    model = FCCLIP(FCCLIPConfig.reference_small())
    decoder = model.pixel_decoder.requires_grad_(True)
    sizes = ((24, 32), (12, 16), (6, 8), (3, 4))
    widths = model.config.trunk_widths
    features = [torch.randn(2, c, *size) for c, size in zip(widths, sizes, strict=True)]
    results = []
    for way in (torch.enable_grad, deformable.cheap_gradients):
        with way():
            memory = decoder(features).memory
        decoder.zero_grad()
        (memory**2).sum().backward()
        results.append((memory, [p.grad.clone() for p in decoder.transformer.parameters()]))
    (plain, plain_gradients), (cheap, cheap_gradients) = results
    torch.testing.assert_close(plain, cheap, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(plain_gradients, cheap_gradients, rtol=1e-3, atol=1e-2)


def head_case(losses):
    """Two pictures, three queries; the right masks and classes in another order."""
    masks = torch.zeros(2, 8, 8)
    masks[0, :4], masks[1, 4:] = 1, 1
    target = losses.Target(masks, (torch.tensor([1, 0]),))
    rows = torch.eye(4)[:3]
    table = losses.ClassTable(rows, {"a": 0, "b": 1, "c": 2})
    void = torch.eye(4)[3:]
    logits = torch.full((1, 3, 8, 8), -20.0)
    logits[0, 2][masks[0] > 0] = 20.0
    logits[0, 0][masks[1] > 0] = 20.0
    classes = torch.stack((rows[0], void[0], rows[1]))[None]
    return HeadOutput(logits, classes), [target], [table], void


def test_a_perfect_prediction_in_any_order_costs_nothing():
    pytest.importorskip("scipy")
    losses = pytest.importorskip("head_loss")
    head, targets, tables, void = head_case(losses)
    scale = torch.tensor(np.log(50.0))
    loss, parts = losses.head_loss(head, targets, tables, void, scale)
    assert float(loss) == pytest.approx(0, abs=1e-4)
    assert set(parts) == {"class", "mask", "dice"}


@pytest.mark.parametrize("change", ["class", "mask"])
def test_a_wrong_class_or_mask_costs(change):
    pytest.importorskip("scipy")
    losses = pytest.importorskip("head_loss")
    head, targets, tables, void = head_case(losses)
    if change == "class":
        head.class_embedding[0, 2] = torch.eye(4)[2]
    else:
        head.mask_logits[0, 2] = head.mask_logits[0, 2].T.clone()
    _, parts = losses.head_loss(head, targets, tables, void, torch.tensor(np.log(50.0)))
    assert parts[change] > 0.5
