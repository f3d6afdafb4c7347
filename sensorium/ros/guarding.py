"""Constants of the guards as parameters, and the guards made from them."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.node import Node

from sensorium.configuration import parameter
from sensorium.policy.chunks import ChunkBuffer, CrossFade, Merge, TemporalEnsemble
from sensorium.policy.emergency_stop import EmergencyStop
from sensorium.policy.guards import Excess, GuardSettings, MotionGuard
from sensorium.policy.limits import JointLimits
from sensorium.policy.rejections import Rejection, RejectionLog
from sensorium.policy.supervisor import Supervisor, SupervisorSettings
from sensorium.ros.diagnostics import Rejections, Status


@dataclass(frozen=True, slots=True)
class GuardingConfiguration:
    """Constants of the guards."""

    lockstep: bool = parameter(
        False, "For a simulated world that waits: every proposal is answered with a trajectory of "
        "its stamp, a refused one with the rest of the command in force; none at other times.",
    )  # fmt: skip
    control_period_s: float = parameter(
        0.05, "Time between two commands [s].", minimum=0.002, maximum=1.0
    )
    max_unsupervised_motion_s: float = parameter(
        0.5, "No command reaches further than this beyond now, and each ends at rest [s].",
        minimum=0.01, maximum=10.0,
    )  # fmt: skip
    watchdog_s: float = parameter(
        1.0, "Longest time of a run without an accepted chunk, on the ROS clock [s].",
        minimum=0.01, maximum=60.0,
    )  # fmt: skip
    max_state_age_s: float = parameter(
        0.2, "Oldest joint state, by stamp and by reception [s].", minimum=0.005, maximum=10.0
    )
    max_clock_step_s: float = parameter(
        0.5, "Largest step of the clock between two ticks; more is a clock that jumped [s].",
        minimum=0.01, maximum=60.0,
    )  # fmt: skip
    max_chunk_age_s: float = parameter(
        1.0, "Age of its observation at which a chunk expires [s].", minimum=0.01, maximum=60.0
    )
    clock_tolerance_s: float = parameter(
        0.02, "How far in the future an observation may be stamped [s].", minimum=0.0, maximum=1.0
    )
    max_jump: float = parameter(
        0.2, "Largest distance of a command from the measured position [rad or m].", minimum=1e-6,
        maximum=100.0,
    )  # fmt: skip
    position_margin: float = parameter(
        0.0, "Rows beyond a position limit by no more than this are moved to it [rad or m].",
        minimum=0.0, maximum=10.0,
    )  # fmt: skip
    excess: str = parameter(
        "limit", "Too much velocity or acceleration refuses the chunk, or is limited.",
        choices=tuple(excess.value for excess in Excess),
    )  # fmt: skip
    max_deviation: float = parameter(
        0.2, "With excess 'limit': how far a command may stay behind the plan [rad or m].",
        minimum=1e-6, maximum=100.0,
    )  # fmt: skip
    merge: str = parameter(
        "blend", "How chunks are merged: a new one fades in, takes over at once, or all that speak "
        "of a time are averaged (ACT).", choices=("blend", "newest", "ensemble"),
    )  # fmt: skip
    blend_s: float = parameter(
        0.2, "With merge 'blend': time from the old plan to the new one [s].", minimum=0.0,
        maximum=10.0,
    )  # fmt: skip
    ensemble_coefficient: float = parameter(
        0.01, "With merge 'ensemble': m of the weights exp(-m i), i = 0 for the oldest."
    )


class ReportedRejections(RejectionLog):
    """Counts refusals, logs them and shows them in diagnostics."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._shown = Rejections(node)

    def record(self, rejection: Rejection) -> Rejection:
        """Count a refusal and hand it back."""
        self._shown.add(rejection.reason.value, rejection.detail)
        return super().record(rejection)

    def describe(self, status: Status) -> None:
        """Add the counts to a status, and warn while refusals are recent."""
        self._shown.describe(status)


def make_motion_guard(limits: JointLimits, configuration: GuardingConfiguration) -> MotionGuard:
    """Return the motion guard.

    Raises:
        ValueError: constants that contradict each other.
    """
    return MotionGuard(
        limits,
        GuardSettings(
            max_unsupervised_motion_ns=nanoseconds(configuration.max_unsupervised_motion_s),
            max_jump=configuration.max_jump,
            position_margin=configuration.position_margin,
            excess=Excess(configuration.excess),
            max_deviation=configuration.max_deviation,
        ),
    )


def make_supervisor(
    limits: JointLimits,
    configuration: GuardingConfiguration,
    *,
    guard: MotionGuard,
    emergency_stop: EmergencyStop,
    dry_run: bool,
    log: RejectionLog,
) -> Supervisor:
    """Return the supervisor.

    Raises:
        ValueError: constants that contradict each other.
    """
    return Supervisor(
        limits,
        guard=guard,
        emergency_stop=emergency_stop,
        log=log,
        buffer=ChunkBuffer(
            _merge(configuration),
            max_age_ns=nanoseconds(configuration.max_chunk_age_s),
            # The policy's process decides when to replan; the guards only judge.
            replan_threshold_ns=0,
            clock_tolerance_ns=nanoseconds(configuration.clock_tolerance_s),
        ),
        settings=SupervisorSettings(
            control_period_ns=nanoseconds(configuration.control_period_s),
            max_state_age_ns=nanoseconds(configuration.max_state_age_s),
            watchdog_ns=nanoseconds(configuration.watchdog_s),
            max_clock_step_ns=nanoseconds(configuration.max_clock_step_s),
            dry_run=dry_run,
        ),
    )


def nanoseconds(seconds: float) -> int:
    """Return a duration in integer nanoseconds."""
    return round(seconds * 1e9)


def _merge(configuration: GuardingConfiguration) -> Merge:
    if configuration.merge == "ensemble":
        return TemporalEnsemble(configuration.ensemble_coefficient)
    return CrossFade(nanoseconds(configuration.blend_s) if configuration.merge == "blend" else 0)
