"""Class lists of users: what is accepted, and what is refused with which words."""

import pytest

from sensorium.segmentation.class_list import (
    MOST_CLASSES,
    ClassList,
    ClassListRefused,
    checked_class_list,
)


def test_blanks_around_names_do_not_count():
    classes = checked_class_list([" cup , coffee  mug", "floor"], ["cup,coffee mug"], 5)
    assert classes == ClassList(("cup,coffee mug", "floor"), ("cup,coffee mug",))


def test_things_are_found_whole_or_by_their_first_synonym_and_once():
    classes = checked_class_list(["Cup,mug", "floor"], ["cup", "cup, mug", "CUP"], 5)
    assert classes.things == ("Cup,mug",)


def test_without_things_all_classes_are_things():
    assert checked_class_list(["cup"], [], 5).things_or_all is None


def test_a_checked_list_passes_again_unchanged():
    classes = checked_class_list(["b , a", "Floor"], ["b"], 5)
    assert checked_class_list(classes.names, classes.things, 5) == classes


@pytest.mark.parametrize(
    ("names", "things", "text"),
    [
        ([], [], "empty; give at least one name"),
        (["a", "b", "c", "d"], [], "has 4 entries; 'max_classes' allows 3"),
        (["a", "A"], [], "the name 'A' occurs twice, in 'a' and 'A'"),
        (["a,b", "c, B"], [], "the name 'B' occurs twice, in 'a,b' and 'c, B'"),
        (["a,a"], [], "occurs twice"),
        (["coffee mug", "coffee  mug"], [], "occurs twice"),
        ([""], [], "holds an empty name"),
        (["a,"], [], "holds an empty name"),
        (["x" * 65], [], "has 65 characters; at most 64"),
        (["a\x07b"], [], r"the name 'a\\x07b' holds the control character U\+0007"),
        (["\0"], [], r"U\+0000"),
        (["red \u202emug"], [], r"'red \\u202emug' holds the control character U\+202E"),
        (["a,b"], ["b"], "the thing 'b' is not in the class list"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(names, things, text):
    with pytest.raises(ClassListRefused, match=text.replace("(", r"\(")):
        checked_class_list(names, things, 3)


def test_names_of_any_script_and_any_printable_text_are_names():
    names = ["чашка", "क\u200dष", "マグ", "../mug", "<b>mug</b>", "%s{}", "mug 🤖"]
    assert checked_class_list(names, [], 10).names == tuple(names)


def test_the_largest_class_id_fits_a_signed_panoptic_value():
    assert (MOST_CLASSES - 1) << 16 | 0xFFFF < 2**31
