"""The bag player over real DDS: what is recorded comes out, when it is due, byte by byte."""

import signal
import time

import pytest
from bag_processes import SECOND, NodeProcess, Observer, on_wire, values
from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from sensorium.bags import BagWriter, MessageDefinition, OfferedQos

START = 1_700_000_000 * SECOND
LATCHED = OfferedQos("reliable", "transient_local", "keep_last", 1)
STATICS = ("a", "b", "c")


def text(index):
    return on_wire(serialize_message(String(data=f"message {index}")))


def static(child):
    transform = TransformStamped(child_frame_id=child)
    transform.header.frame_id = "map"
    return serialize_message(TFMessage(transforms=[transform]))


def make_bag(path, count=20, period_s=0.05):
    """Three static transforms at the start, `count` texts, one of them latched."""
    with BagWriter(path) as bag:
        bag.add_topic("/tf_static", "tf2_msgs/msg/TFMessage", [LATCHED])
        bag.add_topic("/chatter", "std_msgs/msg/String", [OfferedQos()])
        bag.add_topic("/description", "std_msgs/msg/String", [LATCHED])
        for index, child in enumerate(STATICS):
            bag.write("/tf_static", START + index, static(child))
        bag.write("/description", START + 10, text(-1))
        for index in range(count):
            bag.write("/chatter", START + 100 + int(index * period_s * SECOND), text(index))
    return path


@pytest.fixture
def bag(tmp_path):
    return str(make_bag(tmp_path / "bag"))


@pytest.fixture
def play():
    processes = []

    def start(bag, *arguments, **parameters):
        processes.append(NodeProcess("bag_player", *arguments, bag=bag, **parameters))
        return processes[-1]

    yield start
    for process in processes:
        process.end(signal.SIGKILL)


@pytest.fixture
def observer(ros):
    made = Observer(ros)
    yield made
    made.close()


def finished(observer):
    return lambda: "finished" in observer.states


WAIT = {"wait_for_subscribers_s": 20.0}


def test_every_message_is_published_unchanged_and_the_node_stays(bag, play, observer):
    observer.listen(String, "/chatter")
    player = play(bag, rate=4.0, **WAIT)
    observer.spin(finished(observer))
    observer.spin(lambda: len(observer.messages["/chatter"]) == 20)
    assert observer.messages["/chatter"] == [text(index) for index in range(20)]
    assert observer.states[-2:] == ["playing", "finished"] or observer.states == ["finished"]
    counts = values(observer.status)
    assert (counts["taken"], counts["published"], counts["failed"]) == ("24", "24", "0")
    assert counts["published./tf_static"] == "3"
    assert float(counts["lateness_max_ms"]) < 1000.0
    assert player.alive
    status, output = player.end()
    assert status == 0, output


def test_a_late_joiner_gets_every_latched_message(bag, play, observer):
    play(bag, rate=10.0)
    observer.spin(finished(observer))
    observer.listen(TFMessage, "/tf_static", durable=True, raw=False)
    observer.listen(String, "/description", durable=True)
    observer.spin(lambda: len(observer.messages["/tf_static"]) == 3)
    frames = [m.transforms[0].child_frame_id for m in observer.messages["/tf_static"]]
    assert tuple(frames) == STATICS
    observer.spin(lambda: observer.messages["/description"] == [text(-1)])


def test_a_replay_from_the_middle_still_publishes_what_was_latched_before(bag, play, observer):
    observer.listen(String, "/chatter")
    play(bag, start_offset_s=0.5, duration_s=0.3, **WAIT)
    observer.spin(finished(observer))
    observer.listen(TFMessage, "/tf_static", durable=True)
    observer.spin(lambda: len(observer.messages["/tf_static"]) == 3)
    observer.spin(lambda: len(observer.messages["/chatter"]) == 6)
    assert observer.messages["/chatter"] == [text(index) for index in range(10, 16)]


