"""Evaluation on COCO-format panoptic folders."""

import json

import numpy as np
import pytest
from fcclip_cases import picture, small_model
from PIL import Image

from sensorium.segmentation.coco_panoptic import (
    Category,
    CocoPanoptic,
    semantic_from_segments,
    write_panoptic,
)
from sensorium.segmentation.evaluation import evaluate, predict_from_folder, predict_with_model
from sensorium.segmentation.metrics import SegmentLabel

CATEGORIES = [Category(3, "cup", True), Category(40, "floor", False), Category(5, "sky", False)]


def scene(index):
    ids = np.full((20, 30), 70_000, np.int32)
    ids[2:8, 3 + index : 12] = 1
    ids[:, 25:] = 0
    return ids, [SegmentLabel(70_000, 40), SegmentLabel(1, 3)]


@pytest.fixture
def truth(tmp_path):
    images = [(i, f"{i}.png", *scene(i)) for i in range(2)]
    write_panoptic(tmp_path / "truth.json", tmp_path / "truth", CATEGORIES, images)
    return CocoPanoptic(tmp_path / "truth.json", tmp_path / "truth")


def test_what_is_written_is_read_back(truth):
    assert truth.categories == tuple(CATEGORIES)
    assert [image.file_name for image in truth] == ["0.png", "1.png"]
    for i, image in enumerate(truth):
        ids, segments = scene(i)
        assert np.array_equal(image.read_ids(), ids)
        assert image.segments == tuple(segments)


def test_the_truth_evaluated_against_itself_is_perfect(truth):
    report = evaluate(truth, predict_from_folder(truth, truth.categories))
    assert report["all"] == {"pq": 1, "sq": 1, "rq": 1, "classes": 2}
    assert report["things"]["classes"] == report["stuff"]["classes"] == 1
    assert report["miou"] == 1
    assert report["per_class"]["sky"] == {"pq": None, "iou": None}
    assert report["images"] == 2
    json.dumps(report)


def test_a_missing_prediction_is_named(truth, tmp_path):
    write_panoptic(tmp_path / "p.json", tmp_path / "p", CATEGORIES, [(0, "0.png", *scene(0))])
    predictions = CocoPanoptic(tmp_path / "p.json", tmp_path / "p")
    with pytest.raises(KeyError, match=r"picture 1\.png \(id 1\) has no prediction"):
        evaluate(truth, predict_from_folder(predictions, truth.categories))


def test_crowds_and_void_have_no_class():
    ids = np.array([[0, 1, 2]])
    labels = semantic_from_segments(
        ids, [SegmentLabel(1, 3), SegmentLabel(2, 3, is_crowd=True)], {3: 0}
    )
    assert labels.tolist() == [[255, 0, 255]]


def test_a_model_evaluated_on_its_own_output_is_perfect(tmp_path):
    model = small_model(22)
    (tmp_path / "images").mkdir()
    names = ["mug,cups", "floor,ground", "blue wall"]
    model.set_vocabulary(names, things=[0])
    written = []
    for i in range(2):
        image = picture(60, 80, i)
        Image.fromarray(image).save(tmp_path / "images" / f"{i}.png")
        result = model.predict(image)
        segments = [SegmentLabel(s.id, CATEGORIES[s.category_id].id) for s in result.segments]
        written.append((i, f"{i}.png", result.panoptic.numpy(), segments))
    assert any(segments for *_, segments in written)
    write_panoptic(tmp_path / "t.json", tmp_path / "t", CATEGORIES, written)
    own = CocoPanoptic(tmp_path / "t.json", tmp_path / "t")
    report = evaluate(own, predict_with_model(model, tmp_path / "images", own.categories, names))
    assert report["all"]["pq"] == 1
    assert 0 <= report["miou"] <= 1


def test_a_name_list_of_another_length_is_refused(tmp_path):
    with pytest.raises(ValueError, match="2 names for 3 categories"):
        predict_with_model(small_model(22), tmp_path, CATEGORIES, ["cup", "floor"])


def test_a_file_of_another_format_is_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="is not COCO panoptic data: KeyError"):
        CocoPanoptic(tmp_path / "x.json", tmp_path)
