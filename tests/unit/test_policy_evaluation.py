"""Trials of a policy: what differs from row to row, and what the table says."""

import json

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the tabletop world needs mujoco-core")

from sensorium.cli import main
from sensorium.models.policy import Feature, FeatureType
from sensorium.policy.evaluation import (
    FIRST_SEED,
    EpisodeResult,
    LibraryLoop,
    success_interval,
    trials,
)
from sensorium.policy.evaluation_report import Report
from sensorium.policy.evaluation_rows import COMPARED, ROWS, chosen_rows, trial
from sensorium.policy.paper_table import paper_table

SHAPES = {
    "observation.images.camera": (3, 96, 96),
    "observation.state": (4,),
    "observation.geometry.points": (1024, 3),
    "observation.geometry.features": (1024, 7),
    "observation.geometry.valid": (1024,),
}


class Recorder:
    """A policy that rests and keeps what it saw."""

    action_size, chunk_size = 4, 8

    def __init__(self, **others):
        kinds = {"images": FeatureType.VISUAL, "state": FeatureType.STATE}
        self.input_features = {
            name: Feature(name, kinds.get(name.split(".")[1], FeatureType.ENV), shape)
            for name, shape in {**SHAPES, **others}.items()
        }
        self.seen = []

    def reset(self):
        self.seen.clear()

    def predict_action_chunk(self, observation):
        self.seen.append(observation)
        return np.tile(np.array([0.0, 0.0, 0.0, 1.0], np.float32), (8, 1))


def first_observation(name):
    row = chosen_rows([name])[0]
    policy = Recorder()
    loop = LibraryLoop(policy, row, 8)
    result = loop.run(trial(row, 0, FIRST_SEED))
    return policy.seen[0], result, len(policy.seen)


def test_a_policy_that_rests_never_succeeds_and_is_asked_every_eighth_step():
    seen, result, asked = first_observation("geometry")
    assert (result.success, result.steps, asked) == (False, 100, 13)
    assert seen["task"] == result.instruction
    assert {name: np.shape(seen[name]) for name in SHAPES if "images" not in name} == {
        name: shape for name, shape in SHAPES.items() if "images" not in name
    }


def test_rows_change_the_tokens_as_they_say():
    plain = first_observation("geometry")[0]
    points, valid = plain["observation.geometry.points"], plain["observation.geometry.valid"]
    shuffled = first_observation("shuffled_tokens")[0]["observation.geometry.points"]
    assert not np.array_equal(shuffled, points)
    np.testing.assert_array_equal(np.sort(shuffled[:, 0]), np.sort(points[:, 0]))
    assert valid.any()
    assert not first_observation("no_depth")[0]["observation.geometry.valid"].any()
    moved = first_observation("no_pose")[0]["observation.geometry.points"]
    assert np.abs(moved - points).max() > 0.01


def test_the_wrong_instruction_names_another_cube_and_the_judged_task_stays():
    row = chosen_rows(["wrong_instruction"])[0]
    for number in range(24):
        one = trial(row, number, FIRST_SEED)
        assert one.task.color not in one.instruction.split()


def test_held_out_sentences_are_never_those_of_training():
    for name in ("geometry", "held_out_paraphrases"):
        row = chosen_rows([name])[0]
        for number in range(24):
            one = trial(row, number, FIRST_SEED)
            assert (one.instruction in one.task.phrases) == (name == "geometry")


def test_seeds_outside_of_the_reserved_ones_are_refused():
    with pytest.raises(ValueError, match="evaluation seeds begin"):
        trials(ROWS[0], 1, 0)


def test_an_unknown_row_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="held_out_paraphrases"):
        chosen_rows(["geometri"])


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [(0, 10, 0.0, 0.2775), (8, 10, 0.4902, 0.9433), (120, 150, 0.7288, 0.8562)],
)
def test_the_interval_is_wilsons(successes, episodes, low, high):
    assert success_interval(successes, episodes) == pytest.approx((low, high), abs=2e-4)


def results(name, outcomes, first=0):
    return [
        EpisodeResult(name, first + i, "pick_red", 0, "pick up the red cube", done, 20 + i)
        for i, done in enumerate(outcomes)
    ]


