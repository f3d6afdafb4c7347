"""From topics to the policy's features: what it sees was sent, and nothing foreign gets in."""

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from graph_nodes import wait_until
from graph_tools import ORIGIN
from policy_tools import Operator
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState, PointCloud2
from sensorium_ros.msg import ActionChunk, SignalEstimate, TokensInfo

from sensorium.models.policy import Feature, FeatureType, load_policy
from sensorium.models.policy import loading as policy_loading
from sensorium.ros.convert.compressed import compressed_from_color
from sensorium.ros.convert.header import header
from sensorium.ros.convert.image import image_from_color
from sensorium.ros.convert.pointcloud import cloud_from_points
from sensorium.ros.qos import qos_profile

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from policy_checkpoint import UNMOVED, VARIANTS, write_act_checkpoint

JOINTS = [f"j{i}" for i in range(5)]
POSITIONS = np.array([UNMOVED, 0.3, -0.2, 0.6, 0.1])
INSTRUCTION = "put the cube on the tray"
RANDOM = np.random.default_rng(7)
WRIST = RANDOM.integers(0, 256, (61, 75, 3), np.uint8)
FRONT = np.repeat(np.repeat(RANDOM.integers(0, 256, (48, 96, 3), np.uint8), 2, 0), 2, 1)
AGES = {"max_age_s": 2.0, "max_silence_s": 2.0}


class Rig:
    """Publishes joint states and cameras at 20 Hz, and whatever is added, with stamps of now."""

    def __init__(self):
        self.node = Node("rig")
        self._sending = []
        self.add(JointState, "joint_states", self._joints)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def add(self, message_type, topic, make, qos="reliable"):
        publisher = self.node.create_publisher(message_type, topic, qos_profile(qos))
        self._sending.append((publisher, make))

    def stop(self):
        self._ending.set()
        self._thread.join(5.0)
        self.node.destroy_node()

    def _joints(self, stamp_ns):
        # In another order, with a joint that nobody reads.
        names, positions = [*JOINTS[::-1], "lift"], [*POSITIONS[::-1].tolist(), 9.0]
        return JointState(header=header(stamp_ns, ""), name=names, position=positions)

    def _publish(self):
        while not self._ending.wait(0.05):
            stamp_ns = time.time_ns()
            for publisher, make in list(self._sending):
                publisher.publish(make(stamp_ns))


