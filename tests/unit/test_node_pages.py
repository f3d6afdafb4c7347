"""Each node has one page in docs/nodes/: complete, linked, with the reasons of its source."""

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from node_pages import DOCS, PAGES, SECTIONS, names, page_text, section, tables

from sensorium.bringup import EXECUTABLES
from sensorium.policy.rejections import Reason

ROOT = DOCS.parent
MARKDOWN = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
# Where a node refuses input: its own file and what it alone imports.
REFUSING = {
    "geometry": ("nodes/geometry.py", "sensorium/geometry/views.py", "sensorium/ros/view_reader.py",
                 "sensorium/geometry/omnivggt_views.py"),
    "rgbd_camera": ("nodes/rgbd_camera.py", "sensorium/ros/topic_source.py",
                    "sensorium/sources/recording.py", "sensorium/sources/realsense.py"),
    "segmentation": ("nodes/segmentation.py", "sensorium/ros/color_input.py"),
    "semantic_cloud": ("nodes/semantic_cloud.py", "sensorium/ros/joined_input.py"),
    "signal": ("sensorium/ros/signal_inputs.py",),
    "policy": ("sensorium/ros/policy_inputs.py",),
    "tabletop_world": ("nodes/tabletop_world.py", "sensorium/ros/trajectory_input.py",
                       "sensorium/ros/gripper_server.py"),
    "viewer": ("sensorium/ros/viewer_feed.py",),
}  # fmt: skip
REFUSAL = re.compile(
    r"(?:_rejections\.add|_refuse|ViewRefused|PictureRefused|SignalRefused|TrajectoryRefused"
    r"|_RejectionError|RejectedFrame\([^\"]*?)\(?\s*\"(\w+)\""
)


def test_every_node_has_a_page_and_every_page_a_node():
    assert {path.stem for path in PAGES.glob("*.md")} == {*EXECUTABLES, "README"}


@pytest.mark.parametrize("node", EXECUTABLES)
def test_a_page_has_every_section_in_order_and_begins_with_what_the_node_does(node):
    text = page_text(node)
    assert text.startswith(f"# {node}\n\n")
    places = [text.index(f"\n## {title}\n") for title in SECTIONS]
    assert places == sorted(places)
    introduction = text.partition("\n## ")[0].partition("\n\n")[2]
    assert 2 <= len(introduction.split("\n\n")[0].splitlines()) <= 3
    assert len(tables(section(text, "Failure modes"))["what happens"]) >= 5


def test_the_index_lists_every_page_and_the_readme_leads_there():
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    for node in EXECUTABLES:
        assert f"[{node}]({node}.md)" in index
    assert "(docs/nodes/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("node", REFUSING)
def test_every_reason_for_which_the_source_refuses_stands_on_the_page(node):
    used = {
        reason for file in REFUSING[node]
        for reason in REFUSAL.findall((ROOT / file).read_text(encoding="utf-8"))
    }  # fmt: skip
    rows = tables(section(page_text(node), "Diagnostics"))["rejected"]
    documented = {name for row in rows for name in names(row[0])}
    assert used
    assert used <= documented


def test_every_rule_of_the_guards_stands_on_a_page():
    text = page_text("policy") + page_text("policy_guard")
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in text] == []


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)", text):
        linked = (path.parent / target).resolve() if target else path
        assert linked.exists(), f"{path.name} leads to {target}, which is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor[1:] in anchors, f"{path.name} leads to {target}{anchor}"
