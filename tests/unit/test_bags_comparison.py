"""Two recordings are paired by stamp and compared with a tolerance; what differs is named."""

import numpy as np
import pytest
from bag_messages import messages, write
from rosbags.typesys import Stores, get_typestore

from sensorium.bags import BagError, BagWriter
from sensorium.bags.comparison import Choice, compare_bags
from sensorium.bags.message_difference import Tolerance
from sensorium.cli import main

STORE = get_typestore(Stores.ROS2_KILTED)
T = STORE.types
SECOND_NS = 1_000_000_000
EXACT = Tolerance()


def header(stamp_ns, frame_id="camera"):
    time = T["builtin_interfaces/msg/Time"](*divmod(stamp_ns, SECOND_NS))
    return T["std_msgs/msg/Header"](time, frame_id)


def image(stamp_ns, depth_m, padding=0, order="<"):
    rows = np.asarray(depth_m, np.float32).astype(f"{order}f4")
    data = np.pad(rows.view(np.uint8).reshape(rows.shape[0], -1), ((0, 0), (0, padding)))
    return T["sensor_msgs/msg/Image"](
        header(stamp_ns), *rows.shape, "32FC1", int(order == ">"), data.shape[1], data.reshape(-1)
    )


def cloud(stamp_ns, points, colors):
    """x, y, z and a packed colour, with four bytes of padding that hold anything."""
    dtype = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4"), ("pad", "<u4")])
    table = np.zeros(len(points), dtype)
    table["x"], table["y"], table["z"] = np.asarray(points, np.float32).T
    table["rgb"] = colors
    table["pad"] = np.arange(len(points)) + stamp_ns % 1000
    field = T["sensor_msgs/msg/PointField"]
    fields = [
        field(n, o, k, 1) for n, o, k in (("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("rgb", 12, 7))
    ]
    return T["sensor_msgs/msg/PointCloud2"](
        header(stamp_ns), 1, len(points), fields, False, 20, 20 * len(points),
        table.view(np.uint8).reshape(-1), True,
    )  # fmt: skip


def record(path, topics, shift_ns=0):
    """Write {topic: messages}; each is recorded at its stamp plus `shift_ns`."""
    with BagWriter(path) as writer:
        queue = []
        for topic, content in topics.items():
            writer.add_topic(topic, content[0].__msgtype__, [])
            queue += [(m.header.stamp, topic, m) for m in content]
        for stamp, topic, message in sorted(queue, key=lambda q: (q[0].sec, q[0].nanosec)):
            data = bytes(STORE.serialize_cdr(message, message.__msgtype__))
            writer.write(topic, stamp.sec * SECOND_NS + stamp.nanosec + shift_ns, data)
    return path


def compared(first, second, tolerance=EXACT, **choice):
    results, _ = compare_bags(first, second, Choice(**choice), tolerance)
    return {result.name: result for result in results}


DEPTH = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]])


def test_a_replay_at_another_time_with_other_padding_and_byte_order_says_the_same(tmp_path):
    stamps = [k * SECOND_NS for k in range(1, 30)]
    live = record(tmp_path / "live", {"/depth": [image(s, DEPTH) for s in stamps]})
    replay = record(
        tmp_path / "replay", {"/depth": [image(s, DEPTH, 8, ">") for s in stamps]}, 77 * SECOND_NS
    )
    result = compared(live, replay)["/depth"]
    assert (result.first_count, result.second_count, result.paired) == (29, 29, 29)
    assert result.difference.numbers >= 29 * 6
    assert result.same(0, 0.0), result
    assert main(["compare", str(live), str(replay)]) == 0


def test_numbers_are_held_against_the_tolerance_and_the_worst_is_named(tmp_path, capsys):
    changed = DEPTH.copy()
    changed[1, 0] += 0.02
    changed[0, 0] += 1e-7
    live = record(tmp_path / "live", {"/depth": [image(s * SECOND_NS, DEPTH) for s in (1, 2)]})
    other = record(
        tmp_path / "other", {"/depth": [image(SECOND_NS, DEPTH), image(2 * SECOND_NS, changed)]}
    )
    result = compared(live, other)["/depth"]
    assert result.difference.outside == 1
    assert result.difference.worst == pytest.approx(0.02, rel=1e-3)
    assert (result.difference.worst_at, result.worst_pair) == ("pixels", "2.000000000")
    assert not result.same(0, 0.0)
    assert result.same(0, 0.1), "a tenth of the numbers may differ"
    assert compared(live, other, Tolerance(0.03))["/depth"].same(0, 0.0)
    assert main(["compare", str(live), str(other)]) == 1
    printed = capsys.readouterr().out
    assert "the worst 0.02 in pixels at 2.000000000" in printed
    assert "1 of 1 topics differ" in printed
    assert main(["compare", str(live), str(other), "--absolute", "0.03"]) == 0


def test_a_number_beside_a_nan_is_outside_of_every_tolerance(tmp_path):
    filled = np.nan_to_num(DEPTH, nan=1.0)
    live = record(tmp_path / "live", {"/depth": [image(SECOND_NS, DEPTH)]})
    other = record(tmp_path / "other", {"/depth": [image(SECOND_NS, filled)]})
    assert compared(live, other, Tolerance(1e9, 1.0))["/depth"].difference.outside == 1