def test_clock_drives_a_node_with_simulated_time_and_stands_at_the_end(bag, play, ros):
    observer = Observer(ros, sim_time=True)
    stamps = []
    observer.node.create_timer(0.1, lambda: stamps.append(observer.node.get_clock().now()))
    play(bag)
    observer.spin(finished(observer))
    observer.spin_for(0.3)
    end_ns = START + 100 + int(19 * 0.05 * SECOND)
    assert observer.node.get_clock().now().nanoseconds == end_ns
    seen = [stamp.nanoseconds for stamp in stamps]
    assert len(seen) >= 5
    assert seen == sorted(seen)
    assert all(START <= stamp <= end_ns for stamp in seen)
    observer.close()


def test_clock_stands_at_the_start_while_paused_and_runs_after_resume(bag, play, ros):
    observer = Observer(ros, sim_time=True)
    observer.listen(String, "/chatter")
    play(bag, start_paused=True, rate=4.0)
    observer.spin(lambda: "paused" in observer.states)
    observer.spin(lambda: observer.node.get_clock().now().nanoseconds == START)
    observer.spin_for(0.3)
    assert observer.messages["/chatter"] == []
    assert observer.trigger("/bag_player/resume").success
    observer.spin(lambda: len(observer.messages["/chatter"]) >= 3)
    answer = observer.trigger("/bag_player/pause")
    assert answer.success
    assert answer.message.startswith("paused at 0.")
    observer.spin_for(0.3)
    held = len(observer.messages["/chatter"])
    observer.spin_for(0.5)
    assert len(observer.messages["/chatter"]) == held < 20
    observer.trigger("/bag_player/resume")
    observer.spin(finished(observer))
    observer.spin(lambda: len(observer.messages["/chatter"]) == 20)
    refused = observer.trigger("/bag_player/pause")
    assert not refused.success
    assert refused.message == "nothing is being replayed: the player is finished"
    observer.close()


def test_in_a_loop_clock_jumps_back_and_nothing_is_lost(bag, play, ros):
    observer = Observer(ros, sim_time=True)
    observer.listen(String, "/chatter")
    jumps = []
    handle = observer.node.get_clock().create_jump_callback(
        JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False
        ),
        post_callback=jumps.append,
    )
    play(bag, rate=4.0, loop=True, **WAIT)
    observer.spin(lambda: len(observer.messages["/chatter"]) > 30)
    assert observer.set("/bag_player", "loop", False).successful
    observer.spin(finished(observer))
    rounds = int(values(observer.status)["rounds"])
    assert rounds >= 2
    observer.spin(lambda: len(observer.messages["/chatter"]) == 20 * rounds)
    assert observer.messages["/chatter"] == [text(index) for index in range(20)] * rounds
    assert len(jumps) == rounds - 1
    handle.unregister()
    observer.close()


def test_the_rate_can_change_while_it_plays(tmp_path, play, observer):
    bag = str(make_bag(tmp_path / "long", count=100, period_s=1.0))
    observer.listen(String, "/chatter")
    play(bag, **WAIT)
    observer.spin(lambda: len(observer.messages["/chatter"]) >= 1)
    began = time.monotonic()
    assert observer.set("/bag_player", "rate", 100.0).successful
    assert not observer.set("/bag_player", "rate", 0.0).successful
    observer.spin(finished(observer))
    assert time.monotonic() - began < 20.0
    observer.spin(lambda: len(observer.messages["/chatter"]) == 100)


def test_topics_are_filtered_and_renamed_by_parameter_and_by_ros_remapping(bag, play, observer):
    observer.listen(String, "/renamed")
    observer.listen(String, "/remapped", durable=True)
    play(
        bag,
        "-r",
        "/description:=/remapped",
        exclude_regex="^/tf",
        remaps=["/chatter:=/renamed"],
        rate=10.0,
        **WAIT,
    )
    observer.spin(finished(observer))
    observer.spin(lambda: len(observer.messages["/renamed"]) == 20)
    observer.spin(lambda: len(observer.messages["/remapped"]) == 1)
    assert observer.node.count_publishers("/tf_static") == 0
    assert observer.node.count_publishers("/chatter") == 0