def test_a_report_replaces_its_row_and_keeps_the_others(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    report = Report(tmp_path / "policy.json", "a test")
    for name, outcomes in (("a", [True]), ("b", [False]), ("a", [True, False])):
        made = results(name, outcomes)
        report.add(made, tmp_path, {"first_seed": 5})
    table = json.loads((tmp_path / "policy.json").read_text())
    assert [(row["name"], row["success"], row["episodes"]) for row in table["rows"]] == [
        ("a", 0.5, 2), ("b", 0.0, 1),
    ]  # fmt: skip
    assert len(table["rows"][0]["weights_sha256"]) == 64
    lines = (tmp_path / "policy_episodes.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in lines] == ["b", "a", "a"]
    assert {"seed", "task", "phrase", "success", "steps"} <= json.loads(lines[0]).keys()


def test_a_row_may_be_measured_in_parts(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    report = Report(tmp_path / "policy.json", "a test")
    report.add(results("a", [True, True]), tmp_path, {})
    assert report.add(results("a", [False, False], first=2), tmp_path, {})["success"] == 0.5
    assert report.add(results("a", [False], first=1), tmp_path, {})["success"] == 0.25
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert report.add(results("a", [True], first=9), tmp_path, {})["episodes"] == 1
    assert len((tmp_path / "policy_episodes.jsonl").read_text().splitlines()) == 1


def test_the_row_with_more_episodes_is_shown_and_the_graph_where_both_have_as_many(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    path = tmp_path / "policy.json"
    shown = []
    for how, through_ros, outcomes in (
        ("process", False, [True, True]), ("graph", True, [True]), ("graph", True, [True, False]),
    ):  # fmt: skip
        made = results("a", outcomes)
        Report(path, how, through_ros=through_ros).add(made, tmp_path, {})
        rows = json.loads(path.read_text())["rows"]
        shown.append([(row["how"], row["success"]) for row in rows])
    assert shown == [[("process", 1.0)], [("process", 1.0)], [("graph", 0.5)]]
    table = json.loads(path.read_text())
    assert [row["success"] for row in table["rows_one_process"]] == [1.0]
    lines = (tmp_path / "policy_episodes.jsonl").read_text().splitlines()
    assert [json.loads(line)["how"] for line in lines] == ["process", "process", "graph", "graph"]


def test_a_wrong_pose_is_refused_through_ros(tmp_path, capsys):
    arguments = ["--rows", "no_pose", "--through-ros", "--checkpoint", str(tmp_path)]
    output = ["--output", str(tmp_path / "policy.json"), "--episodes", "1"]
    assert main(["evaluate", "policy", *arguments, *output]) == 2
    assert "without --through-ros" in capsys.readouterr().err


def test_pooled_tokens_are_made_of_what_the_world_shows_and_of_nothing_else():
    shown = []

    def pooler(rgb, depth_m, intrinsics):
        shown.append((rgb, depth_m, intrinsics))
        return np.full((1, 5), 0.25, np.float32)

    policy = Recorder(**{"observation.geometry.global": (5,)})
    row = chosen_rows(["omnivggt_rgbd"])[0]
    LibraryLoop(policy, row, 8, pooler).run(trial(row, 0, FIRST_SEED))
    np.testing.assert_array_equal(policy.seen[0]["observation.geometry.global"], np.full(5, 0.25))
    rgb, depth_m, intrinsics = shown[0]
    np.testing.assert_array_equal(rgb[0], policy.seen[0]["observation.images.camera"])
    assert (depth_m.shape, intrinsics.shape) == ((1, 96, 96), (1, 3, 3))
    with pytest.raises(ValueError, match="needs a pooler"):
        LibraryLoop(policy, row, 8)
    with pytest.raises(ValueError, match="changes the tokens of a bank"):
        LibraryLoop(policy, chosen_rows(["no_depth"])[0], 8, pooler)


def test_rows_of_the_comparison_need_their_checkpoints(tmp_path, capsys):
    output = ["--output", str(tmp_path / "policy.json"), "--episodes", "1"]
    assert main(["evaluate", "policy", "--rows", "rgb", *output]) == 2
    assert "no_geometry.yaml and give --checkpoint-of rgb=FOLDER" in capsys.readouterr().err
    given = ["--checkpoint-of", f"geometri={tmp_path}"]
    assert main(["evaluate", "policy", "--rows", "rgb", *given, *output]) == 2
    assert "point_cloud" in capsys.readouterr().err


def compared(name, success, steps):
    skills = {"pick": "1/2", "place": "0/2", "touch": "2/2"}
    record = {"weights_sha256": "f" * 64, "input_width_px": 112, "input_height_px": 84,
              "pooling": "max", "rows": 6, "columns": 8, "channels": 384}  # fmt: skip
    return {
        "name": name, "success": success, "ci95": [0.1, 0.9], "episodes": 6, "skills": skills,
        "training": {"trained_steps": steps}, "meaning": f"meaning of {name}", "how": "a test",
        "weights_sha256": "a" * 64, "date": "today", "command": "sensorium evaluate policy",
        **({"pooled_tokens": record} if name.startswith("omnivggt") else {}),
    }  # fmt: skip


def test_the_paper_table_has_the_rows_in_the_papers_order_with_intervals_and_steps():
    rows = [compared(name, 0.5, 7000) for name in reversed(COMPARED)]
    page = paper_table({"rows": [compared("geometry", 0.9, 1), *rows]})
    lines = [line for line in page.splitlines() if line.startswith("| RGB")]
    assert len(lines) == 4
    assert lines[0] == "| RGB | 50.0 % | 10.0 to 90.0 | 6 | 2/2 | 1/2 | 0/2 | 7000 |"
    assert ["RGB-D" in line for line in lines] == [False, False, False, True]
    assert "point cloud" in lines[1]
    assert "max of 6 x 8 tokens of 384 values" in page
    assert "different numbers of steps" not in page


def test_the_paper_table_says_what_it_lacks(tmp_path):
    page = paper_table({"rows": [compared("rgb", 0.5, 10), compared("point_cloud", 0.5, 20)]})
    assert "different numbers of steps" in page
    assert "Not measured: RGB + OmniVGGT-small, RGB only" in page
    with pytest.raises(ValueError, match="--rows rgb,point_cloud"):
        paper_table({"rows": [compared("geometry", 0.5, 10)]})