def contract(folder, observations, joints=4):
    path = folder / "contract.yaml"
    content = {
        "general": {"rate_hz": 10.0, "max_skew_s": 1.0, "base_frame": "base"},
        "joint_states": AGES,
        "observations": observations,
        "action": {"type": "joint_positions", "joints": JOINTS[:joints]},
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def dry_policy(graph, checkpoint, contract_path, joints=4, **parameters):
    """Host guards in a dry run and the policy."""
    guards = {
        "joints": JOINTS[:joints], "limits.source": "parameters", "guards.max_state_age_s": 2.0,
        "guards.watchdog_s": 10.0, "guards.max_clock_step_s": 10.0,
        "limits.lower": [-9.0] * joints, "limits.upper": [9.0] * joints,
        "limits.velocity": [9.0] * joints, "limits.acceleration": [9.0] * joints,
    }  # fmt: skip
    graph.wait_state(graph.host("policy_guard", parameters=guards), "active")
    settings = {
        "checkpoint": str(checkpoint), "contract": contract_path, "threads": 1,
        "run.observation_patience_s": 3.0, **parameters,
    }  # fmt: skip
    node = graph.host("policy", parameters=settings)
    graph.wait_state(node, "active")
    return node


def select(names):
    return {"type": "joint_state", "select": [f"position.{name}" for name in names]}


def test_a_lerobot_checkpoint_sees_what_the_topics_say(graph, tmp_path):
    directory = write_act_checkpoint(tmp_path / "act", VARIANTS["two_cameras"])
    rig = graph.manage(Rig())
    rig.add(Image, "front", lambda stamp_ns: image_from_color(FRONT, stamp_ns, "front"))
    rig.add(
        CompressedImage,
        "wrist",
        lambda stamp_ns: compressed_from_color(WRIST, stamp_ns, "w", "png"),
    )
    observations = {
        "observation.images.front": {
            "type": "image", "topic": "front", "size_px": [48, 96], **AGES,
        },
        "observation.images.wrist": {"type": "compressed_image", "topic": "wrist", **AGES},
        "observation.state": select(JOINTS),
        "observation.environment_state": select(JOINTS[1:4]),
    }  # fmt: skip
    chunks = graph.collect(ActionChunk, "/policy/chunk")
    dry_policy(graph, directory, contract(tmp_path, observations))
    operator = graph.manage(Operator())
    goal = operator.give(INSTRUCTION, 20.0)
    wait_until(lambda: chunks, lambda: graph.status("/policy"))
    goal.cancel()
    assert goal.result().reason == "cancelled"
    expected = load_policy(directory).predict_action_chunk(
        {
            "observation.images.front": FRONT[::2, ::2],
            "observation.images.wrist": WRIST,
            "observation.state": POSITIONS.astype(np.float32),
            "observation.environment_state": POSITIONS[1:4].astype(np.float32),
            "task": INSTRUCTION,
        }
    )
    chunk = chunks[0]
    np.testing.assert_allclose(np.array(chunk.actions), expected.reshape(-1), atol=1e-5)
    assert (chunk.policy, chunk.instruction, chunk.rate_hz) == ("act", INSTRUCTION, 10.0)
    assert len(chunk.weights_sha256) == 64
    assert not chunk.published


class TokenReader:
    """Needs tokens and the scores of a signal; keeps what it saw."""

    action_size, chunk_size = 2, 3

    def __init__(self):
        self.seen = []
        self.input_features = {
            name: Feature(name, FeatureType.ENV, shape)
            for name, shape in (
                ("observation.geometry.points", (8, 3)),
                ("observation.geometry.features", (8, 2)),
                ("observation.geometry.valid", (8,)),
                ("observation.signals.contact", (2,)),
            )
        }

    def reset(self):
        pass

    def predict_action_chunk(self, observation):
        self.seen.append(observation)
        return np.tile(POSITIONS[:2].astype(np.float32), (3, 1))


def test_tokens_come_in_the_base_frame_and_foreign_ones_are_refused(graph, tmp_path, monkeypatch):
    reader = TokenReader()
    monkeypatch.setitem(policy_loading._LOADERS, "reader", lambda *_: reader)
    (tmp_path / "config.json").write_text('{"type": "reader"}')
    base_from_camera = ORIGIN.copy()
    base_from_camera[:3, 3] = 0.5, 0.0, 1.0
    graph.static_transform("base", "camera", base_from_camera)
    xyz = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    xyz[0, 1] = np.nan
    features = np.ones((2, 4, 2), np.float32)
    layout = TokensInfo(backend="sensor", rows=2, columns=4, channels=2)
    rig = graph.manage(Rig())
    rig.add(
        PointCloud2, "tokens",
        lambda stamp_ns: cloud_from_points(xyz, stamp_ns, "camera", features=features),
    )  # fmt: skip
    rig.add(TokensInfo, "tokens_info", lambda _: layout, "transient_local")
    rig.add(
        SignalEstimate, "contact",
        lambda stamp_ns: SignalEstimate(
            header=header(stamp_ns, ""), class_names=["no", "yes"], scores=[0.25, 0.75], valid=True
        ),
    )  # fmt: skip
    bank = {"type": "tokens", "topic": "tokens", "rows": 2, "columns": 4, "channels": 2, **AGES}
    observations = {
        "observation.geometry": bank,
        "observation.signals.contact": {
            "type": "signal_estimate", "topic": "contact", "classes": ["no", "yes"],
        },
    }  # fmt: skip
    dry_policy(graph, tmp_path, contract(tmp_path, observations, joints=2), joints=2)
    operator = graph.manage(Operator())
    goal = operator.give("look", 20.0)
    wait_until(lambda: reader.seen, lambda: graph.status("/policy"))
    goal.cancel()
    goal.result()
    seen = reader.seen[0]
    assert seen["task"] == "look"
    points = xyz.reshape(-1, 3) + np.array([0.5, 0.0, 1.0])
    points[1] = 0.0
    np.testing.assert_allclose(seen["observation.geometry.points"], points)
    np.testing.assert_array_equal(seen["observation.geometry.valid"], [1, 0, 1, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(seen["observation.signals.contact"], [0.25, 0.75])
    layout.backend = "omnivggt"
    graph.status("/policy", lambda status: status.count("rejected.input_refused") > 0)
    result = operator.give("look", 20.0).result()
    assert result.reason == "observation_stale"
    assert "tokens with backend 'omnivggt', the policy was trained on 'sensor'" in result.message


def test_a_contract_that_does_not_fit_the_checkpoint_is_refused_at_configure(graph, tmp_path):
    directory = write_act_checkpoint(tmp_path / "act", VARIANTS["two_cameras"])
    path = contract(tmp_path, {"observation.state": select(JOINTS[:3])})
    node = graph.host("policy", parameters={"checkpoint": str(directory), "contract": path})
    text = wait_until(lambda: node.node.last_failure, "it configured")
    assert "the policy needs 'observation.images.wrist'" in text
    assert "'observation.state' has shape (3,) by the contract, (5,) for the policy" in text
    assert graph.state(node) == "unconfigured"


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "'checkpoint' ('')"),
        ({"checkpoint": "/nowhere", "contract": "contracts/example.yaml"}, "'/nowhere' does not"),
        ({"checkpoint": "/nowhere", "contract": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_a_missing_checkpoint_or_contract_is_named(graph, parameters, text):
    node = graph.host("policy", parameters=parameters)
    failure = wait_until(lambda: node.node.last_failure, "it configured")
    assert text in failure
