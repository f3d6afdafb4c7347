"""The recorder over real DDS: what is published is in the bag, byte by byte, also after Ctrl-C."""

import signal
import time

import pytest
from bag_processes import SECOND, NodeProcess, Observer, on_wire, values
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from sensorium.bags import BagReader, BagWriter, OfferedQos

START = 1_700_000_000 * SECOND
BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def start():
    processes = []

    def make(executable, *arguments, **parameters):
        processes.append(NodeProcess(executable, *arguments, **parameters))
        return processes[-1]

    yield make
    for process in processes:
        process.end(signal.SIGKILL)


@pytest.fixture
def observer(ros):
    made = Observer(ros)
    yield made
    made.close()


def publisher(observer, topic, qos=50, message_type=String):
    return observer.node.create_publisher(message_type, topic, qos)


def matched(*publishers):
    return lambda: all(each.get_subscription_count() for each in publishers)


def recorded(observer, count):
    """Wait until the recorder has written `count` messages."""

    def enough():
        status = observer.diagnostics.get("/recorder")
        return status is not None and int(values(status).get("written", 0)) >= count

    return enough


def contents(path):
    with BagReader(path) as bag:
        topics = bag.topics
        found = {name: [] for name in topics}
        for message in bag.messages():
            found[message.topic].append(message.data)
    return topics, found


def test_record_replay_record_gives_the_same_bytes(tmp_path, start, observer):
    import random

    from geometry_msgs.msg import TransformStamped
    from sensorium_ros.msg import RgbdFrame
    from tf2_msgs.msg import TFMessage

    latched = OfferedQos("reliable", "transient_local", "keep_last", 1)
    with BagWriter(tmp_path / "source") as bag:
        bag.add_topic("/tf_static", "tf2_msgs/msg/TFMessage", [latched, latched])
        bag.add_topic("/image", "sensor_msgs/msg/Image", [OfferedQos()])
        bag.add_topic("/rgbd", "sensorium_ros/msg/RgbdFrame", [OfferedQos()])
        bag.add_topic("/sensor", "std_msgs/msg/String", [OfferedQos("best_effort")])
        for child in "ab":
            transform = TransformStamped(child_frame_id=child)
            bag.write("/tf_static", START, serialize_message(TFMessage(transforms=[transform])))
        random.seed(1)
        for index in range(60):
            stamp = START + index * SECOND // 30
            image = Image(height=60, width=80, encoding="rgb8", step=240)
            image.data.frombytes(random.randbytes(60 * 240))
            bag.write("/image", stamp, serialize_message(image))
            frame = RgbdFrame(camera_name="wrist", has_color=True, color=image)
            bag.write("/rgbd", stamp, serialize_message(frame))
            bag.write("/sensor", stamp, serialize_message(String(data=f"sample {index}")))
    written = contents(tmp_path / "source")[1]
    expected = {topic: [on_wire(data) for data in found] for topic, found in written.items()}

    source = tmp_path / "source"
    for name in ("first", "second"):
        recorder = start(
            "recorder", directory=str(tmp_path), name=name,
            topics=["/tf_static", "/image", "/rgbd", "/sensor"],
        )  # fmt: skip
        player = start(
            "bag_player", bag=str(source), rate=2.0, wait_for_subscribers_s=20.0, exit_at_end=True
        )
        observer.spin(lambda player=player: not player.alive, timeout=40)
        observer.spin(recorded(observer, 182))
        status, output = recorder.end()
        assert status == 0, output
        assert "182 messages written, 0 dropped" in output
        topics, found = contents(tmp_path / name)
        assert found == expected
        assert topics["/tf_static"].is_durable
        assert topics["/sensor"].offered_qos[0].reliability == "best_effort"
        assert topics["/rgbd"].definition.startswith("# One moment of one RGB-D camera")
        observer.diagnostics.clear()
        source = tmp_path / name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_bag_is_whole_after_a_signal_to_the_process_group(tmp_path, start, observer, number):
    sender = publisher(observer, "/chatter")
    recorder = start(
        "recorder", directory=str(tmp_path), name="bag", regex="^/chat", compression="zstd"
    )
    observer.spin(matched(sender))
    for index in range(200):
        sender.publish(String(data=f"message {index}"))
        observer.spin_for(0.001)
    sender.wait_for_all_acked()
    observer.spin_for(0.3)  # acknowledged by DDS is not yet taken by the executor
    status, output = recorder.end(number)
    assert status == 0, output
    topics, found = contents(tmp_path / "bag")
    assert len(found["/chatter"]) == 200
    assert topics["/chatter"].type_hash.startswith("RIHS01_df668c74")


def test_a_killed_recorder_leaves_what_it_had_a_second_before(tmp_path, start, observer):
    sender = publisher(observer, "/chatter")
    recorder = start("recorder", directory=str(tmp_path), name="bag", topics=["/chatter"])
    observer.spin(matched(sender))
    for index in range(10):
        sender.publish(String(data=f"message {index}"))
    observer.spin(recorded(observer, 10))
    time.sleep(1.5)
    recorder.end(signal.SIGKILL)
    with BagReader(tmp_path / "bag", salvage=True) as bag:
        assert bag.message_count == 10


