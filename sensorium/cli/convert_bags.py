"""`sensorium convert-bags`: recordings become a training set of a policy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.ros.bag_conversion import ConversionReport

_REFUSALS_SHOWN = 10


def add_parsers(commands: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the sub-command `convert-bags`."""
    parser = commands.add_parser(
        "convert-bags", help="recordings (rosbag2) become a training set of a policy"
    )
    parser.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="recordings")
    parser.add_argument(
        "--contract", type=Path, required=True,
        help="of the policy that is to be trained (docs/reference/policy.md)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="new or empty folder")
    parser.add_argument(
        "--commands", action="append", default=[], metavar="TOPIC",
        help="JointTrajectory, or JointState of a leader arm or an arm led by hand; give it again "
        "for joints that the first does not name (default: the only JointTrajectory topic)",
    )  # fmt: skip
    splitting = parser.add_mutually_exclusive_group()
    splitting.add_argument(
        "--episodes-from", default="", metavar="TOPIC",
        help="WorldState of the simulated world, or std_msgs/String with the instruction (empty "
        "between episodes); default: each bag is one episode",
    )  # fmt: skip
    splitting.add_argument(
        "--gap-s", type=float, default=0.0, metavar="S",
        help="begin an episode where observations are farther apart",
    )  # fmt: skip
    parser.add_argument("--instruction", default="", help="where --episodes-from gives none")
    parser.add_argument("--task", default="", help="name of the task (default: the instruction)")
    parser.add_argument("--namespace", default="", help="of the recorded robot's nodes")
    parser.add_argument("--urdf", type=Path, help="default: topic robot_description of the bag")
    parser.add_argument(
        "--keep-failures", action="store_true", help="keep episodes that did not succeed"
    )
    parser.add_argument(
        "--lockstep", action="store_true",
        help="the simulated world waited for the policy (run.replan every_observation)",
    )  # fmt: skip
    parser.add_argument("--salvage", action="store_true", help="read what truncated bags hold")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from sensorium.policy.contract_file import read_contract

    contract = read_contract(arguments.contract)
    try:
        from sensorium.ros.bag_conversion import ConversionOptions, convert_bags
    except ImportError as error:
        raise ValueError(f"messages of ROS 2 are needed ({error}); source the workspace") from error

    options = ConversionOptions(
        commands=tuple(arguments.commands),
        namespace=arguments.namespace,
        episodes_from=arguments.episodes_from,
        gap_s=arguments.gap_s,
        instruction=arguments.instruction,
        task=arguments.task,
        urdf=arguments.urdf,
        keep_failures=arguments.keep_failures,
        lockstep=arguments.lockstep,
        salvage=arguments.salvage,
    )
    report = convert_bags(arguments.bags, contract, arguments.output, options)
    _tell(report)
    if not report.rows:
        print("nothing was written: see the reasons above")
        return 1
    print(f"written: {arguments.output}")
    if report.is_trainable:
        print(f"next: sensorium train policy --demos {arguments.output} --output CHECKPOINT")
    else:
        print(
            "`sensorium train policy` trains the policy geo and does not read this set (its "
            "contract has other features or actions); docs/train_on_your_bags.md lists the arrays"
        )
    return 0


def _tell(report: ConversionReport) -> None:
    for note in report.notes:
        print(f"note: {note}")
    print(
        f"{report.episodes} episodes, {report.rows} rows in {report.segments} segments without gap"
    )
    for count, what in (
        (report.failed_episodes, "episodes that did not succeed were left out (--keep-failures)"),
        (report.empty_episodes, "episodes have no row"),
    ):
        if count:
            print(f"{count} {what}")
    if report.lost:
        print("missing rows, by reason:")
        for reason, count in report.lost.most_common():
            print(f"  {count:7d}  {reason}")
    if report.refused:
        print("refused messages:")
        for (name, text), count in report.refused.most_common(_REFUSALS_SHOWN):
            print(f"  {count:7d}  {name}: {text}")
