"""What the policy's process and the guard's process say to each other, as standard messages.

A proposal is a JointTrajectory whose ``frame_id`` is the run it belongs to. A report is a
DiagnosticArray with one status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from sensorium.policy.chunks import ActionChunk
from sensorium.policy.trajectory import CommandedTrajectory
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import NS_PER_S, header, stamp_from_time

_COUNT = "count."


@dataclass(frozen=True, eq=False)
class Proposal:
    """What the policy wants from one observation.

    Attributes:
        run: the run it belongs to.
        joints: names of the columns.
        stamp_ns: of the observation.
        chunk: positions over time, or None when the policy has no answer to the observation.
    """

    run: str
    joints: tuple[str, ...]
    stamp_ns: int
    chunk: ActionChunk | None


@dataclass(frozen=True)
class GuardReport:
    """How the guards are, and what became of a proposal.

    Attributes:
        run: the present or last run; "" before the first.
        running: whether the policy may move the robot.
        dry_run: whether nothing is published.
        stop_reason: why the last run ended; "" while it goes on.
        stop_text: the same in words.
        proposal_stamp_ns: stamp of the proposal that was judged, or -1.
        published: whether a trajectory made from it was published.
        rejections: texts of why not.
        counts: refusals of this run by reason.
    """

    run: str = ""
    running: bool = False
    dry_run: bool = True
    stop_reason: str = ""
    stop_text: str = ""
    proposal_stamp_ns: int = -1
    published: bool = False
    rejections: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


def message_from_proposal(
    run: str,
    joints: Sequence[str],
    stamp_ns: int,
    period_ns: int,
    positions: NDArray[np.float64] | None,
) -> JointTrajectory:
    """Return the message of a proposal; without positions it says that there is no answer."""
    rows = [] if positions is None else positions.tolist()
    return JointTrajectory(
        header=header(stamp_ns, run),
        joint_names=list(joints),
        points=[
            JointTrajectoryPoint(positions=row, time_from_start=_duration((i + 1) * period_ns))
            for i, row in enumerate(rows)
        ],
    )


def proposal_from_message(message: JointTrajectory) -> Proposal:
    """Return the proposal of a message.

    Raises:
        ConversionError: points without one position per joint, or not evenly spaced in time.
    """
    stamp_ns, joints = stamp_from_time(message.header.stamp), tuple(message.joint_names)
    run: str = message.header.frame_id
    if not message.points:
        return Proposal(run, joints, stamp_ns, None)
    times_ns = [
        point.time_from_start.sec * NS_PER_S + point.time_from_start.nanosec
        for point in message.points
    ]
    period_ns = times_ns[0]
    if period_ns <= 0 or times_ns != [(i + 1) * period_ns for i in range(len(times_ns))]:
        raise ConversionError(f"the proposal's points at {times_ns} ns are not evenly spaced")
    if any(len(point.positions) != len(joints) for point in message.points):
        raise ConversionError(f"the proposal's points need {len(joints)} positions each")
    positions = np.array([point.positions for point in message.points], dtype=np.float64)
    return Proposal(run, joints, stamp_ns, ActionChunk(stamp_ns, period_ns, positions))


def message_from_command(
    trajectory: CommandedTrajectory, joints: Sequence[str], stamp_ns: int, now_ns: int
) -> JointTrajectory:
    """Return a command as the robot's controller takes it: positions only, from now on.

    Args:
        trajectory: the command.
        joints: names of its columns.
        stamp_ns: stamp of the message, from which its times count.
        now_ns: earlier points are left out; without points the message says: hold.
    """
    coming = np.flatnonzero(trajectory.times_ns > now_ns)
    return JointTrajectory(
        header=header(stamp_ns, ""),
        joint_names=list(joints),
        points=[
            JointTrajectoryPoint(
                positions=trajectory.positions[i].tolist(),
                time_from_start=_duration(int(trajectory.times_ns[i]) - stamp_ns),
            )
            for i in coming
        ],
    )


def message_from_report(report: GuardReport, stamp_ns: int) -> DiagnosticArray:
    """Return the message of a report."""
    values = {
        "running": str(int(report.running)),
        "dry_run": str(int(report.dry_run)),
        "stop_reason": report.stop_reason,
        "proposal_stamp_ns": str(report.proposal_stamp_ns),
        "published": str(int(report.published)),
        **{f"{_COUNT}{reason}": str(count) for reason, count in report.counts.items()},
        **{f"rejection.{i}": text for i, text in enumerate(report.rejections)},
    }
    message = DiagnosticArray(header=header(stamp_ns, ""))
    message.status.append(
        DiagnosticStatus(
            name=report.run,
            message=report.stop_text,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
    )
    return message


def report_from_message(message: DiagnosticArray) -> GuardReport:
    """Return the report of a message.

    Raises:
        ConversionError: it is no report.
    """
    try:
        status = message.status[0]
        values = {pair.key: pair.value for pair in status.values}
        return GuardReport(
            run=status.name,
            running=values["running"] == "1",
            dry_run=values["dry_run"] == "1",
            stop_reason=values["stop_reason"],
            stop_text=status.message,
            proposal_stamp_ns=int(values["proposal_stamp_ns"]),
            published=values["published"] == "1",
            rejections=tuple(v for k, v in values.items() if k.startswith("rejection.")),
            counts={
                k.removeprefix(_COUNT): int(v) for k, v in values.items() if k.startswith(_COUNT)
            },
        )
    except (LookupError, ValueError) as error:
        raise ConversionError(f"this is no report of the policy's guards: {error!r}") from error


def _duration(nanoseconds: int) -> Duration:
    seconds, rest = divmod(nanoseconds, NS_PER_S)
    return Duration(sec=seconds, nanosec=rest)
