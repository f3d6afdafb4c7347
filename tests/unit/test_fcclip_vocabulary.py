"""Class lists: synonyms, things, seen classes, refusals and the switch between them."""

import itertools
import threading

import numpy as np
import pytest
import torch
from fcclip_cases import picture, seeded_state, split_state

from sensorium.models.fcclip import FCCLIP, FCCLIPConfig

CONFIG = FCCLIPConfig.reference_small()


@pytest.fixture(scope="module")
def model():
    model = FCCLIP(CONFIG)
    model.load_published(*split_state(seeded_state(CONFIG, 11)))
    return model


def test_synonyms_become_rows_and_the_first_one_is_the_label(model):
    vocabulary = model.make_vocabulary(["cat,cats, kitten", "blue wall"])
    assert vocabulary.class_of_row.tolist() == [0, 0, 0, 1]
    assert vocabulary.label(0) == "cat"
    rows = model.embed_names(["cat", "cats", "kitten", "blue wall"])
    assert torch.equal(vocabulary.embedding, rows)


def test_a_class_is_seen_when_any_synonym_is_a_coco_one(model):
    names = ["kitten,cats", "Cat", "conveyor belt", "floor", "wall-wood", "wood wall"]
    vocabulary = model.make_vocabulary(names)
    assert vocabulary.seen.tolist() == [True, False, False, True, False, True]


def test_things_are_named_or_indexed_and_all_by_default(model):
    names = ["cup", "floor", "robot arm"]
    assert model.make_vocabulary(names).things == {0, 1, 2}
    assert model.make_vocabulary(names, things=["robot arm", "cup"]).things == {0, 2}
    assert model.make_vocabulary(names, things=np.array([2])).things == {2}
    assert model.make_vocabulary(names, things=[]).things == frozenset()


@pytest.mark.parametrize(
    ("names", "things", "message"),
    [
        ([], None, "class list is empty"),
        (["cup", ""], None, "holds an empty name"),
        (["cup,,mug"], None, "holds an empty name"),
        (["cup", "  "], None, "holds an empty name"),
        (["cup"], ["mug"], "thing 'mug' is not in the class list"),
        (["cup"], [1], "thing 1 is not in the class list"),
        (["cup"], [-1], "thing -1 is not in the class list"),
    ],
)
def test_a_bad_list_is_refused_and_the_old_one_stays(model, names, things, message):
    old = model.set_vocabulary(["table"])
    with pytest.raises(ValueError, match=message):
        model.set_vocabulary(names, things)
    assert model.vocabulary is old


def test_a_string_or_truth_values_instead_of_a_list_are_refused(model):
    with pytest.raises(TypeError, match="pass a list of class entries"):
        model.set_vocabulary("cup")
    with pytest.raises(TypeError, match="pass a list of entries or indices"):
        model.set_vocabulary(["cup"], things="cup")
    with pytest.raises(TypeError, match="things holds truth values"):
        model.set_vocabulary(["cup", "mug"], things=[True, False])


def test_versions_count_up_and_a_result_keeps_its_own_list(model):
    image = picture(48, 64, 1)
    first = model.set_vocabulary(["cup", "table", "floor"])
    result = model.predict(image)
    second = model.set_vocabulary(["dog", "sky"])
    assert second.version == first.version + 1
    assert result.vocabulary is first
    assert result.semantic.shape == (3, 48, 64)
    assert {s.name for s in result.segments} <= {"cup", "table", "floor"}
    assert model.predict(image).semantic.shape == (2, 48, 64)


def test_a_list_made_ahead_is_used_only_after_the_switch(model):
    old = model.set_vocabulary(["cup"])
    new = model.make_vocabulary(["dog", "sky"])
    assert model.vocabulary is old
    model.use_vocabulary(new)
    assert model.vocabulary is new


def test_lists_switched_in_another_thread_never_mix_within_a_picture(model):
    lists = [model.make_vocabulary([f"thing {n} {i}" for i in range(n)]) for n in (1, 2, 5)]
    model.use_vocabulary(lists[0])
    image, stop = picture(40, 40, 3), threading.Event()
    # What each list says when nothing else goes on.
    alone = {}
    for vocabulary in lists:
        model.use_vocabulary(vocabulary)
        alone[vocabulary.version] = model.predict(image).mask_cls

    def switch():
        for i in itertools.cycle(range(3)):
            model.use_vocabulary(lists[i])
            if stop.wait(0.003):
                return

    switcher = threading.Thread(target=switch)
    switcher.start()
    results = [model.predict(image) for _ in range(15)]
    stop.set()
    switcher.join()
    for result in results:
        torch.testing.assert_close(result.mask_cls, alone[result.vocabulary.version])


def test_the_order_of_classes_only_reorders_the_scores(model):
    image = picture(48, 64, 2)
    names = ["cup,mug", "table", "floor", "robot arm"]
    model.set_vocabulary(names)
    scores = model.predict(image).semantic
    model.set_vocabulary(names[::-1])
    torch.testing.assert_close(model.predict(image).semantic.flip(0), scores, rtol=1e-4, atol=1e-4)


def test_prediction_without_a_list_is_refused():
    with pytest.raises(RuntimeError, match="no class list is set"):
        FCCLIP(CONFIG).predict(picture(32, 32, 0))
