"""Recordings become a training set: episodes of observations with what was commanded next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from sensorium_ros.msg import WorldState
from std_msgs.msg import String

from sensorium.bags import BagReader
from sensorium.policy.actions import ActionMapper
from sensorium.policy.commands import CommandRefused, RecordedCommands
from sensorium.policy.contract import Contract
from sensorium.policy.dataset_features import GEOMETRY
from sensorium.policy.keyframes import grid_from_base
from sensorium.policy.kinematics import Kinematics
from sensorium.policy.observations import Observation
from sensorium.policy.recorded_episode import ObservedRow, RecordedEpisode, is_trainable
from sensorium.policy.sampling import RowSampler
from sensorium.policy.training_set_writer import TrainingSetError, TrainingSetWriter
from sensorium.poses import Float64
from sensorium.ros.bag_observations import BagObservations, ReplayedMessage
from sensorium.ros.bag_topics import (
    absolute_topic,
    check_topics,
    command_topics,
    recorded_description,
    type_in,
)
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import NS_PER_S, stamp_from_time
from sensorium.ros.policy_observer import CHAIN

# As `sensorium demos` does: the tip's rest at the end is learnt, too.
_PERIODS_AFTER_END = 3
_EPISODE_TYPES = {"sensorium_ros/msg/WorldState": WorldState, "std_msgs/msg/String": String}


@dataclass(frozen=True)
class ConversionOptions:
    """How bags become a training set.

    Attributes:
        commands: topics of JointTrajectory or JointState with the commands, the most important
            first; empty takes the only JointTrajectory topic of each bag.
        namespace: of the recorded policy node.
        episodes_from: topic of WorldState or std_msgs/String (another instruction begins an
            episode, an empty one ends it); "" makes each bag one episode.
        gap_s: without ``episodes_from``, rows farther apart than this begin an episode [s]; 0
            never.
        instruction: the sentence where ``episodes_from`` gives none.
        task: name of the task where ``episodes_from`` gives none; "" takes the instruction.
        urdf: robot description; None takes topic robot_description of each bag.
        keep_failures: keep episodes of a WorldState topic that did not succeed.
        lockstep: the world waited for the policy: see :class:`BagObservations`.
        salvage: read what is intact of truncated bags.
    """

    commands: tuple[str, ...] = ()
    namespace: str = ""
    episodes_from: str = ""
    gap_s: float = 0.0
    instruction: str = ""
    task: str = ""
    urdf: Path | None = None
    keep_failures: bool = False
    lockstep: bool = False
    salvage: bool = False


@dataclass(eq=False)
class ConversionReport:
    """What became of the bags.

    Attributes:
        episodes: episodes written.
        rows: rows written.
        segments: runs of rows one period apart.
        failed_episodes: episodes left out as they did not succeed.
        empty_episodes: episodes without a row.
        lost: rows that are missing, by reason.
        refused: messages that made no feature, by feature and text.
        notes: what the user should know about the bags.
        is_trainable: whether ``sensorium train policy`` reads the set.
    """

    episodes: int = 0
    rows: int = 0
    segments: int = 0
    failed_episodes: int = 0
    empty_episodes: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    is_trainable: bool = False


def convert_bags(
    bags: Sequence[Path], contract: Contract, directory: Path, options: ConversionOptions
) -> ConversionReport:
    """Convert recordings to a training set.

    Args:
        bags: recordings, each replayed from its beginning.
        contract: of the policy that is to be trained.
        directory: new or empty.
        options: how.

    Returns:
        What became of them. Where nothing was written, ``rows`` is 0 and the folder holds no set.

    Raises:
        BagError: a bag cannot be read or lacks a topic.
        TrainingSetError: the folder is not empty, bags do not fit together, or there is no
            instruction.
        ContractError, KinematicsError: the robot's description does not fit the contract.
    """
    report = ConversionReport(is_trainable=is_trainable(contract))
    if report.is_trainable and not (options.episodes_from or options.instruction):
        raise TrainingSetError(
            "the policy geo is trained with instructions: give --instruction for all bags, or "
            "--episodes-from with the topic that tells them"
        )
    sentences: dict[str, set[str]] = {}
    with TrainingSetWriter(directory) as writer:
        for path in bags:
            with BagReader(path, options.salvage) as bag:
                _BagConversion(bag, contract, options, writer, report, sentences).run()
                report.notes += bag.notes
        report.rows = writer.rows
        if writer.rows:
            bank = contract.tokens.get(GEOMETRY)
            tasks = list(sentences)
            writer.finish(
                {
                    "made_by": "sensorium convert-bags",
                    "bags": [str(path) for path in bags],
                    "rate_hz": contract.general.rate_hz,
                    "action_names": list(contract.action_names),
                    "rows": bank.rows if bank else 0,
                    "columns": bank.columns if bank else 0,
                    "episodes": report.episodes,
                    "segments": report.segments,
                    "lost_rows": dict(report.lost),
                    "tasks": tasks,
                    "instructions": [sorted(sentences[task]) for task in tasks],
                }
            )
    return report


class _BagConversion:
    """One bag on its way into a training set."""

    def __init__(
        self,
        bag: BagReader,
        contract: Contract,
        options: ConversionOptions,
        writer: TrainingSetWriter,
        report: ConversionReport,
        sentences: dict[str, set[str]],
    ) -> None:
        self._bag, self._contract, self._options = bag, contract, options
        self._writer, self._report, self._sentences = writer, report, sentences
        if not bag.message_count:
            check_topics(bag, {})
        kinematics = None
        if contract.needs_kinematics:
            general = contract.general
            text = recorded_description(bag, options.namespace, options.urdf)
            kinematics = Kinematics(text, general.base_frame, general.tip_link)
        self._mapper = ActionMapper(contract, kinematics)
        given = [absolute_topic(topic, options.namespace) for topic in options.commands]
        self._command_topics = command_topics(bag, given)
        self._commands = RecordedCommands(
            contract.commanded_joints, list(self._command_topics),
            round(contract.joint_states.max_age_s * 1e9),
        )  # fmt: skip
        others: dict[str, type[Any]] = dict(self._command_topics)
        self._episode_topic = ""
        if options.episodes_from:
            self._episode_topic = absolute_topic(options.episodes_from, options.namespace)
            others[self._episode_topic] = type_in(bag, self._episode_topic, _EPISODE_TYPES)
        self._has_world = others.get(self._episode_topic) is WorldState
        self._replay = BagObservations(
            bag, contract, kinematics, namespace=options.namespace, others=others,
            lockstep=options.lockstep,
        )  # fmt: skip
        self._sampler = RowSampler(contract.period_ns)
        self._episode: RecordedEpisode | None = None
        self._close_ns: int | None = None
        self._last_number = -1
        self._now_ns = 0

    def run(self) -> None:
        """Convert the bag."""
        for item in self._replay.replay():
            if self._replay_restarted(item.now_ns):
                self._begin_again()
            self._now_ns = item.now_ns
            if item.message is not None:
                if item.topic in self._command_topics:
                    self._take_command(item)
                if item.topic == self._episode_topic:
                    self._take_mark(item)
            if self._episode is None and not self._episode_topic:
                self._begin(self._options.instruction, self._options.task)
            if self._close_ns is not None and self._now_ns > self._close_ns:
                self._end()
            # Before the first /clock there is no time.
            if self._episode is not None and self._now_ns > 0:
                self._observe(self._episode)
        self._end()
        self._report.lost += self._sampler.lost
        self._report.refused += self._replay.refused

    def _replay_restarted(self, now_ns: int) -> bool:
        tolerance_ns = round(self._contract.general.clock_tolerance_s * 1e9)
        return now_ns < self._now_ns - tolerance_ns

    def _begin_again(self) -> None:
        """The clock went back: the episode is over, and its commands are of another time."""
        self._end()
        self._commands.clear()

    def _observe(self, episode: RecordedEpisode) -> None:
        if not self._has_world:
            episode.end_ns = self._now_ns
        found = self._replay.observe()
        if not isinstance(found, Observation):
            self._sampler.refuse(found[0].reason.value, self._now_ns)
            return
        gap_ns = round(self._options.gap_s * 1e9)
        if gap_ns and episode.rows and found.stamp_ns - episode.rows[-1].stamp_ns > gap_ns:
            # What is missing in the gap is between two episodes.
            self._episode = None
            self._write(episode)
            episode = self._begin(self._options.instruction, self._options.task)
        if not self._sampler.offer(found.stamp_ns, self._now_ns):
            return
        features = {name: value for name, value in found.features.items() if name != CHAIN}
        episode.rows.append(
            ObservedRow(
                found.stamp_ns, self._sampler.segment, features, found.features.get(CHAIN),
                self._projection(features),
            )
        )  # fmt: skip

    def _projection(self, features: dict[str, NDArray[Any]]) -> Float64 | None:
        bank = self._contract.tokens.get(GEOMETRY)
        if bank is None or not self._report.is_trainable:
            return None
        pose = self._replay.base_from_camera(bank.topic)
        if pose is None:
            return None
        points, valid = features[f"{GEOMETRY}.points"], features[f"{GEOMETRY}.valid"]
        return grid_from_base(points, valid, pose, bank.rows, bank.columns)

    def _take_command(self, item: ReplayedMessage) -> None:
        message = item.message
        try:
            if isinstance(message, JointState):
                self._commands.add_positions(
                    item.topic, stamp_from_time(message.header.stamp), message.name,
                    message.position,
                )  # fmt: skip
            else:
                self._commands.add_trajectory(
                    item.topic, item.now_ns, stamp_from_time(message.header.stamp),
                    message.joint_names, [_offset_ns(point) for point in message.points],
                    [point.positions for point in message.points],
                )  # fmt: skip
        except (CommandRefused, ConversionError) as refusal:
            self._report.refused[item.topic, str(refusal)] += 1

    def _take_mark(self, item: ReplayedMessage) -> None:
        message, episode = item.message, self._episode
        if isinstance(message, WorldState):
            if message.episode != self._last_number:
                self._end()
                self._commands.clear()
                episode = self._begin(message.instruction, message.task)
                episode.success, self._last_number = False, message.episode
            if episode is not None:
                # The clock leaps at a reset, before the world tells of it.
                episode.end_ns = self._now_ns
            if episode is not None and message.done and self._close_ns is None:
                episode.success = message.success
                self._close_ns = self._now_ns + _PERIODS_AFTER_END * self._contract.period_ns
        elif episode is None or message.data != episode.instruction:
            self._end()
            if message.data:
                self._begin(message.data, self._options.task)

    def _begin(self, instruction: str, task: str) -> RecordedEpisode:
        self._episode = RecordedEpisode(instruction, task or instruction or "recorded")
        self._sampler.begin()
        return self._episode

    def _end(self) -> None:
        episode, self._episode, self._close_ns = self._episode, None, None
        if episode is not None:
            self._sampler.end(episode.end_ns)
            self._write(episode)

    def _write(self, episode: RecordedEpisode) -> None:
        if not episode.success and not self._options.keep_failures:
            self._report.failed_episodes += 1
            return
        tasks = list(dict.fromkeys((*self._sentences, episode.task)))
        arrays = episode.arrays(
            self._contract, self._mapper, self._commands, tasks.index(episode.task)
        )
        if episode.commandless:
            self._sampler.lost["command_missing"] += episode.commandless
        if not arrays:
            self._report.empty_episodes += 1
            return
        self._report.episodes += 1
        self._report.segments += episode.segments
        self._sentences.setdefault(episode.task, set()).add(episode.instruction)
        self._writer.append(arrays)


def _offset_ns(point: Any) -> int:  # noqa: ANN401 - a generated type
    return int(point.time_from_start.sec) * NS_PER_S + int(point.time_from_start.nanosec)
