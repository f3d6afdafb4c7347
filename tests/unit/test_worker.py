import threading

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
from sensorium.ros.worker import NewestOnlyWorker


def ignore(_item, _error):
    pass


def test_a_slow_worker_takes_the_newest_and_counts_what_it_skipped():
    gate, entered, seen = threading.Event(), threading.Event(), []

    def work(item):
        seen.append(item)
        entered.set()
        gate.wait(10)

    worker = NewestOnlyWorker("test", work, ignore)
    worker.start()
    worker.submit(0)
    assert entered.wait(10)
    for item in range(1, 6):
        worker.submit(item)
    gate.set()
    assert worker.wait_idle(10)
    assert seen == [0, 5]
    counts = worker.counts
    assert (counts.received, counts.processed, counts.superseded) == (6, 2, 4)
    assert worker.stop()


def test_items_of_different_keys_do_not_supersede_each_other():
    gate, entered, seen = threading.Event(), threading.Event(), []

    def work(item):
        entered.set()
        gate.wait(10)
        seen.append(item)

    worker = NewestOnlyWorker("test", work, ignore)
    worker.start()
    worker.submit("first")
    assert entered.wait(10)
    for item in ("wrist 1", "scene 1", "wrist 2"):
        worker.submit(item, key=item.split()[0])
    gate.set()
    assert worker.wait_idle(10)
    assert seen == ["first", "scene 1", "wrist 2"]
    worker.stop()


def test_a_failure_is_reported_and_the_worker_goes_on():
    errors = []
    worker = NewestOnlyWorker("test", lambda i: 1 / i, lambda i, e: errors.append((i, type(e))))
    worker.start()
    worker.submit(0)
    assert worker.wait_idle(10)
    worker.submit(1)
    assert worker.wait_idle(10)
    assert errors == [(0, ZeroDivisionError)]
    assert (worker.counts.failed, worker.counts.processed) == (1, 1)
    worker.stop()


def test_it_can_be_stopped_and_started_again_with_every_item_accounted_for():
    worker = NewestOnlyWorker("test", lambda _: None, ignore)
    worker.start()
    for item in range(50):
        worker.submit(item)
    assert worker.stop()
    worker.start()
    worker.submit(50)
    assert worker.wait_idle(10)
    worker.stop()
    counts = worker.counts
    assert counts.received == counts.processed + counts.superseded == 51
    assert counts.held == 0
