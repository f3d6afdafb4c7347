"""Whatever a policy wants and whenever it answers, the command keeps every limit and ends at rest.

The test drives the buffer and the guard as a node would, with random chunks, delays, gaps and
stops, and judges the stitched command by its own arithmetic.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.policy.chunks import ActionChunk, ChunkBuffer, CrossFade, TemporalEnsemble
from sensorium.policy.guards import Excess, GuardSettings, MotionGuard
from sensorium.policy.limits import JointLimits
from sensorium.policy.rejections import Rejection

MS = 1_000_000
LIMITS = JointLimits(
    names=("shoulder", "elbow", "wheel"),
    lower=[-1.0, -0.3, -np.inf],
    upper=[1.0, 0.5, np.inf],
    velocity=[1.0, 2.0, 0.5],
    acceleration=[4.0, 10.0, 1.0],
)
HORIZON_NS = 500 * MS


def segments(trajectory, until_ns):
    """(begin, end, velocity) of the straight lines that are executed before ``until_ns``."""
    begin_ns, position = trajectory.start_ns, trajectory.start.positions
    for time_ns, target in zip(trajectory.times_ns.tolist(), trajectory.positions, strict=True):
        if begin_ns >= until_ns:
            return
        velocity = (target - position) / ((time_ns - begin_ns) / 1e9)
        yield begin_ns, min(time_ns, until_ns), velocity
        begin_ns, position = time_ns, target
    if begin_ns < until_ns:
        yield begin_ns, until_ns, np.zeros_like(position)


class Recorder:
    """Stitches the trajectories a robot would follow and checks each line as it is executed."""

    def __init__(self, position):
        self.trajectory = None
        self.position = position.copy()
        self.previous = None

    def take(self, trajectory, now_ns):
        self.run_until(now_ns)
        np.testing.assert_allclose(trajectory.start.positions, self.position, atol=1e-9)
        assert trajectory.start_ns == now_ns
        assert trajectory.end_ns <= now_ns + HORIZON_NS
        self.trajectory, self.now_ns = trajectory, now_ns

    def run_until(self, until_ns):
        if self.trajectory is None:
            return
        for begin_ns, end_ns, velocity in segments(self.trajectory, until_ns):
            duration_s = (end_ns - begin_ns) / 1e9
            if self.previous is not None:
                earlier, earlier_s = self.previous
                change = np.abs(velocity - earlier)
                allowed = LIMITS.acceleration * earlier_s
                assert (change <= allowed + 1e-6).all(), (change, allowed)
                if np.allclose(velocity, earlier, atol=1e-9):
                    duration_s += earlier_s  # one straight line, cut where a replan took over
            assert (np.abs(velocity) <= LIMITS.velocity + 1e-9).all()
            self.position = self.position + velocity * ((end_ns - begin_ns) / 1e9)
            assert (self.position >= LIMITS.lower - 1e-9).all()
            assert (self.position <= LIMITS.upper + 1e-9).all()
            self.previous = velocity, min(duration_s, 1e3)


@st.composite
def episodes(draw):
    period_ns = draw(st.sampled_from([20, 50, 100])) * MS
    merge = draw(
        st.sampled_from(
            [TemporalEnsemble(0.01), TemporalEnsemble(-1.0), CrossFade(150 * MS), CrossFade(0)]
        )
    )
    excess = draw(st.sampled_from([Excess.LIMIT, Excess.LIMIT, Excess.REJECT]))
    roughness = draw(st.sampled_from([0.0, 0.02, 0.3, 3.0]))
    events = draw(
        st.lists(
            st.tuples(
                st.integers(1, 400),  # ms since the last event
                st.integers(0, 300),  # ms from observation to answer
                st.sampled_from(["chunk"] * 6 + ["replan"] * 2 + ["stop", "nan"]),
            ),
            min_size=1,
            max_size=25,
        )
    )
    return period_ns, merge, excess, roughness, events, draw(st.integers(0, 2**31))


@settings(max_examples=150, deadline=None)
@given(episodes())
def test_the_stitched_command_keeps_every_limit_and_ends_at_rest(episode):
    period_ns, merge, excess, roughness, events, seed = episode
    random = np.random.default_rng(seed)
    guard_settings = GuardSettings(
        HORIZON_NS, max_jump=1.0, position_margin=0.05, excess=excess, max_deviation=2.0
    )
    guard = MotionGuard(LIMITS, guard_settings)
    buffer = ChunkBuffer(merge, max_age_ns=2_000 * MS, replan_threshold_ns=0)
    position = np.array([0.2, -0.1, 3.0])
    recorder = Recorder(position)
    now_ns = 1_000_000_000_000
    for wait_ms, delay_ms, kind in events:
        now_ns += wait_ms * MS
        commanded = guard.commanded
        measured = position if commanded is None else commanded.at(now_ns).positions
        if kind == "stop":
            buffer.reset()
            recorder.take(guard.stop(measured, now_ns, period_ns), now_ns)
            continue
        if kind != "replan":
            steps = random.integers(1, 12)
            speed = random.choice([0.7, 3.0])
            slope = random.normal(scale=speed, size=(1, 3)) * (period_ns / 1e9)
            rows = measured + np.cumsum(np.repeat(slope, steps, axis=0), axis=0)
            rows = rows + roughness * random.normal(size=rows.shape)
            rows = np.clip(rows, LIMITS.lower, LIMITS.upper)
            if kind == "nan":
                rows[random.integers(steps), random.integers(3)] = random.choice([np.nan, np.inf])
            chunk = ActionChunk(now_ns - delay_ms * MS, period_ns, rows)
            rejection = guard.check_chunk(chunk, measured, now_ns) or buffer.add(chunk, now_ns)
            if kind == "nan":
                assert rejection is not None
            if rejection is not None:
                continue
        plan = buffer.plan(now_ns)
        if plan is None:
            continue
        command = guard.command(plan, measured)
        if not isinstance(command, Rejection):
            recorder.take(command, now_ns)
    if recorder.trajectory is not None:
        end_ns = recorder.trajectory.end_ns
        recorder.run_until(end_ns + HORIZON_NS)
        np.testing.assert_array_equal(recorder.previous[0], 0.0)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    period_ms=st.sampled_from([10, 40, 100]),
    moment=st.floats(0.0, 1.0),
)
def test_a_stop_at_any_moment_keeps_every_limit_and_takes_no_longer_than_braking(
    seed, period_ms, moment
):
    random = np.random.default_rng(seed)
    period_ns, start_ns = period_ms * MS, 5_000 * MS
    guard = MotionGuard(LIMITS, GuardSettings(HORIZON_NS, max_jump=9, max_deviation=9))
    buffer = ChunkBuffer(CrossFade(0), max_age_ns=10**12, replan_threshold_ns=0)
    position = np.array([0.0, 0.1, 0.0])
    rows = position + np.cumsum(random.normal(scale=0.1, size=(60, 3)), axis=0)
    buffer.add(ActionChunk(start_ns, period_ns, np.clip(rows, -0.3, 0.5)), start_ns)
    recorder = Recorder(position)
    command = guard.command(buffer.plan(start_ns), position)
    recorder.take(command, start_ns)
    stop_ns = start_ns + int(moment * (command.end_ns - start_ns))
    velocity = command.at(stop_ns).velocities
    stop = guard.stop(position, stop_ns, period_ns)
    recorder.take(stop, stop_ns)
    recorder.run_until(stop.end_ns + HORIZON_NS)
    np.testing.assert_array_equal(recorder.previous[0], 0.0)
    longest_s = (np.abs(velocity) / LIMITS.acceleration).max() + 2 * period_ms / 1e3
    assert (stop.end_ns - stop_ns) / 1e9 <= longest_s + 1e-9


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**31), period_ms=st.sampled_from([20, 50]))
def test_a_chunk_within_the_limits_passes_unchanged_until_the_final_braking(seed, period_ms):
    random = np.random.default_rng(seed)
    period_ns, period_s = period_ms * MS, period_ms / 1e3
    velocity = np.zeros(3)
    rows, position = [], np.array([0.0, 0.1, 0.0])
    for _ in range(40):
        change = random.uniform(-0.2, 0.2, 3) * LIMITS.acceleration * period_s
        velocity = np.clip(velocity + change, -0.2 * LIMITS.velocity, 0.2 * LIMITS.velocity)
        position = position + velocity * period_s
        rows.append(position)
    rows = np.array(rows)
    if (rows < LIMITS.lower + 0.1).any() or (rows > LIMITS.upper - 0.1).any():
        return
    guard = MotionGuard(LIMITS, GuardSettings(HORIZON_NS, excess=Excess.REJECT))
    chunk = ActionChunk(0, period_ns, rows)
    start = np.array([0.0, 0.1, 0.0])
    assert guard.check_chunk(chunk, start, 0) is None
    buffer = ChunkBuffer(CrossFade(0), max_age_ns=10**12, replan_threshold_ns=0)
    assert buffer.add(chunk, 0) is None
    command = guard.command(buffer.plan(0), start)
    braking_s = (0.2 * LIMITS.velocity / LIMITS.acceleration).max() + period_s
    free = command.times_ns <= HORIZON_NS - int(braking_s * 1e9) - period_ns
    assert free.sum() >= 3
    np.testing.assert_allclose(command.positions[free], rows[: free.sum()], atol=1e-12)


def test_replanning_far_faster_than_the_rows_come_does_not_add_up_to_more_acceleration():
    period_ns = 100 * MS
    guard = MotionGuard(LIMITS, GuardSettings(HORIZON_NS, max_jump=9, max_deviation=9))
    recorder = Recorder(np.zeros(3))
    now_ns = 0
    for step in range(600):
        now_ns += MS
        measured = np.zeros(3) if guard.commanded is None else guard.commanded.at(now_ns).positions
        wanted = np.array([0.9, 0.4, 3.0]) * (1 if step < 300 else -0.5)
        buffer = ChunkBuffer(CrossFade(0), max_age_ns=10**12, replan_threshold_ns=0)
        buffer.add(ActionChunk(now_ns - 30 * MS, period_ns, np.tile(wanted, (9, 1))), now_ns)
        recorder.take(guard.command(buffer.plan(now_ns), measured), now_ns)
    recorder.run_until(now_ns + 1000 * MS)


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("period_ms", [10, 50, 100])
def test_a_path_that_runs_into_a_position_limit_is_braked_before_it(direction, period_ms):
    period_ns = period_ms * MS
    guard = MotionGuard(LIMITS, GuardSettings(HORIZON_NS, max_jump=9, max_deviation=9))
    recorder = Recorder(np.zeros(3))
    buffer = ChunkBuffer(CrossFade(0), max_age_ns=10**12, replan_threshold_ns=0)
    ramp = (
        direction * np.arange(1, 4000 // period_ms)[:, None] * (period_ms / 1e3) * [0.9, 1.8, 0.4]
    )
    buffer.add(ActionChunk(0, period_ns, np.clip(ramp, LIMITS.lower, LIMITS.upper)), 0)
    for now_ns in range(0, 3000 * MS, 70 * MS):
        measured = np.zeros(3) if guard.commanded is None else guard.commanded.at(now_ns).positions
        recorder.take(guard.command(buffer.plan(now_ns), measured), now_ns)
    limit = LIMITS.upper if direction > 0 else LIMITS.lower
    np.testing.assert_allclose(recorder.position[:2], limit[:2], atol=1e-6)


@pytest.mark.parametrize("excess", list(Excess))
def test_steps_to_a_far_target_arrive_without_overshoot(excess):
    period_ns = 50 * MS
    guard = MotionGuard(
        LIMITS, GuardSettings(HORIZON_NS, max_jump=9, max_deviation=9, excess=excess)
    )
    target = np.array([0.8, 0.4, 0.6])
    now_ns, reached = 0, []
    for _ in range(60):
        measured = np.zeros(3) if guard.commanded is None else guard.commanded.at(now_ns).positions
        buffer = ChunkBuffer(CrossFade(0), max_age_ns=10**12, replan_threshold_ns=0)
        buffer.add(ActionChunk(now_ns, period_ns, np.tile(target, (20, 1))), now_ns)
        command = guard.command(buffer.plan(now_ns), measured)
        reached.append(measured)
        assert (command.positions <= target + 1e-9).all()
        now_ns += 100 * MS
    np.testing.assert_allclose(reached[-1], target, atol=1e-6)
