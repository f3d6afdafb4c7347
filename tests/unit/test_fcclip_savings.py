"""What is left out or reordered to save time leaves the result as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fcclip_cases import picture, small_model

from sensorium.models.fcclip import modeling_convnext
from sensorium.models.fcclip.modeling_decoder import Perceptron
from sensorium.models.fcclip.postprocessing import MaskScaler

SEED = 31


@torch.inference_mode()
def test_attention_masks_from_resized_features_are_those_of_resized_masks():
    decoder = small_model(SEED).predictor
    torch.manual_seed(0)
    queries, features = torch.randn(1, 20, 64), torch.randn(1, 64, 24, 40)
    masks = decoder.predict(queries, features).mask_logits
    for size in [(3, 5), (6, 10), (12, 20)]:
        resized = torch.nn.functional.interpolate(features, size=size, mode="bilinear")
        ours = decoder._attention_mask(queries, resized.flatten(2))
        logits = torch.nn.functional.interpolate(masks, size=size, mode="bilinear").flatten(2)
        expected = logits.sigmoid() >= 0.5
        expected[~expected.any(-1)] = True
        decided = (logits.abs() > 1e-4) | expected.all(-1, keepdim=True)
        assert torch.equal(ours[decided], expected[decided])
        assert 0.1 < expected.float().mean() < 0.9


@torch.inference_mode()
def test_a_query_that_sees_nothing_may_look_everywhere():
    decoder = small_model(SEED).predictor
    queries = torch.randn(1, 20, 64)
    embedding = decoder.mask_embed(decoder.decoder_norm(queries))
    against_first = -embedding[0, 0][:, None].expand(64, 7)[None]
    allowed = decoder._attention_mask(queries, against_first)
    assert allowed[0, 0].all()


def test_the_class_head_runs_once_per_picture(monkeypatch):
    model = small_model(SEED)
    calls = []
    original = Perceptron.forward

    def forward(self, x):
        calls.append(self)
        return original(self, x)

    monkeypatch.setattr(Perceptron, "forward", forward)
    model.predict(picture(60, 80, 0))
    assert calls.count(model.predictor.class_embed) == 1
    assert calls.count(model.predictor.mask_embed) == model.config.decoder_layers + 1


def test_void_queries_are_not_enlarged_for_the_panoptic_map(monkeypatch):
    result = small_model(SEED).predict(picture(60, 80, 0))
    mask_cls = result.mask_cls.clone()
    mask_cls[:15, -1] = 20
    enlarged = []
    original = MaskScaler.full

    def full(self, queries):
        enlarged.extend(queries.tolist())
        return original(self, queries)

    monkeypatch.setattr(MaskScaler, "full", full)
    _ = replace(result, mask_cls=mask_cls).panoptic
    assert 0 < len(enlarged) <= 5
    assert enlarged == (mask_cls.argmax(-1) != 5).nonzero()[:, 0].tolist()


def test_full_size_outputs_are_made_only_when_asked_for(monkeypatch):
    def full(self, queries):
        raise AssertionError("masks were enlarged")

    monkeypatch.setattr(MaskScaler, "full", full)
    result = small_model(SEED).predict(picture(60, 80, 0))
    assert result.mask_cls.shape == (20, 6)
    assert not result.intermediates


@torch.inference_mode()
def test_the_trunk_does_not_depend_on_how_many_pixels_it_takes_at_a_time(monkeypatch):
    trunk = small_model(SEED).clip.visual.trunk
    images = torch.randn(2, 3, 64, 96)
    whole = trunk(images)
    monkeypatch.setattr(modeling_convnext, "HIDDEN_VALUES_CPU", 2**15)
    for a, b in zip(whole, trunk(images), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_bfloat16_trunk_keeps_float32_outputs_near_the_exact_ones():
    exact, half = small_model(SEED), small_model(SEED, bfloat16_trunk=True)
    image = picture(96, 128, 2)
    with torch.inference_mode():
        features = [m(m.processor(image).pixels)[0] for m in (exact, half)]
    for a, b in zip(*features, strict=True):
        assert b.dtype == torch.float32
        assert (a - b).norm() / a.norm() < 0.02
    assert half.predict(image).mask_cls.dtype == torch.float32


def test_the_result_is_the_same_every_time():
    model = small_model(SEED)
    image = picture(70, 90, 3)
    first, second = model.predict(image), model.predict(image)
    assert torch.equal(first.mask_cls, second.mask_cls)
    assert torch.equal(first.panoptic, second.panoptic)
    assert np.array_equal(image, picture(70, 90, 3))


@pytest.mark.parametrize("size", [(32, 32), (33, 95), (7, 300)])
def test_outputs_have_the_size_of_the_picture(size):
    result = small_model(SEED).predict(picture(max(size[0], 8), size[1], 1)[: size[0]])
    assert result.panoptic.shape == size
    assert result.confidence.shape == size
    assert result.semantic.shape == (5, *size)
    assert result.mask_pred.shape == (20, *size)
    assert result.instances.masks.shape[1:] == size
