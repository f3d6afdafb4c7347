"""An episode that begins before the nodes have found each other is begun once more, then never."""

import threading

import pytest
import rclpy
from rclpy.action import ActionServer
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from sensorium_ros.action import RunPolicy
from sensorium_ros.msg import WorldState
from sensorium_ros.srv import ResetWorld

from sensorium.ros.episodes import EpisodeClient, EpisodeRequest
from sensorium.ros.qos import qos_profile


class Peers:
    """A world that resets and a policy whose runs end as told, on real topics."""

    def __init__(self, endings):
        self.endings, self.episode = list(endings), 0
        self.node = rclpy.create_node("peers")
        group = ReentrantCallbackGroup()
        self._state = self.node.create_publisher(
            WorldState, "/tabletop_world/state", qos_profile("reliable", 10)
        )
        self.node.create_timer(0.02, self._say, callback_group=group)
        self.node.create_service(
            ResetWorld, "/tabletop_world/reset_world", self._reset, callback_group=group
        )
        self._policy = ActionServer(
            self.node, RunPolicy, "/policy/run", self._run, callback_group=group
        )
        self._executor = MultiThreadedExecutor(2)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def close(self):
        self._executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()

    def _say(self):
        self._state.publish(WorldState(episode=self.episode))

    def _reset(self, _request, answer):
        self.episode += 1
        answer.success, answer.episode, answer.task = True, self.episode, "place_red"
        return answer

    def _run(self, handle):
        reason, chunks = self.endings.pop(0)
        handle.abort()
        return RunPolicy.Result(reason=reason, message="told so", chunks_published=chunks)


@pytest.fixture
def episodes(graph):
    """Makes a client and its peers, which end the runs as told."""
    opened = []

    def make(*endings):
        peers = Peers(endings)
        client = EpisodeClient(rclpy.create_node("client"))
        opened.extend((client, peers))
        client.wait_until_ready(20.0)
        return client, peers

    yield make
    for one in opened:
        one.close()


UNHEARD, CANCELLED = ("observation_missing", 0), ("cancelled", 3)


def test_the_first_episode_is_begun_again_when_no_observation_came(episodes):
    client, peers = episodes(UNHEARD, CANCELLED)
    outcome = client.run(EpisodeRequest(seed=1))
    assert (outcome.reason, outcome.chunks_published, peers.episode) == ("cancelled", 3, 2)


def test_an_observation_that_never_comes_is_reported_and_later_episodes_are_not_repeated(episodes):
    client, peers = episodes(UNHEARD, UNHEARD, UNHEARD)
    assert client.run(EpisodeRequest(seed=1)).reason == "observation_missing"
    assert peers.episode == 2
    assert client.run(EpisodeRequest(seed=2)).reason == "observation_missing"
    assert peers.episode == 3


def test_a_run_that_ended_otherwise_is_not_repeated(episodes):
    client, peers = episodes(("guards_lost", 0))
    assert client.run(EpisodeRequest(seed=1)).reason == "guards_lost"
    assert peers.episode == 1
