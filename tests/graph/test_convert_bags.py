"""A recording of the closed loop becomes a training set of exactly what the live node was shown."""

import json

import numpy as np
import pytest
from closed_loop_tools import Loop, TouchRed
from graph_nodes import wait_until

from sensorium.cli import main
from sensorium.models.policy import loading as policy_loading
from sensorium.policy.dataset import TrainingSet
from sensorium.share import share_directory

pytest.importorskip("mujoco", reason="the tabletop world needs mujoco-core")

TOPICS = [
    "/clock", "/tf", "/joint_states", "/robot_description", "/camera/rgbd", "/geometry/tokens",
    "/geometry/tokens_info", "/tabletop_world/state", "/tabletop_world/joint_trajectory",
]  # fmt: skip
CONTRACT = share_directory() / "config" / "contracts" / "tabletop.yaml"
PERIOD_NS = 100_000_000
STATE, IMAGE = "observation.state", "observation.images.camera"


class Remembering(TouchRed):
    """Keeps every observation that the node shows it."""

    def __init__(self):
        self.seen = []

    def predict_action_chunk(self, observation):
        self.seen.append(observation)
        return super().predict_action_chunk(observation)


def hears(graph, topic):
    infos = graph.probe.get_subscriptions_info_by_topic(topic)
    return any(info.node_name == "recorder" for info in infos)


@pytest.fixture
def recorded(graph, tmp_path, monkeypatch):
    """A bag of one or more episodes, and what the policy was shown."""
    policy = Remembering()
    monkeypatch.setitem(policy_loading._LOADERS, "touch_red", lambda *_: policy)
    (tmp_path / "config.json").write_text('{"type": "touch_red"}')
    recorder = graph.host(
        "recorder", parameters={"directory": str(tmp_path), "name": "bag", "topics": TOPICS}
    )
    graph.wait_state(recorder, "active")
    loop = Loop(graph, tmp_path, lockstep_steps=1)
    wait_until(
        lambda: all(hears(graph, topic) for topic in TOPICS), "the recorder does not hear all"
    )
    reasons = []
    while reasons.count("task_done") < 1 and len(reasons) < 3:
        reasons.append(loop.episode(400_000_001 + len(reasons), "touch_red").reason)
    assert "task_done" in reasons, reasons
    assert graph.change(recorder, "deactivate")
    return tmp_path / "bag", {moment(observation): observation for observation in policy.seen}


def moment(observation):
    """What tells one observation from another: where the arm was, and what the camera saw."""
    return tuple(np.asarray(observation[name]).tobytes() for name in (STATE, IMAGE))


def test_every_array_of_a_converted_row_is_what_the_live_node_showed_the_policy(recorded, capsys):
    bag, shown = recorded
    output = bag.parent / "set"
    arguments = [
        "convert-bags", str(bag), "--contract", str(CONTRACT), "--output", str(output),
        "--episodes-from", "tabletop_world/state", "--lockstep",
    ]  # fmt: skip
    assert main(arguments) == 0, capsys.readouterr()
    said = capsys.readouterr().out
    stamps = np.load(output / "stamps_ns.npy").tolist()
    arrays = {name: np.load(output / f"{name}.npy") for name in TouchRed.input_features}
    rows = [{name: array[i] for name, array in arrays.items()} for i in range(len(stamps))]
    common = [row for row in rows if moment(row) in shown]
    # The last observations of an episode have no command after them.
    assert len(common) >= 8, (said, len(shown))
    assert len(common) >= len(stamps) - 3, said
    for row in common:
        for name, converted in row.items():
            live = np.asarray(shown[moment(row)][name])
            assert converted.dtype == live.dtype
            np.testing.assert_array_equal(converted, live, err_msg=name)
    data = TrainingSet(output)
    assert data.instructions == [sorted({str(shown[moment(row)]["task"]) for row in common})]
    left = np.asarray(data.arrays["steps_left"])
    assert (np.diff(stamps)[left[:-1] > 0] == PERIOD_NS).all()
    tip = np.asarray(data.arrays["observation.state"])[:, :3]
    # The arm follows what was commanded, a little behind it.
    motion, gripper, mask = data.chunks(np.array([0]), 4)
    aim, came = motion[0, 0], tip[1] - tip[0]
    assert np.linalg.norm(aim - came) < 0.03
    assert aim @ came > 0
    assert mask[0].all()
    assert not gripper.any()
    meta = json.loads((output / "meta.json").read_text())
    assert meta["action_names"] == ["tip_x [m]", "tip_y [m]", "tip_z [m]", "gripper [0..1]"]
    seen_at = np.asarray(data.arrays["keyframe_cell"])
    assert (seen_at < 32 * 32).all()
    assert (seen_at >= 0).any()
