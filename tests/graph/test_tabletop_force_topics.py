"""Force signal and contact network over DDS: the expert grasps in lockstep, `holding` rises."""

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed")

from graph_nodes import wait_until
from graph_tools import Graph
from sensorium_ros.msg import SignalBlock, SignalEstimate
from tabletop_tools import STEP_NS, WorldClient, expert_commands

from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.signal_log import SignalLog
from sensorium.tabletop.force import CONTACT_CLASSES, FORCE_CHANNELS

SEED, TASK = 21, "pick_red"
PERIOD_NS = 4_000_000
HOLDING = CONTACT_CLASSES.index("holding")


def test_holding_rises_when_the_expert_has_grasped_and_agrees_with_the_world(ros, tmp_path):
    rows = expert_commands(SEED, TASK)
    with Graph(tmp_path) as graph:
        blocks = graph.collect(SignalBlock, "/tabletop_world/force", depth=1000)
        estimates = graph.collect(SignalEstimate, "/signal/contact", depth=1000)
        log = SignalLog(graph.probe, "/tabletop_world", "/signal/contact")
        signal = graph.host(
            "signal",
            parameters={
                "topic": "tabletop_world/force", "input": "signal_block", "models": ["contact"],
            },
        )  # fmt: skip
        graph.wait_state(signal, "active")
        client = WorldClient(graph, lockstep_timeout_s=60.0, lockstep_steps=2)
        answer = client.reset(SEED, TASK)
        begin = client.wait_state(lambda s: s.episode == answer.episode, "no new episode")
        began_ns = stamp_ns = stamp_from_time(begin.header.stamp)
        for row in range(0, len(rows), 2):
            client.wait_frame(stamp_ns - 1)
            chunk = rows[row : row + 2]
            client.send(stamp_ns, [STEP_NS * (i + 1) for i in range(len(chunk))], chunk)
            stamp_ns += 2 * STEP_NS

        def newest(messages):
            return [m for m in list(messages) if stamp_from_time(m.header.stamp) > began_ns]

        wait_until(
            lambda: (
                newest(estimates)
                and stamp_from_time(newest(estimates)[-1].header.stamp) == stamp_ns
            ),
            "the last step has no estimate",
        )
        wait_until(lambda: log.episode().estimate_s[-1:] == [(stamp_ns - began_ns) / 1e9], "log")
        felt, said = newest(blocks), newest(estimates)

        status = graph.status(signal, lambda s: s.count("contact.received") >= 25 * len(felt))
        assert status.count("contact.rejected") == status.count("contact.filled") == 0
        stamps = [stamp_from_time(block.header.stamp) for block in felt]
        assert stamps == [began_ns + PERIOD_NS + i * STEP_NS for i in range(len(felt))]
        assert all(len(block.samples) == 25 * len(FORCE_CHANNELS) for block in felt)
        valid = [estimate for estimate in said if estimate.valid]
        assert valid[0].scores[HOLDING] < 0.1
        assert valid[-1].scores[HOLDING] > 0.9
        # One estimate per control step, at the very moment of the observation.
        assert all((stamp_from_time(e.header.stamp) - began_ns) % STEP_NS == 0 for e in said)
        strip = log.episode()
        answers = [int(np.argmax(scores)) for scores in strip.scores]
        assert len(answers) == len(valid)
        right = [answer == truth for answer, truth in zip(answers, strip.truth, strict=True)]
        assert np.mean(right) > 0.85
        assert max(strip.force_n) > 10.0


def test_in_real_time_blocks_follow_each_other_without_a_gap_until_a_reset(ros, tmp_path):
    with Graph(tmp_path) as graph:
        blocks = graph.collect(SignalBlock, "/tabletop_world/force", depth=1000)
        truths = graph.collect(SignalBlock, "/tabletop_world/contact_truth", depth=1000)
        client = WorldClient(graph, mode="realtime")
        wait_until(lambda: len(blocks) > 20 and len(truths) > 20, "no forces")
        assert client.reset(SEED, TASK).success
        before = len(blocks)
        wait_until(lambda: len(blocks) > before + 20, "no forces after the reset")
        felt = list(blocks)
    assert felt[0].rate_hz == 250.0
    assert tuple(felt[0].channel_names) == FORCE_CHANNELS
    assert set(felt[0].units) == {"N"}
    assert tuple(truths[0].channel_names) == CONTACT_CLASSES
    first = np.array([stamp_from_time(block.header.stamp) for block in felt])
    counts = np.array([len(block.samples) // len(FORCE_CHANNELS) for block in felt])
    gaps = first[1:] - (first[:-1] + PERIOD_NS * counts[:-1])
    assert (first % PERIOD_NS == 0).all()
    assert np.count_nonzero(gaps) == 1, "one gap: the reset"
    assert gaps.max() >= STEP_NS
