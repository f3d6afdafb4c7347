"""What is typed into the page reaches the other nodes, and their answers reach the page."""

import threading
import time

import pytest
from graph_nodes import wait_until
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from segmentation_tools import SegmentationSession, image, make_checkpoint
from sensorium_ros.action import RunPolicy
from viewer_tools import need_browser, opened, start_viewer

# The scene is a narrow strip beside the panel.
PANEL_ONLY = (500, 400)
HOSTILE = "<img src=x onerror=window.hacked=1>"


@pytest.fixture(autouse=True)
def _browser():
    need_browser()


def test_a_vocabulary_typed_into_the_page_changes_the_labels(graph, tmp_path):
    checkpoint, _ = make_checkpoint(tmp_path / "weights")
    session = SegmentationSession(graph, checkpoint, tmp_path)
    node = start_viewer(graph)
    with opened(node, PANEL_ONLY) as browser:
        stamps = iter(range(1_700_000_000_000_000_000, 2**62, 1_000_000_000))

        def labels():
            session.publisher.publish(image(next(stamps)))
            return browser.evaluate(
                "[...document.querySelectorAll('[data-class]')].map(e => e.innerText.slice(2))"
            )

        wait_until(
            lambda: labels() == ["mug", "robot arm", "dog", "floor", "blue wall"],
            "the page does not show the first class list", 60.0,
        )  # fmt: skip
        browser.write("classes", f"cat; sofa,couch; {HOSTILE}")
        browser.click("Use these classes")
        browser.wait_text("version 2 after", 60.0)
        wait_until(
            lambda: labels() == ["cat", "sofa", HOSTILE], "the labels stay as they were", 60.0
        )
        assert session.node.node.configuration.vocabulary == ("cat", "sofa,couch", HOSTILE)
        assert browser.evaluate("window.hacked === undefined"), "a name became markup"
        browser.write("classes", "cup; plate; Cup")
        browser.click("Use these classes")
        browser.wait_text("refused: the name 'Cup' occurs twice", 60.0)
        assert labels() == ["cat", "sofa", HOSTILE]


def test_an_instruction_is_sent_followed_and_cancelled(graph):
    node = start_viewer(graph)
    with opened(node, PANEL_ONLY) as browser:
        browser.write("instruction", "put the red cube on the tray")
        browser.click("Send instruction")
        browser.wait_text("there is no action /policy/run", 60.0)
        with PolicyDouble() as policy:
            wait_until(node.node._commands._policy.server_is_ready, "the action is not found")
            browser.click("Send instruction")
            browser.wait_text("dry_run, 1.5 s, 3 chunks sent, 1 rejected (velocity)", 60.0)
            assert policy.instructions == ["put the red cube on the tray"]
            browser.click("Cancel")
            browser.wait_text("cancelled after 2.0 s: stopped by a request", 60.0)
            browser.write("instruction", "refuse this")
            browser.click("Send instruction")
            browser.wait_text("the policy refused the instruction", 60.0)


class PolicyDouble:
    """A policy that runs until it is cancelled."""

    def __init__(self):
        self.instructions = []
        self._node = Node("policy")
        self._server = ActionServer(
            self._node, RunPolicy, "policy/run", self._execute,
            goal_callback=lambda goal: (
                GoalResponse.REJECT if "refuse" in goal.instruction else GoalResponse.ACCEPT
            ),
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )  # fmt: skip
        self._executor = MultiThreadedExecutor(3)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self._node is not None:
            self._executor.shutdown()
            self._thread.join(10.0)
            self._server.destroy()
            self._node.destroy_node()
            self._node = None

    def _execute(self, goal):
        self.instructions.append(goal.request.instruction)
        state = RunPolicy.Feedback(
            state="dry_run", elapsed_s=1.5, chunks_published=3, chunks_rejected=1,
            last_rejection="velocity",
        )  # fmt: skip
        while not goal.is_cancel_requested:
            goal.publish_feedback(state)
            time.sleep(0.1)
        goal.canceled()
        return RunPolicy.Result(
            success=False, reason="cancelled", message="stopped by a request", seconds=2.0
        )
