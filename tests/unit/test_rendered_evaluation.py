"""Evaluation on rendered rooms: the truth of both questions, and a report that JSON can hold."""

import json

import numpy as np
import pytest
from fcclip_cases import small_model

from sensorium.cli.evaluate_segmentation import table
from sensorium.segmentation import rendered_evaluation
from sensorium.segmentation.rendered_evaluation import (
    RenderedEvaluation,
    questions,
    true_segments,
    views,
)
from sensorium.segmentation.rendered_names import NAMES
from sensorium.sources.scene import CLASS_NAMES


@pytest.fixture(scope="module")
def view():
    return next(views(3))


@pytest.mark.parametrize("number", [0, 1])
def test_every_pixel_has_the_class_of_what_it_shows(view, number):
    question = questions()[number]
    ids, labels, classes = true_segments(view.truth, question)
    named = {thing.instance_id: thing for thing in view.truth.scene.objects}
    assert {label.id for label in labels} == set(np.unique(ids).tolist()) - {0}
    for instance in np.unique(view.truth.instance_ids):
        shown = view.truth.instance_ids == instance
        names = {question.classes[c] for c in np.unique(classes[shown])}
        if instance == 0:
            assert names <= {"floor", "wall", "ceiling"}
            continue
        thing = named[instance]
        own = thing.category if number == 0 else f"{thing.color} {thing.category}"
        assert names == {own}
        assert len(np.unique(ids[shown])) == 1
    if number == 0:
        expected = [NAMES.index(CLASS_NAMES[i]) for i in view.truth.class_ids.ravel()]
        assert np.array_equal(classes.ravel(), expected)


def test_groups_do_not_overlap_and_belong_to_their_question():
    for question in questions():
        members = [set(names) for group, names in question.groups.items() if group != "all"]
        assert sum(map(len, members)) == len(set().union(*members))
        assert set().union(*members) <= set(question.classes)


def test_a_report_has_intervals_and_no_nan(monkeypatch):
    monkeypatch.setattr(rendered_evaluation, "VIEWS_PER_SCENE", 1)
    evaluation = RenderedEvaluation(small_model())
    for seed in (3, 4):
        evaluation.add_scene(seed)
    report = evaluation.report()
    json.dumps(report, allow_nan=False)
    assert report["scenes"] == report["views"] == 2
    for question in ("names", "combinations"):
        for group in ("all", "seen", "held out"):
            miou = report[question][group]["miou"]
            assert 0 <= miou["low"] <= miou["value"] <= miou["high"] <= 1
    assert report["judged"]["held-out names, chance mIoU"]["value"] < 0.2
    assert "| names | held out | 3 |" in table({"data": "rendered", **report})
