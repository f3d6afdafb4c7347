"""FC-CLIP against tensors of the published code (shared/reference/fcclip/MODEL.md)."""

import ast
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.models.fcclip import FCCLIP, FCCLIPConfig
from sensorium.models.fcclip.coco_names import COCO_PANOPTIC_NAMES
from sensorium.models.fcclip.postprocessing import (
    MaskScaler,
    instances,
    panoptic_map,
    semantic_scores,
)

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "fcclip"
if not REFERENCE.is_dir():
    pytest.skip(f"no reference tensors at {REFERENCE}", allow_module_level=True)

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def load_weights_module():
    spec = importlib.util.spec_from_file_location("fcclip_weights", REFERENCE / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def golden():
    with np.load(REFERENCE / "small_case.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def model():
    weights = load_weights_module()
    state = weights.random_state_dict(REFERENCE / "small_state_dict.tsv")
    prefix = "backbone.clip_model."
    clip = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    head = {k: v for k, v in state.items() if not k.startswith(prefix)}
    model = FCCLIP(FCCLIPConfig.reference_small())
    model.load_published(clip, head)
    model.set_vocabulary(weights.THINGS + weights.STUFF, things=weights.THINGS)
    return model


@pytest.fixture(scope="module")
def result(model, golden):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = model.predict(golden["image"][..., ::-1], intermediates=True)
    torch.set_num_threads(threads)
    return result


def test_every_stage_equals_the_published_one(result, golden):
    stages = [name for name in golden if name.split(".")[0] in {"backbone", "pixel", "dec", "clip"}]
    assert len(stages) == 23
    for name in ["input_padded", *stages]:
        torch.testing.assert_close(
            result.intermediates[name], torch.from_numpy(golden[name]), msg=name, **CLOSE
        )


def test_text_classifier_and_seen_classes_equal_the_published_ones(model, golden):
    expected = torch.from_numpy(golden["text_classifier"])
    torch.testing.assert_close(model.vocabulary.embedding, expected, **CLOSE)
    assert model.vocabulary.seen.tolist() == (golden["category_overlapping_mask"] == 1).tolist()


def test_final_masks_and_classes_equal_the_published_ones(result, golden):
    torch.testing.assert_close(result.mask_cls, torch.from_numpy(golden["final.mask_cls"]), **CLOSE)
    torch.testing.assert_close(
        result.mask_pred, torch.from_numpy(golden["final.mask_pred"]), **CLOSE
    )


def test_semantic_scores_equal_the_published_ones(result, golden):
    torch.testing.assert_close(result.semantic, torch.from_numpy(golden["out.sem_seg"]), **CLOSE)
    labels = golden["out.sem_seg"].argmax(0)
    assert np.array_equal(result.semantic.argmax(0), labels)


def test_panoptic_map_and_segments_equal_the_published_ones_exactly(result, golden):
    assert result.panoptic.dtype == torch.int32
    assert np.array_equal(result.panoptic, golden["out.panoptic_seg"])
    published = json.loads(str(golden["segments"]))
    ours = [
        {"id": s.id, "isthing": s.is_thing, "category_id": s.category_id} for s in result.segments
    ]
    assert ours == published


def test_instances_equal_the_published_ones(result, golden):
    torch.testing.assert_close(
        result.instances.scores, torch.from_numpy(golden["out.inst.scores"]), **CLOSE
    )
    assert np.array_equal(result.instances.classes, golden["out.inst.classes"])
    # The published code itself moves mask logits by 1.4e-5 between one and two threads, so a pixel
    # this close to zero belongs to neither side.
    logits = golden["final.mask_pred"][result.instances.queries]
    decided = np.abs(logits) > 1e-4
    assert np.array_equal(
        result.instances.masks.numpy()[decided], golden["out.inst.masks"][decided] == 1
    )


def test_prediction_without_intermediate_heads_is_the_same(model, result, golden):
    lean = model.predict(golden["image"][..., ::-1])
    assert not lean.intermediates
    torch.testing.assert_close(lean.mask_cls, result.mask_cls, **CLOSE)
    assert torch.equal(lean.panoptic, result.panoptic)


def test_post_processing_of_synthetic_queries_equals_the_published_one(model, golden):
    mask_cls, masks = (torch.from_numpy(golden[name]) for name in ("post.cls", "post.mask"))
    size = tuple(masks.shape[1:])
    scaler = MaskScaler(masks, size, size, size)
    output = panoptic_map(mask_cls, scaler, model.vocabulary, 0.0, 0.1)
    assert np.array_equal(output.panoptic, golden["post.pan"])
    segments = [[s.id, s.category_id, int(s.is_thing)] for s in output.segments]
    assert segments == golden["post.segments"].tolist()
    semantic = semantic_scores(mask_cls, scaler)
    torch.testing.assert_close(semantic, torch.from_numpy(golden["post.sem"]), **CLOSE)
    found = instances(mask_cls, scaler, model.vocabulary, 100)
    torch.testing.assert_close(found.scores, torch.from_numpy(golden["post.inst_scores"]), **CLOSE)
    assert np.array_equal(found.classes, golden["post.inst_classes"])


@pytest.mark.parametrize(
    ("table", "config"),
    [
        ("full_state_dict.tsv", FCCLIPConfig()),
        ("small_state_dict.tsv", FCCLIPConfig.reference_small()),
    ],
)
def test_all_published_keys_and_shapes_are_ours(table, config):
    lines = (REFERENCE / table).read_text().splitlines()
    published = {
        key: tuple(ast.literal_eval(shape))
        for key, shape, _ in (line.split("\t") for line in lines)
    }
    with torch.device("meta"):
        model = FCCLIP(config)
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert ours == published
    assert len(lines) == len(ours)


def test_full_size_model_has_846_keys_and_372_million_parameters():
    with torch.device("meta"):
        model = FCCLIP(FCCLIPConfig())
    assert len(model.state_dict()) == 846
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(372.5, abs=0.1)


def test_our_coco_class_names_are_the_published_ones():
    lines = (REFERENCE / "coco_panoptic_names.txt").read_text().splitlines()
    names = [line.split(":", 1)[1] for line in lines]
    assert [name for name in names if name != "invalid_class_id"] == list(COCO_PANOPTIC_NAMES)
