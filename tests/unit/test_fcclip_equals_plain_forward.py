"""Other pictures, sizes and weights than the golden case, against a plain forward of the facts."""

import numpy as np
import pytest
import torch
from fcclip_cases import STUFF, THINGS, picture, seeded_state, small_model
from fcclip_plain import encode_names, mask_decoder, pixel_decoder, trunk
from fcclip_plain_outputs import predict

from sensorium.models.fcclip.processor import ImageProcessor

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
CASES = [
    pytest.param((120, 200), 11, {}, id="landscape, resized down"),
    pytest.param((90, 61), 12, {"overlap_threshold": 0.8}, id="portrait, resized up"),
    pytest.param(
        (64, 260), 13, {"long_edge_px": 200, "object_mask_threshold": 0.2}, id="long edge limited"
    ),
    pytest.param(
        (96, 128),
        14,
        {
            "trunk_depths": (2, 1, 1, 1),
            "trunk_widths": (32, 64, 96, 160),
            "encoder_points": 2,
            "decoder_layers": 7,
            "queries": 33,
            "attention_heads": 2,
        },
        id="other sizes of the network",
    ),
]


def plain_forward(model, seed, image):
    state = seeded_state(model.config, seed)
    names = [s for entry in THINGS + STUFF for s in entry.replace(", ", ",").split(",")]
    with torch.inference_mode():
        rows = encode_names(state, model.config, names)
        processed = ImageProcessor(model.config)(image)
        things = range(len(THINGS))
        return rows, predict(state, model.config, processed, THINGS + STUFF, things, rows)


@pytest.mark.parametrize(("size", "seed", "changes"), CASES)
def test_all_outputs_equal_the_plain_forward(size, seed, changes):
    model = small_model(seed, **changes)
    image = picture(*size, seed)
    rows, expected = plain_forward(model, seed, image)
    result = model.predict(image)

    torch.testing.assert_close(model.vocabulary.embedding, rows, **CLOSE)
    torch.testing.assert_close(result.mask_cls, expected.mask_cls, **CLOSE)
    torch.testing.assert_close(result.mask_pred, expected.mask_pred, **CLOSE)
    torch.testing.assert_close(result.semantic, expected.semantic, **CLOSE)
    assert np.array_equal(result.panoptic, expected.panoptic)
    segments = [(s.id, s.is_thing, s.category_id) for s in result.segments]
    assert segments == expected.segments
    found = result.instances
    torch.testing.assert_close(found.scores, expected.instance_scores, **CLOSE)
    assert torch.equal(found.classes, expected.instance_classes)
    decided = result.mask_pred[found.queries].abs() > 1e-4
    assert torch.equal(found.masks[decided], expected.instance_masks[decided] == 1)


def test_every_stage_equals_the_plain_forward():
    model = small_model(15)
    image = picture(100, 150, 15)
    stages = model.predict(image, intermediates=True).intermediates
    state = seeded_state(model.config, 15)
    text = (model.vocabulary.embedding, [2, 1, 2, 2, 1])
    with torch.inference_mode():
        features = trunk(state, model.config, ImageProcessor(model.config)(image).pixels)
        levels, mask_features = pixel_decoder(state, model.config, features)
        heads = mask_decoder(state, model.config, levels, mask_features, text)
    expected = {f"backbone.res{i + 2}": x for i, x in enumerate(features)}
    expected |= {f"pixel.ms{i}": x for i, x in enumerate(levels)}
    expected["pixel.mask_features"] = mask_features
    for i, (logits, masks) in enumerate(heads[:-1]):
        expected |= {f"dec.aux{i}.logits": logits, f"dec.aux{i}.masks": masks}
    expected |= dict(zip(("dec.pred_logits", "dec.pred_masks"), heads[-1], strict=True))
    for name, value in expected.items():
        torch.testing.assert_close(stages[name], value, msg=name, **CLOSE)


def test_a_batch_equals_its_pictures_one_by_one():
    model = small_model()
    pixels = [model.processor(picture(96, 128, seed)).pixels for seed in (1, 2)]
    with torch.inference_mode():
        together = model(torch.cat(pixels))[2][-1]
        apart = [model(x)[2][-1] for x in pixels]
    for i, head in enumerate(apart):
        torch.testing.assert_close(together.mask_logits[i], head.mask_logits[0], **CLOSE)
        torch.testing.assert_close(together.class_embedding[i], head.class_embedding[0], **CLOSE)


def test_intermediate_heads_do_not_change_the_last_one():
    model = small_model()
    pixels = model.processor(picture(96, 128, 3)).pixels
    with torch.inference_mode():
        heads = model(pixels, every_head=True)[2]
        (last,) = model(pixels)[2]
    assert len(heads) == model.config.decoder_layers + 1
    assert torch.equal(heads[-1].mask_logits, last.mask_logits)
    assert torch.equal(heads[-1].class_embedding, last.class_embedding)


def test_training_gradients_reach_the_head_and_the_sampling_offsets():
    model = small_model()
    pixels = model.processor(picture(64, 64, 4)).pixels
    heads = model(pixels, every_head=True)[2]
    loss = sum(h.mask_logits.square().mean() + h.class_embedding.square().mean() for h in heads)
    offsets = model.pixel_decoder.transformer.encoder["layers"][0].self_attn.sampling_offsets.weight
    embed = model.predictor.mask_embed.layers[0].weight
    gradients = torch.autograd.grad(loss, [offsets, embed])
    assert all(g.abs().max() > 0 and g.isfinite().all() for g in gradients)