def test_clouds_are_compared_field_by_field_and_colours_channel_by_channel(tmp_path):
    points = np.arange(12.0).reshape(4, 3)
    live = record(tmp_path / "a", {"/points": [cloud(5_000_000_001, points, 0x102030)]})
    # Same stamp, other bytes between the fields; blue is one darker.
    again = cloud(5_000_000_001, points, 0x10202F)
    again.data[16::20] += 1
    other = record(tmp_path / "b", {"/points": [again]})
    found = compared(live, other)["/points"].difference
    assert (found.outside, found.worst, found.worst_at) == (4, 1.0, "rgb")
    assert compared(live, other, Tolerance(1.0, 0.0))["/points"].same(0, 0.0)
    shifted = record(tmp_path / "c", {"/points": [cloud(5_000_000_001, points + 0.5, 0x102030)]})
    assert compared(live, shifted)["/points"].difference.worst_at in ("x", "y", "z")
    fewer = record(tmp_path / "d", {"/points": [cloud(5_000_000_001, points[:3], 0x102030)]})
    assert not compared(live, fewer, Tolerance(100.0))["/points"].same(0, 1.0)


def test_missing_stamps_are_named_on_both_sides(tmp_path, capsys):
    live = record(tmp_path / "a", {"/d": [image(k * SECOND_NS, DEPTH) for k in (1, 2, 3, 4)]})
    other = record(tmp_path / "b", {"/d": [image(k * SECOND_NS, DEPTH) for k in (2, 4, 5)]})
    result = compared(live, other)["/d"]
    assert result.only_first == ["1.000000000", "3.000000000"]
    assert result.only_second == ["5.000000000"]
    assert result.paired == 2
    assert main(["compare", str(live), str(other)]) == 1
    assert "2 missing in the second: 1.000000000, 3.000000000" in capsys.readouterr().out
    assert main(["compare", str(live), str(other), "--missing", "2"]) == 0


def test_a_stamp_that_occurs_twice_is_paired_twice(tmp_path):
    twice = [image(SECOND_NS, DEPTH), image(SECOND_NS, DEPTH)]
    live = record(tmp_path / "a", {"/d": twice})
    other = record(tmp_path / "b", {"/d": twice[:1]})
    assert compared(live, live)["/d"].paired == 2
    assert len(compared(live, other)["/d"].only_first) == 1


def test_volatile_topics_and_chosen_ones(tmp_path, capsys):
    content = {"/d": [image(SECOND_NS, DEPTH)], "/e": [image(SECOND_NS, DEPTH)]}
    live = record(tmp_path / "a", {**content, "/rosout": [image(1, DEPTH)]})
    other = record(tmp_path / "b", {"/d": content["/d"]})
    results = compared(live, other)
    assert results["/e"].problem == f"only in {live}"
    assert "/rosout" not in results
    assert main(["compare", str(live), str(other), "--ignore", "^/e$"]) == 0
    assert "topics left out: /e, /rosout" in capsys.readouterr().out
    assert main(["compare", str(live), str(other), "--topics", "d"]) == 0
    with pytest.raises(BagError, match="/x is in neither bag"):
        compared(live, other, topics=("/x",))
    with pytest.raises(BagError, match="not valid"):
        compared(live, other, ignored="(")
    assert main(["compare", str(live), str(tmp_path / "none")]) == 2


def test_transforms_are_paired_by_their_stamps_and_frames(tmp_path):
    def transforms(x, *children):
        geometry = "geometry_msgs/msg/"
        pose = T[f"{geometry}Transform"](
            T[f"{geometry}Vector3"](x, 0.0, 0.0), T[f"{geometry}Quaternion"](0.0, 0.0, 0.0, 1.0)
        )
        stamped = [T[f"{geometry}TransformStamped"](header(SECOND_NS), c, pose) for c in children]
        return T["tf2_msgs/msg/TFMessage"](stamped)

    def written(name, *content):
        with BagWriter(tmp_path / name) as writer:
            writer.add_topic("/tf", "tf2_msgs/msg/TFMessage", [])
            for number, message in enumerate(content):
                data = bytes(STORE.serialize_cdr(message, "tf2_msgs/msg/TFMessage"))
                writer.write("/tf", number, data)
        return tmp_path / name

    one = written("one", transforms(1.0, "a"), transforms(1.0, "b"), transforms(1.0, "c"))
    other = written("other", transforms(1.0, "b"), transforms(1.5, "a"))
    result = compared(one, other)["/tf"]
    assert (result.paired, len(result.only_first)) == (2, 1)
    assert "'c'" in result.only_first[0]
    assert result.difference.worst_at == "transforms[0].transform.translation.x"
    assert result.difference.worst == 0.5


def test_messages_without_a_stamp_are_paired_by_their_order_and_texts_exactly(tmp_path):
    content = messages(5)
    write(tmp_path / "a", content)
    changed = [(t, s, d.replace(b"message 3", b"message X")) for t, s, d in content]
    write(tmp_path / "b", changed)
    results = compared(tmp_path / "a", tmp_path / "b")
    assert results["/latched"].same(0, 0.0)
    assert "'message 3 ' and 'message X '" in results["/chatter"].difference.mismatch