def test_the_recorder_takes_what_publishers_offer(tmp_path, start, observer):
    weak = publisher(observer, "/weak", BEST_EFFORT)
    strong = publisher(observer, "/strong")
    latched = publisher(observer, "/latched", LATCHED)
    latched.publish(String(data="before the recorder came"))
    recorder = start("recorder", directory=str(tmp_path), name="bag", regex="weak|strong|latched")
    observer.spin(matched(weak, strong, latched))
    observer.spin_for(0.5)
    weak.publish(String(data="weak"))
    strong.publish(String(data="strong"))
    observer.spin(recorded(observer, 3))
    # A publisher that offers less joins a topic that is recorded as reliable.
    weaker = publisher(observer, "/strong", BEST_EFFORT)
    observer.spin(matched(weaker))
    observer.spin_for(0.5)
    weaker.publish(String(data="weaker"))
    observer.spin(recorded(observer, 4))
    status, output = recorder.end()
    assert status == 0, output
    topics, found = contents(tmp_path / "bag")
    assert {name: len(data) for name, data in found.items()} == {
        "/weak": 1, "/strong": 2, "/latched": 1,
    }  # fmt: skip
    assert found["/strong"][1] == on_wire(serialize_message(String(data="weaker")))
    assert topics["/weak"].offered_qos[0].reliability == "best_effort"
    assert topics["/latched"].offered_qos[0].durability == "transient_local"


def test_all_topics_means_all_but_hidden_and_excluded_ones(tmp_path, start, observer):
    senders = [publisher(observer, name) for name in ("/a", "/b", "/_hidden")]
    recorder = start(
        "recorder", directory=str(tmp_path), name="bag", all_topics=True, exclude_regex="^/b$"
    )
    observer.spin(matched(senders[0]))
    observer.spin_for(1.0)
    recorder.end()
    topics, _ = contents(tmp_path / "bag")
    assert "/a" in topics
    assert "/diagnostics" in topics
    assert "/b" not in topics
    assert "/_hidden" not in topics


def test_a_directory_that_cannot_be_made_is_an_error_and_mendable(tmp_path, start, observer):
    (tmp_path / "file").write_text("not a directory")
    recorder = start(
        "recorder", directory=str(tmp_path / "file" / "below"), name="bag", topics=["/a"]
    )
    status = observer.diagnosis("/recorder", "cannot be made: Not a directory")
    assert status.level == b"\2"
    assert recorder.alive
    assert observer.set("/recorder", "directory", str(tmp_path)).successful
    assert observer.change("/recorder", "configure")
    assert observer.change("/recorder", "activate")
    observer.diagnosis("/recorder", "no publisher yet on /a")


def test_an_existing_bag_is_not_overwritten(tmp_path, start, observer):
    with BagWriter(tmp_path / "bag"):
        pass
    start("recorder", directory=str(tmp_path), name="bag", topics=["/a"])
    observer.diagnosis("/recorder", "exists already; choose another name")


def test_nothing_to_record_is_refused(tmp_path, start, observer):
    start("recorder", directory=str(tmp_path))
    observer.diagnosis("/recorder", "set 'topics', 'regex' or 'all_topics'")


def test_a_full_disk_is_an_error_and_the_node_lives(tmp_path, start, observer):
    sender = publisher(observer, "/chatter")
    # The largest file that the process may write stands for the disk.
    recorder = start(
        "recorder", directory=str(tmp_path), name="bag", topics=["/chatter"], limit_bytes=3_000_000
    )
    observer.spin(matched(sender))
    for _ in range(100):
        sender.publish(String(data="x" * 50_000))
        observer.spin_for(0.005)
    status = observer.diagnosis("/recorder", "bag failed: File too large")
    assert status.level == b"\2"
    observer.spin_for(1.5)
    counts = {key: int(values(observer.diagnostics["/recorder"])[key]) for key in
              ("received", "written", "dropped", "held")}  # fmt: skip
    assert counts["received"] == counts["written"] + counts["dropped"] + counts["held"]
    assert counts["dropped"] > 0
    assert recorder.alive
    code, output = recorder.end()
    assert code == 0, output
    with BagReader(tmp_path / "bag", salvage=True) as bag:
        assert bag.message_count > 20


def test_too_little_free_space_is_an_error_and_the_bag_is_whole(tmp_path, start, observer):
    start("recorder", directory=str(tmp_path), name="bag", topics=["/a"], minimum_free_mb=10**9)
    observer.diagnosis("/recorder", "that are to stay free")
    assert BagReader(tmp_path / "bag").message_count == 0


def test_with_simulated_time_stamps_come_from_clock(tmp_path, start, observer):
    sender = publisher(observer, "/latched", LATCHED)
    sender.publish(String(data="before time began"))
    clock = publisher(observer, "/clock", 1, Clock)
    recorder = start(
        "recorder", directory=str(tmp_path), name="bag", topics=["/latched"], use_sim_time=True
    )
    observer.diagnosis("/recorder", "waiting for /clock")
    message = Clock()
    message.clock.sec = 42
    observer.node.create_timer(0.05, lambda: clock.publish(message))
    observer.spin(recorded(observer, 1))
    recorder.end()
    with BagReader(tmp_path / "bag") as bag:
        (only,) = bag.messages()
        assert only.stamp_ns == 42 * SECOND


def test_each_activation_makes_a_bag_of_its_own(tmp_path, start, observer):
    start("recorder", directory=str(tmp_path / "bags"), topics=["/a"])
    observer.diagnosis("/recorder", "no publisher yet on /a")
    assert observer.change("/recorder", "deactivate")
    time.sleep(1.1)
    assert observer.change("/recorder", "activate")
    assert observer.change("/recorder", "deactivate")
    bags = sorted((tmp_path / "bags").iterdir())
    assert len(bags) == 2
    assert all((bag / "metadata.yaml").exists() for bag in bags)
