"""`sensorium demos`: files that hold what the world showed and what the expert did."""

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed")

from sensorium.cli import main
from sensorium.tabletop import (
    Expert,
    TabletopOptions,
    TabletopWorld,
    read_demonstration,
    read_meta,
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demos") / "set"
    arguments = ["demos", "--episodes", "4", "--seed", "40", "--image-size", "32"]
    assert main([*arguments, "--output", str(folder)]) == 0
    return folder


def test_every_episode_is_a_file_and_an_entry(recorded):
    meta = read_meta(recorded)
    assert [entry["seed"] for entry in meta["episodes"]] == [40, 41, 42, 43]
    assert len({entry["task"] for entry in meta["episodes"]}) == 4
    assert {entry["noise_m"] for entry in meta["episodes"]} == {0.0, 0.006, 0.012}
    for entry in meta["episodes"]:
        assert entry["success"]
        assert entry["instruction"] in meta["tasks"][entry["task"]]
        episode = read_demonstration(recorded / entry["file"])
        rows = entry["rows"]
        assert episode.rgb.shape == (rows, 32, 32, 3)
        assert episode.rgb.dtype == np.uint8
        assert episode.depth_m.shape == (rows, 32, 32)
        assert episode.depth_m.dtype == np.float32
        assert episode.joint_positions_rad.shape == (rows, 7)
        assert episode.action.shape == (rows, 4)
        assert (np.diff(episode.stamps_ns) == meta["control_period_ns"]).all()
        assert np.isfinite(episode.action).all()
        assert np.abs(episode.action[:, :3]).max() < 0.05
        assert set(np.unique(episode.action[:, 3])) <= {0.0, 1.0}


def test_a_file_holds_what_a_world_of_the_same_seed_shows(recorded):
    entry = read_meta(recorded)["episodes"][2]
    episode = read_demonstration(recorded / entry["file"])
    world = TabletopWorld(TabletopOptions(image_width_px=32, image_height_px=32))
    world.reset(entry["seed"], entry["task"], entry["phrase"])
    expert = Expert(world, entry["noise_m"])
    for row in range(entry["rows"]):
        seen = world.observe()
        np.testing.assert_array_equal(seen.rgb, episode.rgb[row])
        np.testing.assert_array_equal(seen.depth_m, episode.depth_m[row])
        np.testing.assert_array_equal(seen.base_from_camera, episode.base_from_camera)
        np.testing.assert_array_equal(seen.intrinsics, episode.intrinsics)
        action = expert.act()
        target = episode.tip_position_m[row] + episode.action[row, :3]
        np.testing.assert_allclose(target, action.target_m, atol=1e-6)
        expert.execute(action)
        world.step()
    assert world.success


def test_replaying_the_clean_actions_from_a_folder_does_the_task(recorded):
    """Of the episode without noise: what is recorded is enough to act on."""
    entry = next(one for one in read_meta(recorded)["episodes"] if one["noise_m"] == 0.0)
    episode = read_demonstration(recorded / entry["file"])
    world = TabletopWorld(TabletopOptions(image_width_px=32, image_height_px=32))
    world.reset(entry["seed"], entry["task"])
    for action in episode.action:
        tip = world.kinematics.forward(world.observe().joint_positions_rad)[:3, 3]
        world.command(world.joints_at(tip + action[:3]), float(action[3]))
        world.step()
    assert world.success


def test_a_folder_that_is_not_empty_is_refused(recorded, capsys):
    assert main(["demos", "--episodes", "1", "--output", str(recorded)]) == 2
    assert "not empty" in capsys.readouterr().err


def test_what_is_no_demonstration_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"meta\.json"):
        read_meta(tmp_path)
    (tmp_path / "meta.json").write_text('{"version": 99}')
    with pytest.raises(ValueError, match="version 99"):
        read_meta(tmp_path)
    (tmp_path / "broken.safetensors").write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"broken\.safetensors"):
        read_demonstration(tmp_path / "broken.safetensors")
