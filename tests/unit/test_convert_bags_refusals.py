"""Small recordings of a robot without a simulator: what becomes rows, what does not, and why."""

import itertools
import json

import numpy as np
import pytest
import yaml
from builtin_interfaces.msg import Duration
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from sensorium.bags import BagWriter, MessageDefinitions
from sensorium.cli import main
from sensorium.ros.convert.header import header
from sensorium.ros.convert.image import image_from_color

MS = 1_000_000
START = 1_700_000_000_000 * MS
JOINTS = ["a", "b"]
PERIOD = 100 * MS
TYPES = {
    "/joint_states": JointState,
    "/front": Image,
    "/command": JointTrajectory,
    "/leader": JointState,
    "/instruction": String,
}


def joints(stamp, value):
    # Another order, and a joint that nobody asks for.
    return JointState(
        header=header(stamp, ""), name=["lift", "b", "a"], position=[9.0, value + 1.0, value]
    )


def picture(stamp, value):
    return image_from_color(np.full((8, 6, 3), int(value) % 256, np.uint8), stamp, "front")


def command(stamp, value):
    point = JointTrajectoryPoint(positions=[value, -value], time_from_start=Duration(nanosec=MS))
    return JointTrajectory(header=header(stamp, ""), joint_names=JOINTS, points=[point])


def recording(steps=10, without_pictures=()):
    """Pictures and joint states at 10 Hz that come 5 ms late, a command 20 ms after each."""
    content = []
    for step in range(steps):
        stamp = START + step * PERIOD
        content.append(("/joint_states", stamp + 5 * MS, joints(stamp, float(step))))
        if step not in without_pictures:
            content.append(("/front", stamp + 6 * MS, picture(stamp, step)))
        content.append(("/command", stamp + 20 * MS, command(stamp + 20 * MS, 100.0 + step)))
    return content


def type_name(kind):
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def write_bag(path, content):
    with BagWriter(path) as writer:
        for topic in dict.fromkeys(topic for topic, _, _ in content):
            writer.add_topic(topic, type_name(TYPES[topic]))
        for topic, stamp, message in content:
            writer.write(topic, stamp, serialize_message(message))
    return path


def write_sqlite(path, content):
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections = {}
        for topic in dict.fromkeys(topic for topic, _, _ in content):
            found = MessageDefinitions().of(type_name(TYPES[topic]))
            connections[topic] = writer.add_connection(
                topic, type_name(TYPES[topic]), msgdef=found.text, rihs01=found.type_hash
            )
        for topic, stamp, message in content:
            writer.write(connections[topic], stamp, serialize_message(message))
    return path


@pytest.fixture
def convert(tmp_path, capsys):
    """Run the command; returns exit code, what was said, and the folder of the set."""
    outputs = itertools.count()
    contract = {
        "general": {"rate_hz": 10.0, "max_skew_s": 0.02},
        "joint_states": {"max_age_s": 0.2},
        "observations": {
            "observation.images.front": {"type": "image", "topic": "front"},
            "observation.state": {
                "type": "joint_state", "select": ["position.a", "position.b"],
            },
        },
        "action": {"type": "joint_positions", "joints": JOINTS},
    }  # fmt: skip

    def run(*arguments, **sections):
        path = tmp_path / "contract.yaml"
        path.write_text(yaml.safe_dump(contract | sections))
        output = tmp_path / f"set{next(outputs)}"
        code = main(
            ["convert-bags", *map(str, arguments), "--contract", str(path), "--output", str(output)]
        )
        captured = capsys.readouterr()
        return code, captured.out + captured.err, output

    return run


@pytest.mark.parametrize("write", [write_bag, write_sqlite])
def test_rows_hold_what_was_seen_and_what_was_commanded_next(convert, tmp_path, write):
    code, said, output = convert(write(tmp_path / "bag", recording()))
    assert code == 0, said
    assert "1 episodes, 9 rows in 1 segments" in said
    assert "1  command_missing" in said
    assert "does not read this set" in said
    state = np.load(output / "observation.state.npy")
    steps = np.arange(9)
    np.testing.assert_array_equal(state, np.stack((steps, steps + 1.0), 1))
    pictures = np.load(output / "observation.images.front.npy")
    assert (pictures == steps[:, None, None, None]).all()
    # In force 100 ms after the observation is what came 20 ms after it.
    np.testing.assert_array_equal(
        np.load(output / "action.npy"), np.stack((100.0 + steps, -100.0 - steps), 1)
    )
    np.testing.assert_array_equal(np.load(output / "steps_left.npy"), steps[::-1])
    assert json.loads((output / "meta.json").read_text())["steps"] == 9


def test_missing_pictures_cost_rows_with_a_reason_and_are_never_filled_in(convert, tmp_path):
    bag = write_bag(tmp_path / "bag", recording(20, without_pictures=range(5, 12)))
    code, said, output = convert(bag)
    assert code == 0, said
    assert "12 rows in 2 segments" in said
    assert "observation_s" in said
    np.testing.assert_array_equal(
        np.load(output / "observation.state.npy")[:, 0], [*range(5), *range(12, 19)]
    )
    np.testing.assert_array_equal(
        np.load(output / "steps_left.npy"), [*range(4, -1, -1), *range(6, -1, -1)]
    )
    code, said, _ = convert(bag, "--gap-s", "0.5")
    assert "2 episodes, 12 rows in 2 segments" in said


