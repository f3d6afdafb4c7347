import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
from sensorium.ros.sync import Synchronizer

MS = 1_000_000


def collect(slop_ns, additions, topics=("color", "depth"), depth=10):
    sets = []
    sync = Synchronizer(topics, sets.append, slop_ns, depth)
    for topic, stamp in additions:
        sync.add(topic, stamp, (topic, stamp))
    return sync, sets


def test_equal_stamps_match_in_either_order():
    _, sets = collect(0, [("color", 1), ("depth", 1), ("depth", 2), ("color", 2)])
    assert [s["color"][1] for s in sets] == [1, 2]
    assert [s["depth"][1] for s in sets] == [1, 2]


def test_exact_policy_refuses_a_gap_of_one_nanosecond_and_counts_it():
    sync, sets = collect(0, [("color", 10), ("depth", 11), ("color", 20)])
    assert sets == []
    assert sync.counts.unmatched == 1
    assert sync.best_gap_ns == 1


def test_approximate_policy_takes_the_nearest_partner_within_the_slop():
    additions = [("depth", 0), ("depth", 30 * MS), ("color", 25 * MS), ("depth", 60 * MS)]
    _, sets = collect(10 * MS, additions)
    assert [(s["color"][1], s["depth"][1]) for s in sets] == [(25 * MS, 30 * MS)]


def test_a_better_later_partner_is_waited_for():
    _, sets = collect(10 * MS, [("color", 100 * MS), ("depth", 95 * MS), ("depth", 101 * MS)])
    assert sets[0]["depth"][1] == 101 * MS


def test_a_partner_that_comes_second_is_waited_for_although_the_one_before_was_near():
    # 90 Hz with a slop above the period: the used depth of 0 ms is no reason to give up on 11 ms.
    additions = [("color", 0), ("depth", 0), ("color", 11 * MS), ("depth", 11 * MS)]
    _, sets = collect(16 * MS, additions)
    assert [(s["color"][1], s["depth"][1]) for s in sets] == [(0, 0), (11 * MS, 11 * MS)]


def test_a_stamp_that_is_not_newer_is_counted_as_disordered():
    sync, _ = collect(0, [("color", 5), ("color", 5), ("color", 4)])
    assert sync.counts.disordered == 2


def test_the_queues_stay_bounded_when_a_partner_never_comes():
    sync, _ = collect(0, [("color", i) for i in range(100)], depth=4)
    assert sync.counts.held == 4
    assert sync.counts.unmatched == 96


def test_one_topic_is_refused():
    with pytest.raises(ValueError, match="two or more"):
        Synchronizer(["color"], print, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["color", "depth", "info"]), st.integers(0, 60)), max_size=60
    ),
    st.integers(0, 5),
)
def test_every_message_is_accounted_for_and_every_set_lies_within_the_slop(additions, slop_ns):
    sync, sets = collect(slop_ns, additions, ("color", "depth", "info"), depth=3)
    counts = sync.counts
    assert counts.received == len(additions)
    assert counts.received == (counts.matched + counts.unmatched + counts.disordered + counts.held)
    for complete in sets:
        pivot = complete["color"][1]
        assert all(abs(stamp - pivot) <= slop_ns for _, stamp in complete.values())


def test_what_finds_no_partner_is_counted_by_topic_and_one_topic_can_begin_anew():
    sync, sets = collect(0, [("color", 1), ("color", 2), ("depth", 2), ("depth", 3), ("color", 4)])
    assert [s["color"][1] for s in sets] == [2]
    assert (sync.unmatched("color"), sync.unmatched("depth")) == (1, 0)
    assert (sync.newest_ns("color"), sync.newest_ns("depth")) == (4, 3)
    sync.forget("color")
    assert (sync.unmatched("color"), sync.newest_ns("color")) == (2, None)
    sync.add("color", 3, ("color", 3))
    assert [s["color"][1] for s in sets] == [2, 3]
