"""Cosine classifier and geometric ensemble against their formulas in float64."""

import math

import pytest
import torch

from sensorium.models.fcclip import Vocabulary
from sensorium.models.fcclip.classifier import class_logits, ensemble


def vocabulary(rows, class_of_row):
    count = max(class_of_row) + 1
    return Vocabulary(
        names=tuple(f"class {i}" for i in range(count)),
        things=frozenset(),
        embedding=rows,
        class_of_row=torch.tensor(class_of_row),
        seen=torch.zeros(count, dtype=torch.bool),
        version=1,
    )


def test_logits_are_scaled_cosines_of_the_best_synonym_with_void_last():
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1)
    void, x = torch.randn(1, 8), torch.randn(5, 8)
    logits = class_logits(x, vocabulary(rows, [0, 1, 1, 2]), void, torch.tensor(7.0).log())
    for query, row in zip(x, logits, strict=True):
        cosines = [float(query @ r / (query.norm() * r.norm())) for r in (*rows, void[0])]
        best = [cosines[0], max(cosines[1:3]), cosines[3], cosines[4]]
        assert row.tolist() == pytest.approx([7 * c for c in best], abs=1e-5)


def test_the_scale_is_limited_to_one_hundred():
    row = torch.tensor([[1.0, 0.0]])
    logits = class_logits(row, vocabulary(row, [0]), torch.tensor([[0.0, 1.0]]), torch.tensor(9.0))
    assert logits.tolist() == [[pytest.approx(100), 0]]


def test_ensemble_is_the_weighted_geometric_mean_with_void_put_back():
    torch.manual_seed(1)
    inside, outside = torch.randn(3, 5) * 3, torch.randn(3, 5) * 3
    seen = torch.tensor([True, False, False, True])
    result = ensemble(inside, outside, seen, (0.4, 0.8))
    for q in range(3):
        with_void = inside[q].double().softmax(0)
        p_in, p_out = inside[q, :4].double().softmax(0), outside[q, :4].double().softmax(0)
        mixed = []
        for k in range(4):
            w = 0.4 if seen[k] else 0.8
            mixed.append(math.log(p_in[k] ** (1 - w) * p_out[k] ** w))
        classes = torch.tensor(mixed).softmax(0) * (1 - with_void[4])
        expected = [*(classes + 1e-8).log().tolist(), math.log(with_void[4] + 1e-8)]
        assert result[q].tolist() == pytest.approx(expected, abs=1e-4)


def test_probabilities_that_underflow_do_not_become_nan():
    inside, outside = torch.tensor([[300.0, -300.0, 0.0]]), torch.tensor([[-300.0, 300.0, 0.0]])
    result = ensemble(inside, outside, torch.tensor([True, False]), (0.4, 0.8))
    assert result.isfinite().all()