def test_values_that_are_not_finite_are_refused(convert, tmp_path):
    content = recording()
    topic, _, message = content[9]
    assert topic == "/joint_states"
    message.position = [9.0, float("nan"), 3.0]
    code, said, output = convert(write_bag(tmp_path / "bag", content))
    assert code == 0, said
    assert "1  observation_not_finite" in said
    assert np.isfinite(np.load(output / "observation.state.npy")).all()


def test_instructions_begin_episodes_and_a_leader_arm_commands(convert, tmp_path):
    content = [entry for entry in recording(20) if entry[0] != "/command"]
    for step in range(21):
        stamp = START + step * PERIOD
        content.append(("/leader", stamp + 1 * MS, joints(stamp, 50.0 + step)))
    for step, text in ((2, "open the box"), (8, ""), (10, "close the box")):
        content.append(("/instruction", START + step * PERIOD - MS, String(data=text)))
    content.sort(key=lambda entry: entry[1])
    bag = write_bag(tmp_path / "bag", content)
    code, said, output = convert(bag, "--episodes-from", "instruction", "--commands", "leader")
    assert code == 0, said
    meta = json.loads((output / "meta.json").read_text())
    assert meta["instructions"] == [["open the box"], ["close the box"]]
    steps = np.load(output / "observation.state.npy")[:, 0]
    # What the live node would be shown at the goal: the inputs of the step before, still fresh.
    assert set(steps) <= {*range(1, 8), *range(9, 20)}
    assert len(steps) >= 13
    np.testing.assert_array_equal(np.load(output / "action.npy")[:, 0], steps + 51.0)
    np.testing.assert_array_equal(np.load(output / "task.npy"), steps >= 9)


def test_without_commands_the_remedy_is_named(convert, tmp_path):
    content = [entry for entry in recording() if entry[0] != "/command"]
    bag = write_bag(tmp_path / "bag", content)
    code, said, _ = convert(bag)
    assert code == 2
    assert "0 topics of JointTrajectory (none); name those with the commands with" in said
    code, said, output = convert(bag, "--commands", "joint_states")
    assert code == 0, said
    np.testing.assert_array_equal(np.load(output / "action.npy")[:, 0], np.arange(1, 10))


def test_a_missing_topic_is_named(convert, tmp_path):
    content = [entry for entry in recording() if entry[0] != "/front"]
    bag = write_bag(tmp_path / "bag", content)
    code, said, _ = convert(bag)
    assert code == 2
    assert "lacks /front" in said
    assert "it has /command, /joint_states" in said
    code, said, _ = convert(bag, "--commands", "nowhere")
    assert "lacks /nowhere" in said
    code, said, _ = convert(bag, "--commands", "command", "--namespace", "robot1")
    assert "lacks /robot1/command" in said


def test_a_topic_of_another_type_is_named(convert, tmp_path):
    bag = write_bag(tmp_path / "bag", recording())
    code, said, _ = convert(bag, joint_states={"topic": "command"})
    assert code == 2
    assert "topic /command of bag" in said
    assert "is trajectory_msgs/msg/JointTrajectory, not sensor_msgs/msg/JointState" in said


def test_an_empty_a_truncated_and_no_bag_are_told_apart(convert, tmp_path):
    empty = write_bag(tmp_path / "empty", [])
    code, said, _ = convert(empty)
    assert code == 2
    assert "holds no messages" in said
    bag = write_bag(tmp_path / "bag", recording(200))
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    code, said, output = convert(bag)
    assert code in (0, 2)
    assert "is truncated" in said
    code, said, output = convert(bag, "--salvage")
    assert code == 0, said
    assert "is truncated" in said
    assert 0 < len(np.load(output / "action.npy")) < 199
    code, said, _ = convert(tmp_path / "nowhere")
    assert code == 2
    assert "does not exist" in said


def test_an_unknown_key_of_the_contract_is_refused_with_the_known_ones(convert, tmp_path):
    bag = write_bag(tmp_path / "bag", recording())
    code, said, _ = convert(bag, general={"max_skw_s": 0.1})
    assert code == 2
    assert "max_skw_s" in said
    assert "max_skew_s" in said


def test_a_recording_that_makes_no_row_says_why_and_leaves_no_set(convert, tmp_path):
    content = [
        (topic, received, message) if topic != "/front" else (topic, received, picture(START, 1))
        for topic, received, message in recording(30)
    ]
    code, said, output = convert(write_bag(tmp_path / "bag", content), general={"max_skew_s": 0.0})
    assert "stamp_not_newer" in said or "not newer than the one before" in said
    assert code in (0, 1)
    content = [entry for entry in content if entry[1] > START + 5 * PERIOD]
    code, said, output = convert(write_bag(tmp_path / "late", content))
    assert code == 1, said
    assert "nothing was written" in said
    assert "observation_stale" in said
    assert not list(output.iterdir())
