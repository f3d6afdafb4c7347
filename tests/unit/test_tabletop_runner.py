"""Time of the tabletop world: lockstep waits for the right answer, faults do not end the world."""

import threading
import time

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed")

from sensorium.tabletop import TabletopOptions, TabletopWorld
from sensorium.tabletop.options import CONTROL_PERIOD_NS
from sensorium.tabletop.runner import JointCommand, RunnerSettings, WorldRunner

PATIENCE_S = 30.0
HOLD = np.empty(0, np.int64)


class Running:
    """A runner and what it has published."""

    def __init__(self, observe=None, **settings):
        options = TabletopOptions(image_width_px=16, image_height_px=16)
        self.world = TabletopWorld(options)
        self.observations, self.states, self.errors = [], [], []
        self.news = threading.Condition()
        self.runner = WorldRunner(
            self.world,
            RunnerSettings(**settings),
            publish_state=lambda world: self.note(self.states, world.now_ns),
            publish_observation=observe or (lambda seen: self.note(self.observations, seen)),
            report=lambda error: self.note(self.errors, error),
        )

    def note(self, notes, new):
        with self.news:
            notes.append(new)
            self.news.notify_all()

    def wait(self, condition):
        with self.news:
            assert self.news.wait_for(condition, PATIENCE_S)

    def answer(self, stamp_ns):
        self.runner.command(JointCommand(stamp_ns, HOLD, np.empty((0, 7)), None))

    def __enter__(self):
        self.runner.start()
        return self

    def __exit__(self, *_):
        self.runner.stop()


def test_in_lockstep_only_the_answer_to_the_observation_lets_time_pass():
    with Running(lockstep=True, lockstep_steps=3, lockstep_timeout_s=PATIENCE_S) as running:
        running.wait(lambda: running.observations)
        first_ns = running.observations[0].stamp_ns
        running.answer(first_ns - CONTROL_PERIOD_NS)
        time.sleep(0.1)
        assert len(running.observations) == 1
        running.answer(first_ns)
        running.wait(lambda: len(running.observations) == 2)
        assert running.observations[1].stamp_ns == first_ns + 3 * CONTROL_PERIOD_NS
        # Stamp 0 is now, which is an answer too.
        running.answer(0)
        running.wait(lambda: len(running.observations) == 3)
        assert (running.runner.answered, running.runner.stale) == (2, 1)
    assert running.runner.timeouts == 0
    assert (np.diff(running.states) == CONTROL_PERIOD_NS).all(), "every step is told of once"


def test_a_reset_ends_the_wait_and_shows_the_new_episode():
    with Running(lockstep=True, lockstep_timeout_s=PATIENCE_S) as running:
        running.wait(lambda: running.observations)
        running.runner.reset(5, "touch_red", 0)
        running.wait(lambda: len(running.observations) == 2)
        first, second = running.observations
        assert second.stamp_ns == first.stamp_ns + CONTROL_PERIOD_NS
        assert not np.allclose(first.base_from_camera, second.base_from_camera)


def test_an_error_in_publishing_is_reported_and_the_world_goes_on():
    def fail(_):
        raise RuntimeError("no subscriber")

    with Running(observe=fail, lockstep=True, lockstep_timeout_s=0.01) as running:
        running.wait(lambda: len(running.errors) > 1)
    assert "no subscriber" in str(running.errors[0])


def test_real_time_observes_once_per_control_period():
    with Running(lockstep=False, speed=50.0) as running:
        running.wait(lambda: len(running.observations) > 3)
    stamps = [seen.stamp_ns for seen in running.observations]
    assert (np.diff(stamps) == CONTROL_PERIOD_NS).all()
    assert len(running.states) > 3 * len(stamps) - 5
