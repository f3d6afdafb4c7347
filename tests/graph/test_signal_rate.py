"""A signal at 1 kHz through a signal node in a process of its own: nothing is lost on the way."""

import time

import numpy as np
from signal_tools import (
    HOP,
    PERIOD_NS,
    RATE_HZ,
    WINDOW,
    SignalSession,
    imu,
    signal,
    stamp_ns,
    window_scores,
)

SECONDS = 10


def send_at_rate(publisher, count, samples):
    """Publish each sample when it is due, stamped with the time it was due; returns the stamps."""
    start_ns, started_s = time.time_ns(), time.monotonic()
    sent = 0
    while sent < count:
        due = min(count, int((time.monotonic() - started_s) * RATE_HZ) + 1)
        for number in range(sent, due):
            publisher.publish(imu(start_ns + number * PERIOD_NS, samples[number]))
        sent = due
        time.sleep(0.0005)
    return start_ns + PERIOD_NS * np.arange(count)


def test_ten_seconds_at_one_kilohertz_lose_no_sample(graph, tmp_path):
    session = SignalSession(graph, tmp_path, process=True)
    count = SECONDS * RATE_HZ
    samples = signal(count)
    stamps = send_at_rate(session.publisher, count, samples)
    status = session.settled(count)
    assert status.count("contact.used") == count
    assert status.count("contact.filled") == 0
    assert status.count("contact.rejected") == 0
    assert status.count("contact.restarts") == 0
    assert status.count("lost") == 0
    good = [e for e in session.estimates if e.valid]
    assert len(session.estimates) == count // HOP
    assert [stamp_ns(e.window_end) for e in good] == stamps[WINDOW - 1 :: HOP].tolist()
    np.testing.assert_allclose(
        [e.scores for e in good], window_scores(session.network, samples), rtol=0, atol=5e-6
    )
