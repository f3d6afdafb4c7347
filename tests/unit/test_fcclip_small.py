"""The shipped fcclip-small: sound files, and rooms it never saw segmented far above chance."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from sensorium import weights
from sensorium.models.fcclip import FCCLIP_SMALL, load_checkpoint
from sensorium.models.fcclip.checkpoint import WEIGHTS_NAME
from sensorium.segmentation.metrics import MeanIoU
from sensorium.segmentation.rendered_evaluation import questions, true_segments, views
from sensorium.segmentation.rendered_names import NAMES, THINGS, training_names
from sensorium.segmentation.weights import WeightsConfiguration, load_weights

# Neither trained on (from 1,000,000) nor evaluated (from 500,000).
SEEDS = (800_000, 800_001)
IGNORED = 2**31


@pytest.fixture(scope="module")
def model():
    return load_checkpoint(FCCLIP_SMALL)


def test_the_manifest_knows_the_file_and_it_is_whole():
    entry = weights.find_weights("fcclip-small", weights.PACKAGED_MANIFESTS)
    assert entry.path == FCCLIP_SMALL / WEIGHTS_NAME
    assert entry.sha256 is not None
    assert not entry.non_commercial
    assert weights.verify_weights(entry).passed
    assert entry.path.stat().st_size <= 16_000_000


def test_a_file_of_another_size_of_model_is_refused(tmp_path):
    entry = weights.find_weights("fcclip-small", weights.PACKAGED_MANIFESTS)
    configuration = json.loads((FCCLIP_SMALL / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(configuration | {"queries": 7}))
    (tmp_path / WEIGHTS_NAME).write_bytes(entry.path.read_bytes())
    other = dataclasses.replace(entry, path=tmp_path / WEIGHTS_NAME)
    result = weights.verify_weights(other)
    assert not result.passed
    assert "query_embed" in result.reason or "query_feat" in result.reason
    assert "(48, 64) in the file, (7, 64) expected" in result.reason


def test_it_is_what_is_loaded_when_no_weights_are_named(model):
    loaded = load_weights(WeightsConfiguration(), None)
    assert loaded.config == model.config
    assert torch.equal(loaded.void_embedding.weight, model.void_embedding.weight)


def test_its_training_names_are_the_seen_ones(model):
    assert model.config.training_names == training_names()
    vocabulary = model.make_vocabulary(["mug,cup", "bowl", "red table", "red sofa", "floor"])
    assert vocabulary.seen.tolist() == [True, False, False, True, True]


def test_rooms_it_never_saw_are_segmented_far_above_chance(model):
    question = questions()[0]
    found, chance = MeanIoU(len(NAMES), IGNORED), MeanIoU(len(NAMES), IGNORED)
    model.set_vocabulary(NAMES, things=THINGS)
    random = np.random.default_rng(0)
    for seed in SEEDS:
        view = next(views(seed))
        _, _, truth = true_segments(view.truth, question)
        with torch.inference_mode():
            classes = model.predict(view.color).semantic.argmax(0).numpy()
        found.add(classes, truth)
        names = random.permutation(len(NAMES))
        chance.add(names[classes], truth)
    assert found.mean() > 0.12
    assert found.mean() > 3 * chance.mean()
    assert found.per_class()[NAMES.index("floor")] > 0.5
