"""The closed loop in lockstep: simulated arm, geometry tokens, policy, guards, arm, over DDS."""

import pytest
from closed_loop_tools import Loop, TouchRed

from sensorium.models.policy import loading as policy_loading
from sensorium.policy.shipped import checkpoint_directory

pytest.importorskip("mujoco", reason="the tabletop world needs mujoco-core")


def test_tokens_in_the_base_frame_lead_the_arm_to_the_red_cube(graph, tmp_path, monkeypatch):
    monkeypatch.setitem(policy_loading._LOADERS, "touch_red", lambda *_: TouchRed())
    (tmp_path / "config.json").write_text('{"type": "touch_red"}')
    loop = Loop(graph, tmp_path)
    # The first observation may have gone out before everybody listened: begin anew.
    results = [loop.episode(seed, "touch_red") for seed in (400_000_001, 400_000_002, 400_000_003)]
    assert sum(result.reason == "task_done" for result in results) >= 2, results
    done = next(result for result in results if result.reason == "task_done")
    assert done.success
    assert done.chunks_rejected == 0
    stamps = [chunk.header.stamp for chunk in loop.chunks if chunk.published]
    assert len({(stamp.sec, stamp.nanosec) for stamp in stamps}) == len(stamps)
    status = graph.status(loop.nodes["tabletop_world"])
    assert status.count("answered") >= done.chunks_published


@pytest.mark.skipif(
    not checkpoint_directory().is_dir(), reason="no checkpoint of the policy geo is shipped"
)
def test_the_shipped_policy_puts_the_red_cube_on_the_tray(graph):
    loop = Loop(graph, "geo_tabletop")
    reasons = []
    for seed in range(400_000_010, 400_000_014):
        reasons.append(loop.episode(seed, "place_red").reason)
        if reasons[-1] == "task_done":
            return
    pytest.fail(f"four episodes ended with {reasons}")
