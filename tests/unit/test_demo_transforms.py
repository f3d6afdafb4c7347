from types import SimpleNamespace as Message

import numpy as np
import pytest

from sensorium.demo.transforms import RecordedTransforms

SECOND = 1_000_000_000


def transform(parent, child, stamp_ns, x):
    seconds, nanoseconds = divmod(stamp_ns, SECOND)
    return Message(
        header=Message(frame_id=parent, stamp=Message(sec=seconds, nanosec=nanoseconds)),
        child_frame_id=child,
        transform=Message(
            translation=Message(x=x, y=0.0, z=0.0), rotation=Message(x=0.0, y=0.0, z=0.0, w=1.0)
        ),
    )


@pytest.fixture
def transforms():
    made = RecordedTransforms()
    for step in range(5):
        moved = transform("map", "base", step * SECOND // 10, 1.0 * step)
        made.add(Message(transforms=[moved]), is_static=False)
    made.add(Message(transforms=[transform("base", "camera", 0, 0.5)]), is_static=True)
    return made


def test_moving_and_fixed_transforms_are_chained(transforms):
    assert transforms.pose("map", "camera", 2 * SECOND // 10)[0, 3] == pytest.approx(2.5)


def test_between_two_stamps_is_interpolated(transforms):
    assert transforms.pose("map", "camera", SECOND // 20)[0, 3] == pytest.approx(1.0)


def test_a_fixed_frame_below_the_root_works_too(transforms):
    pose = transforms.pose("base", "camera", SECOND // 10)
    assert pose[0, 3] == pytest.approx(0.5)
    assert np.allclose(transforms.pose("camera", "camera", SECOND // 10), np.eye(4))


def test_nothing_is_guessed(transforms):
    assert transforms.pose("map", "camera", SECOND) is None
    assert transforms.pose("map", "camera", -1) is None
    assert transforms.pose("odom", "camera", 0) is None


def test_a_gap_is_not_bridged():
    made = RecordedTransforms()
    for stamp_ns in (0, 2 * SECOND):
        made.add(Message(transforms=[transform("map", "camera", stamp_ns, 0.0)]), is_static=False)
    assert made.pose("map", "camera", SECOND) is None


def test_a_loop_in_the_tree_ends():
    made = RecordedTransforms()
    made.add(
        Message(transforms=[transform("a", "b", 0, 0.0), transform("b", "a", 0, 0.0)]),
        is_static=True,
    )
    assert made.pose("a", "b", 0) is None