def test_recorded_qos_is_offered_again_and_can_be_overridden(tmp_path, play, observer):
    sensor = OfferedQos("best_effort", "volatile", "keep_last", 3)
    with BagWriter(tmp_path / "bag") as bag:
        for name in ("/weak", "/mixed", "/strong", "/forced"):
            offers = [sensor] if name != "/mixed" else [sensor, LATCHED]
            offers = [OfferedQos()] if name == "/strong" else offers
            bag.add_topic(name, "std_msgs/msg/String", offers)
            bag.write(name, START, text(0))
    play(
        str(tmp_path / "bag"),
        **{"qos_overrides./forced.publisher.reliability": "reliable"},
    )
    observer.spin(finished(observer))

    def offered(name):
        (publisher,) = observer.node.get_publishers_info_by_topic(name)
        profile = publisher.qos_profile
        return profile.reliability.name, profile.durability.name

    assert offered("/weak") == ("BEST_EFFORT", "VOLATILE")
    assert offered("/mixed") == ("RELIABLE", "TRANSIENT_LOCAL")
    assert offered("/strong") == ("RELIABLE", "VOLATILE")
    assert offered("/forced") == ("RELIABLE", "VOLATILE")


def test_types_that_are_not_installed_or_differ_are_skipped_by_name(tmp_path, play, observer):
    stranger = MessageDefinition("nowhere/msg/Thing", "float64 x\n", "RIHS01_00")
    changed = MessageDefinition("std_msgs/msg/String", "int32 data\n", "RIHS01_11")
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/stranger", "nowhere/msg/Thing", (), stranger)
        bag.add_topic("/changed", "std_msgs/msg/String", (), changed)
        bag.add_topic("/good", "std_msgs/msg/Empty")
        for name in ("/stranger", "/changed", "/good"):
            bag.write(name, START, b"\0\1\0\0\0\0\0\0")
    play(str(tmp_path / "bag"))
    observer.spin(finished(observer))
    found = values(observer.status)
    assert "install the ROS package 'nowhere'" in found["skipped./stranger"]
    assert "recorded with another definition" in found["skipped./changed"]
    assert found["published"] == "1"
    observer.diagnosis("/bag_player", "not replayed: /changed, /stranger")


def test_a_recorded_clock_gives_way_to_the_players_own(tmp_path, play, observer):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/clock", "rosgraph_msgs/msg/Clock")
        bag.add_topic("/good", "std_msgs/msg/Empty")
        bag.write("/clock", START, b"\0\1\0\0" + bytes(8))
        bag.write("/good", START, b"\0\1\0\0\0\0\0\0")
    play(str(tmp_path / "bag"))
    observer.spin(finished(observer))
    assert values(observer.status)["skipped./clock"] == "the player publishes its own clock"


def test_the_process_ends_after_the_last_message_where_asked(bag, play, observer):
    observer.listen(String, "/chatter")
    player = play(bag, rate=10.0, exit_at_end=True, **WAIT)
    observer.spin(lambda: not player.alive)
    status, output = player.end()
    assert status == 0, output
    observer.spin(lambda: len(observer.messages["/chatter"]) == 20)


def test_a_killed_player_can_be_started_again(bag, play, observer):
    observer.listen(String, "/chatter")
    player = play(bag, **WAIT)
    observer.spin(lambda: len(observer.messages["/chatter"]) >= 3)
    player.end(signal.SIGKILL)
    play(bag, rate=10.0, topics=["/chatter"], **WAIT)
    observer.spin(finished(observer))
    observer.spin(lambda: observer.messages["/chatter"][-20:] == [text(i) for i in range(20)])


