"""Bag time follows steady time with rate, pause, end and jumps."""

import threading

from sensorium.bags import PlaybackTimeline

SECOND = 1_000_000_000


class Steady:
    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


def test_bag_time_stands_until_started_and_ends_at_the_end() -> None:
    steady = Steady()
    timeline = PlaybackTimeline(steady_ns=steady)
    timeline.place(100 * SECOND)
    steady.now += SECOND
    assert timeline.now_ns == 100 * SECOND
    timeline.start(100 * SECOND, 103 * SECOND)
    steady.now += 2 * SECOND
    assert timeline.now_ns == 102 * SECOND
    steady.now += 2 * SECOND
    assert timeline.now_ns == 103 * SECOND


def test_rate_changes_apply_from_now_on() -> None:
    steady = Steady()
    timeline = PlaybackTimeline(rate=2.0, steady_ns=steady)
    timeline.start(0, 100 * SECOND)
    steady.now += 3 * SECOND
    timeline.set_rate(0.5)
    steady.now += 2 * SECOND
    assert timeline.now_ns == 7 * SECOND


def test_a_pause_takes_no_bag_time() -> None:
    steady = Steady()
    timeline = PlaybackTimeline(steady_ns=steady)
    timeline.start(0, 100 * SECOND)
    steady.now += SECOND
    timeline.pause()
    steady.now += 50 * SECOND
    timeline.pause()
    assert timeline.now_ns == SECOND
    timeline.resume()
    timeline.resume()
    steady.now += SECOND
    assert timeline.now_ns == 2 * SECOND
    assert not timeline.paused


def test_a_loop_jumps_back() -> None:
    steady = Steady()
    timeline = PlaybackTimeline(steady_ns=steady)
    timeline.start(10 * SECOND, 20 * SECOND)
    steady.now += 30 * SECOND
    timeline.start(10 * SECOND, 20 * SECOND)
    assert timeline.now_ns == 10 * SECOND


def test_lateness_is_in_steady_seconds() -> None:
    steady = Steady()
    timeline = PlaybackTimeline(rate=2.0, steady_ns=steady)
    timeline.start(0, 10 * SECOND)
    steady.now += 3 * SECOND
    assert timeline.lateness_s(4 * SECOND) == 1.0
    assert timeline.lateness_s(8 * SECOND) == 0.0


def test_waiting_ends_when_time_has_come_or_when_cancelled() -> None:
    timeline = PlaybackTimeline(rate=10.0)
    timeline.start(0, SECOND)
    assert timeline.wait_until(SECOND // 10)
    assert timeline.now_ns >= SECOND // 10
    assert timeline.wait_until(5 * SECOND), "beyond the end, waiting ends at the end"
    timeline.pause()
    threading.Timer(0.05, timeline.cancel).start()
    assert not timeline.wait_until(0)
