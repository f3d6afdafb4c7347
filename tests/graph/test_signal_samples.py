"""What becomes of samples in a running signal node: every one is used or counted with a reason."""

import numpy as np
import pytest
from graph_tools import SECOND_NS, wait_until
from sensorium_ros.msg import SignalEstimate
from signal_tools import (
    HOP,
    PERIOD_NS,
    START_NS,
    WINDOW,
    SignalSession,
    signal,
    stamp_ns,
    stamps,
    window_scores,
)
from std_srvs.srv import Trigger

COUNT = 1024


@pytest.fixture
def session(graph, tmp_path):
    return SignalSession(graph, tmp_path)


def of_status(session, status):
    return [e for e in session.estimates if e.status == status]


def accounted(status):
    used, rejected = status.count("contact.used"), status.count("contact.rejected")
    assert status.count("contact.received") == used + rejected
    return used, rejected


def test_estimates_equal_the_window_network_and_name_their_window(session):
    samples = signal(COUNT)
    session.send(stamps(COUNT), samples)
    status = session.settled(COUNT)
    assert accounted(status) == (COUNT, 0)
    warming, good = of_status(session, SignalEstimate.STATUS_WARMING_UP), of_status(session, 0)
    assert len(warming) == WINDOW // HOP - 1
    assert all(not e.valid and not e.scores for e in warming)
    expected = window_scores(session.network, samples)
    np.testing.assert_allclose([e.scores for e in good], expected, rtol=0, atol=5e-6)
    assert [e.hop_index for e in session.estimates] == list(range(COUNT // HOP))
    for number, estimate in enumerate(good):
        assert estimate.valid
        assert estimate.model == "contact"
        assert list(estimate.class_names) == ["free", "contact", "slip"]
        assert estimate.header.frame_id == "imu_link"
        first = START_NS + number * HOP * PERIOD_NS
        assert stamp_ns(estimate.window_start) == first
        assert stamp_ns(estimate.window_end) == first + (WINDOW - 1) * PERIOD_NS
        assert estimate.header.stamp == estimate.window_end


def test_jitter_below_half_a_period_changes_nothing(session):
    samples = signal(COUNT)
    jitter = np.random.default_rng(1).uniform(-0.4, 0.4, COUNT) * PERIOD_NS
    session.send(stamps(COUNT) + jitter.astype(np.int64), samples)
    status = session.settled(COUNT)
    assert accounted(status) == (COUNT, 0)
    assert status.count("contact.filled") == 0
    good = of_status(session, 0)
    np.testing.assert_allclose(
        [e.scores for e in good], window_scores(session.network, samples), rtol=0, atol=5e-6
    )


def test_a_short_gap_is_filled_linearly_and_flagged(session):
    samples = signal(COUNT)
    kept = np.ones(COUNT, bool)
    kept[500:504] = False
    session.send(stamps(COUNT)[kept], samples[kept])
    status = session.settled(COUNT - 4)
    assert status.count("contact.filled") == 4
    assert status.count("contact.restarts") == 0
    filled = samples.copy()
    share = np.arange(1, 5, dtype=np.float32)[:, None] / 5
    filled[500:504] = samples[499] + share * (samples[504] - samples[499])
    good = of_status(session, 0)
    np.testing.assert_allclose(
        [e.scores for e in good], window_scores(session.network, filled), rtol=0, atol=5e-6
    )
    fractions = [round(e.fill_fraction * WINDOW) for e in good]
    windows = np.arange(len(good)) * HOP
    expected = [np.sum(~kept[start : start + WINDOW]) for start in windows]
    assert fractions == expected


def test_a_long_gap_restarts_and_warms_up_again(session):
    samples = signal(2 * COUNT)
    late = np.r_[stamps(COUNT), stamps(COUNT) + (COUNT + 100) * PERIOD_NS]
    session.send(late, samples)
    status = session.settled(2 * COUNT)
    assert status.count("contact.restarts.gap") == 1
    assert status.count("contact.filled") == 0
    second = [e for e in session.estimates if e.restarts == 1]
    assert [e.valid for e in second[: WINDOW // HOP]] == [False] * (WINDOW // HOP - 1) + [True]
    assert second[0].hop_index == 0
    assert stamp_ns(second[0].window_start) == late[COUNT]
    np.testing.assert_allclose(
        [e.scores for e in second if e.valid],
        window_scores(session.network, samples[COUNT:]), rtol=0, atol=5e-6,
    )  # fmt: skip


def test_a_backward_jump_of_the_clock_restarts(session):
    samples = signal(COUNT)
    session.send(np.r_[stamps(512), stamps(512, START_NS - 10 * SECOND_NS)], samples)
    status = session.settled(COUNT)
    assert status.count("contact.restarts.jump_back") == 1
    assert accounted(status) == (COUNT, 0)
    assert {e.restarts for e in session.estimates} == {0, 1}


def test_duplicates_and_late_samples_are_counted_and_change_nothing(session):
    samples = signal(COUNT)
    order = np.r_[0:300, 299, 300:600, 597, 600:COUNT]
    session.send(stamps(COUNT)[order], samples[order])
    status = session.settled(len(order))
    assert accounted(status) == (COUNT, 2)
    assert status.count("contact.rejected.duplicate") == 2
    good = of_status(session, 0)
    np.testing.assert_allclose(
        [e.scores for e in good], window_scores(session.network, samples), rtol=0, atol=5e-6
    )


def test_values_that_are_not_finite_are_counted_and_filled(session):
    samples = signal(COUNT)
    samples[400, 2] = np.nan
    samples[401, 5] = np.inf
    session.send(stamps(COUNT), samples)
    status = session.settled(COUNT)
    assert accounted(status) == (COUNT - 2, 2)
    assert status.count("contact.rejected.not_finite") == 2
    assert status.count("contact.filled") == 2
    assert all(np.isfinite(e.scores).all() for e in session.estimates)


def test_a_wrong_rate_is_refused_and_the_right_one_accepted_again(session):
    half = START_NS + 2 * PERIOD_NS * np.arange(COUNT)
    session.send(half, signal(COUNT))
    status = session.settled(COUNT)
    assert status.level == 2
    assert "500 Hz" in status.message
    assert "1000 Hz" in status.message
    assert status.count("contact.rejected.rate") > COUNT - 100
    assert not any(e.valid for e in session.estimates)
    session.send(stamps(2 * COUNT, int(half[-1]) + PERIOD_NS), signal(2 * COUNT))
    status = session.settled(3 * COUNT)
    assert status.level == 0 or "rate" not in status.message
    assert any(e.valid for e in session.estimates)
    accounted(status)


def test_a_rate_that_changes_while_running_is_refused(session):
    changed = stamps(COUNT)[-1] + 2 * PERIOD_NS * np.arange(1, 2 * COUNT + 1)
    session.send(np.r_[stamps(COUNT), changed], signal(3 * COUNT))
    status = session.settled(3 * COUNT)
    assert status.level == 2
    assert status.count("contact.restarts.rate") == 1
    newest_valid = max(stamp_ns(e.header.stamp) for e in session.estimates if e.valid)
    assert newest_valid < stamps(COUNT)[-1] + WINDOW * PERIOD_NS


def test_a_reset_warms_up_again(session, graph):
    samples = signal(COUNT)
    session.send(stamps(512), samples[:512])
    session.settled(512)
    assert graph.call(Trigger, "/signal/reset", Trigger.Request()).success
    session.send(stamps(COUNT)[512:], samples[512:])
    status = session.settled(COUNT)
    assert status.count("contact.restarts.reset") == 1
    assert session.estimates[-1].restarts == 1


def test_deactivation_forgets_the_signal(session, graph):
    session.send(stamps(512), signal(512))
    session.settled(512)
    assert graph.change(session.node, "deactivate")
    assert graph.change(session.node, "activate")
    wait_until(session.publisher.get_subscription_count, "the node does not subscribe again")
    session.send(stamps(COUNT)[512:], signal(512))
    session.settled(COUNT)
    again = [e for e in session.estimates if e.restarts == 1]
    assert not again[0].valid
    assert again[-1].valid