def test_activating_again_replays_from_the_beginning(bag, play, observer):
    observer.listen(String, "/chatter")
    play(bag, rate=10.0, **WAIT)
    observer.spin(finished(observer))
    assert observer.change("/bag_player", "deactivate")
    assert observer.change("/bag_player", "activate")
    observer.spin(lambda: observer.states.count("finished") == 2)
    observer.spin(lambda: len(observer.messages["/chatter"]) == 40)


def test_a_bag_without_messages_is_refused_and_the_node_lives(tmp_path, play, observer):
    make_bag(tmp_path / "good", count=3)
    with BagWriter(tmp_path / "empty") as bag:
        bag.add_topic("/chatter", "std_msgs/msg/String")
    player = play(str(tmp_path / "empty"))
    status = observer.diagnosis("/bag_player", "holds no messages: there is nothing to replay")
    assert status.level == b"\2"
    assert player.alive
    assert observer.set("/bag_player", "bag", str(tmp_path / "good")).successful
    assert observer.change("/bag_player", "configure")
    assert observer.change("/bag_player", "activate")
    observer.spin(finished(observer))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"bag": "/nowhere"}, "bag /nowhere does not exist"),
        ({"bag": ""}, "parameter 'bag' is empty"),
        ({"start_offset_s": 60.0}, "start_offset_s is 60, but bag"),
        ({"topics": ["/nothing"]}, "/nothing are not in the bag; it has /chatter"),
        ({"exclude_regex": "."}, "no topic is left to replay"),
        ({"remaps": ["/chatter"]}, "not of the form"),
        ({"remaps": ["/nothing:=/x"]}, "/nothing is not replayed"),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_the_reason(bag, play, observer, parameters, words):
    player = play(**{"bag": bag, **parameters})
    observer.diagnosis("/bag_player", words)
    assert player.alive


def test_a_truncated_bag_is_refused_and_salvaged_when_asked(tmp_path, play, observer):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/chatter", "std_msgs/msg/String")
        for index in range(100):
            message = String(data=f"{index} " + "x" * 30_000)
            bag.write("/chatter", START + index * SECOND // 100, serialize_message(message))
    file = tmp_path / "bag" / "bag.mcap"
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)
    observer.listen(String, "/chatter")
    play(str(tmp_path / "bag"), **WAIT)
    observer.diagnosis("/bag_player", "truncated")
    assert observer.set("/bag_player", "salvage", True).successful
    assert observer.change("/bag_player", "configure")
    assert observer.change("/bag_player", "activate")
    observer.spin(finished(observer))
    count = int(values(observer.status)["published"])
    assert 40 <= count < 60
    observer.spin(lambda: len(observer.messages["/chatter"]) == count)
    received = [deserialize_message(m, String).data for m in observer.messages["/chatter"]]
    assert [int(data.split()[0]) for data in received] == list(range(count))
    observer.diagnosis("/bag_player", "bytes are intact")


def test_damage_in_the_middle_ends_the_replay_with_an_error_and_the_node_lives(
    tmp_path, play, observer
):
    with BagWriter(tmp_path / "bag", compression="zstd") as bag:
        bag.add_topic("/chatter", "std_msgs/msg/String")
        for index in range(200):
            message = String(data=f"{index} " + "x" * 20_000)
            bag.write("/chatter", START + index * SECOND // 1000, serialize_message(message))
    file = tmp_path / "bag" / "bag.mcap"
    content = bytearray(file.read_bytes())
    second = content.find(b"\x28\xb5\x2f\xfd", content.find(b"\x28\xb5\x2f\xfd") + 1)
    content[second : second + 4] = b"oops"
    file.write_bytes(content)
    observer.listen(String, "/chatter")
    player = play(str(tmp_path / "bag"), **WAIT)
    observer.spin(lambda: "failed" in observer.states)
    status = observer.diagnosis("/bag_player", "damaged further on")
    assert status.level == b"\2"
    assert player.alive
    observer.spin(lambda: len(observer.messages["/chatter"]) == int(values(status)["published"]))
