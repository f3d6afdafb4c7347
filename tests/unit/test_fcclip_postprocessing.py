"""Post-processing in groups of masks against plain loops over all full-size masks."""

import pytest
import torch
from fcclip_plain_outputs import instance_inference, panoptic_inference

from sensorium.models.fcclip import FCCLIPConfig, Vocabulary, postprocessing
from sensorium.models.fcclip.postprocessing import (
    MaskScaler,
    instances,
    panoptic_map,
    semantic_scores,
)

CLASSES = 5
VOCABULARY = Vocabulary(
    names=("cup,mug", "ball", "floor,ground", "wall", "sky"),
    things=frozenset({0, 1}),
    embedding=torch.zeros(7, 1),
    class_of_row=torch.zeros(7, dtype=torch.int64),
    seen=torch.zeros(CLASSES, dtype=torch.bool),
    version=1,
)


def blobs(queries, seed):
    """Overlapping smooth masks with confident classes, some of them void."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, queries, 4, 5, generator=generator) * 6 - 1
    masks = torch.nn.functional.interpolate(coarse, size=(16, 24), mode="bilinear")[0]
    mask_cls = (torch.randn(queries, CLASSES + 1, generator=generator) * 3).log_softmax(-1)
    return mask_cls, masks


def scaler_for(masks):
    return MaskScaler(masks, padded_size=(64, 96), resized_size=(50, 90), original_size=(75, 135))


@pytest.fixture(params=[1, 3 * 75 * 135, 2**30], ids=["one mask", "three masks", "all masks"])
def group_values(request, monkeypatch):
    monkeypatch.setattr(postprocessing, "GROUP_VALUES_CPU", request.param)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("score", "overlap"), [(0.0, 0.8), (0.0, 0.1), (0.5, 0.5)])
@pytest.mark.usefixtures("group_values")
def test_panoptic_map_equals_the_plain_loop(seed, score, overlap):
    mask_cls, masks = blobs(17, seed)
    scaler = scaler_for(masks)
    config = FCCLIPConfig(object_mask_threshold=score, overlap_threshold=overlap)
    full = scaler.full(torch.arange(17))
    expected, segments = panoptic_inference(config, mask_cls, full, (0, 1))
    output = panoptic_map(mask_cls, scaler, VOCABULARY, score, overlap)
    assert torch.equal(output.panoptic, expected)
    assert [(s.id, s.is_thing, s.category_id) for s in output.segments] == segments


def test_masks_are_enlarged_cropped_and_resized_in_the_published_order():
    _, masks = blobs(4, 0)
    padded = torch.nn.functional.interpolate(masks[None], size=(64, 96), mode="bilinear")
    expected = torch.nn.functional.interpolate(
        padded[..., :50, :90], size=(75, 135), mode="bilinear"
    )[0]
    assert torch.equal(scaler_for(masks).full(torch.tensor([2, 0])), expected[[2, 0]])


@pytest.mark.parametrize("seed", range(3))
def test_segments_tell_score_area_box_and_query(seed):
    mask_cls, masks = blobs(17, seed)
    output = panoptic_map(mask_cls, scaler_for(masks), VOCABULARY, 0.0, 0.1)
    probability = mask_cls.softmax(-1)
    assert output.segments
    for segment in output.segments:
        y, x = (output.panoptic == segment.id).nonzero().T
        assert segment.area == len(x)
        assert segment.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
        assert segment.score == pytest.approx(probability[segment.query].max().item())
        assert probability[segment.query].argmax() == segment.category_id
        assert segment.name == VOCABULARY.names[segment.category_id].split(",")[0]


def test_merged_stuff_has_the_score_of_its_best_query():
    masks = torch.full((2, 8, 8), -9.0)
    masks[0, :, :4], masks[1, :, 4:] = 9.0, 9.0
    scaler = MaskScaler(masks, (8, 8), (8, 8), (8, 8))
    mask_cls = torch.full((2, CLASSES + 1), 0.01)
    mask_cls[0, 2], mask_cls[1, 2] = 0.6, 0.9
    mask_cls = (mask_cls / mask_cls.sum(1, keepdim=True)).log()
    (segment,) = panoptic_map(mask_cls, scaler, VOCABULARY, 0.0, 0.8).segments
    assert segment.query == 1
    assert segment.area == 64
    assert segment.box == (0, 0, 8, 8)
    mask_cls[:, [0, 2]] = mask_cls[:, [2, 0]]
    things = panoptic_map(mask_cls, scaler, VOCABULARY, 0.0, 0.8).segments
    assert [(s.id, s.name, s.box) for s in things] == [
        (1, "cup", (0, 0, 4, 8)),
        (2, "cup", (4, 0, 8, 8)),
    ]


def test_confidence_is_class_times_mask_probability_of_the_winner():
    mask_cls, masks = blobs(17, 1)
    scaler = scaler_for(masks)
    output = panoptic_map(mask_cls, scaler, VOCABULARY, 0.0, 0.1)
    scores, labels = mask_cls.softmax(-1).max(-1)
    kept = labels != CLASSES
    product = scores[kept, None, None] * scaler.full(torch.arange(17)).sigmoid()[kept]
    expected = torch.where(output.panoptic > 0, product.max(0).values, 0)
    torch.testing.assert_close(output.confidence, expected)


def test_only_void_queries_leave_an_empty_map():
    mask_cls, masks = blobs(6, 0)
    mask_cls[:, -1] = 20
    output = panoptic_map(mask_cls.log_softmax(-1), scaler_for(masks), VOCABULARY, 0.0, 0.8)
    assert not output.panoptic.any()
    assert not output.confidence.any()
    assert output.segments == ()


@pytest.mark.usefixtures("group_values")
def test_semantic_scores_equal_the_full_product():
    mask_cls, masks = blobs(17, 5)
    scaler = scaler_for(masks)
    full = scaler.full(torch.arange(17)).sigmoid()
    expected = torch.einsum("qk,qhw->khw", mask_cls.softmax(-1)[:, :-1], full)
    torch.testing.assert_close(semantic_scores(mask_cls, scaler), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("group_values")
def test_instances_equal_the_plain_loop_and_have_boxes():
    mask_cls, masks = blobs(17, 6)
    scaler = scaler_for(masks)
    full = scaler.full(torch.arange(17))
    config = FCCLIPConfig(instances_max=30)
    scores, classes, expected = instance_inference(config, mask_cls, full, (0, 1))
    found = instances(mask_cls, scaler, VOCABULARY, 30)
    torch.testing.assert_close(found.scores, scores)
    assert torch.equal(found.classes, classes)
    assert torch.equal(found.masks, expected == 1)
    assert set(classes.tolist()) == {0, 1}
    for mask, box in zip(found.masks, found.boxes.tolist(), strict=True):
        y, x = mask.nonzero().T
        assert box == ([x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0])


def test_fewer_pairs_than_the_limit_and_no_things_are_no_error():
    mask_cls, masks = blobs(3, 7)
    found = instances(mask_cls, scaler_for(masks), VOCABULARY, 100)
    assert len(found.scores) == 3 * 2
    stuff_only = Vocabulary(
        VOCABULARY.names, frozenset(), VOCABULARY.embedding, VOCABULARY.class_of_row,
        VOCABULARY.seen, 2,
    )  # fmt: skip
    none = instances(mask_cls, scaler_for(masks), stuff_only, 100)
    assert none.masks.shape == (0, 75, 135)
    assert none.boxes.shape == (0, 4)
