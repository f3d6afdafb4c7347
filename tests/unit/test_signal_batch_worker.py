"""The worker of the signal node: everything in order; past a limit all at once, and it says so."""

from __future__ import annotations

import threading
import time

import pytest

from sensorium.ros.batch_worker import BatchWorker


class Work:
    """Notes batches; can be held up."""

    def __init__(self, max_backlog_s=60.0, fails=()):
        self.batches = []
        self.errors = []
        self.free = threading.Event()
        self.free.set()
        self.fails = fails
        self.worker = BatchWorker("test", self.take, self.errors.append, max_backlog_s)
        self.worker.start()

    def take(self, items, dropped):
        self.free.wait(10.0)
        self.batches.append((items, dropped))
        if any(item in self.fails for item in items):
            raise ValueError("no")

    @property
    def items(self):
        return [item for items, _ in self.batches for item in items]


def test_everything_is_worked_off_in_order_before_the_end():
    work = Work()
    for number in range(1000):
        work.worker.submit(number)
    work.worker.stop()
    assert work.items == list(range(1000))
    assert work.worker.dropped == 0


def test_what_waits_is_handed_over_together():
    work = Work()
    work.free.clear()
    for number in range(50):
        work.worker.submit(number)
        time.sleep(0.001)
    work.free.set()
    work.worker.stop()
    assert work.items == list(range(50))
    assert len(work.batches) <= 3


def test_past_the_limit_all_that_waits_is_dropped_and_counted():
    work = Work(max_backlog_s=0.2)
    work.free.clear()
    work.worker.submit("in hand")
    time.sleep(0.05)
    for number in range(5):
        work.worker.submit(number)
    time.sleep(0.3)
    work.worker.submit("newest")
    work.free.set()
    work.worker.stop()
    assert work.batches == [(["in hand"], 0), (["newest"], 5)]
    assert work.worker.dropped == 5


def test_a_failure_is_reported_and_work_goes_on():
    work = Work(fails=("bad",))
    work.worker.submit("bad")
    time.sleep(0.1)
    work.worker.submit("good")
    work.worker.stop()
    assert work.items == ["bad", "good"]
    assert [str(error) for error in work.errors] == ["no"]
    assert work.worker.failed == 1


def test_a_running_worker_is_not_started_again():
    work = Work()
    with pytest.raises(RuntimeError, match="already running"):
        work.worker.start()
    work.worker.stop()
