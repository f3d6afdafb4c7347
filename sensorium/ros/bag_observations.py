"""A recording, replayed through the code with which the live policy node observes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensorium_ros.msg import TokensInfo
from tf2_msgs.msg import TFMessage

from sensorium.bags import BagError, BagMessage, BagReader
from sensorium.policy.contract import Contract
from sensorium.policy.kinematics import Kinematics
from sensorium.policy.observations import Observation, refusal_in_lockstep
from sensorium.policy.rejections import Rejection
from sensorium.poses import Float64
from sensorium.ros.bag_topics import absolute_topic, check_topics
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.policy_observer import REFUSALS, ObservedTopic, PolicyObserver
from sensorium.ros.tf import TransformError, store_transforms

_CLOCK = "/clock"


@dataclass(frozen=True, eq=False)
class ReplayedMessage:
    """One message after it was given to the observer.

    Attributes:
        topic: absolute name.
        now_ns: time of the ROS clock [ns].
        message: the message, where its topic was asked for; else None.
    """

    topic: str
    now_ns: int
    message: Any


@dataclass(frozen=True, eq=False)
class _Waiting:
    """Tokens whose transform is under way."""

    source: ObservedTopic
    message: Any
    received_ns: int


class BagObservations:
    """What the live policy node would have observed while a bag was recorded.

    The ROS clock is /clock where the bag has it, else the time at which each message was recorded.

    Args:
        bag: the open bag.
        contract: which topic makes which feature; all of its features are needed.
        kinematics: the chain to the tip, where the contract needs it.
        namespace: of the recorded policy node, for relative topics; "" for none.
        others: absolute names and message classes of further topics to hand on.
        lockstep: accept only observations of the clock's present moment, as the node does with
            ``run.replan: every_observation``.

    Attributes:
        refused: messages that made no feature, by feature and text.

    Raises:
        BagError: the bag is empty, a topic is missing or has another type or definition.
    """

    def __init__(
        self,
        bag: BagReader,
        contract: Contract,
        kinematics: Kinematics | None,
        *,
        namespace: str = "",
        others: dict[str, type[Any]] | None = None,
        lockstep: bool = False,
    ) -> None:
        self._bag = bag
        self._contract = contract
        self._lockstep = lockstep
        self._now_ns = 0
        self.refused: Counter[tuple[str, str]] = Counter()
        self._observer = PolicyObserver(
            contract, contract.shapes, kinematics, lambda: self._now_ns,
            waits_for_transforms=False,
        )  # fmt: skip
        self._waiting: list[_Waiting] = []
        self._token_frames: dict[str, tuple[str, int]] = {}
        self._types: dict[str, type[Any]] = dict(others or {})
        self._others = frozenset(self._types)
        self._sources: dict[str, list[ObservedTopic]] = {}
        for source in self._observer.topics:
            topic = absolute_topic(source.topic, namespace)
            self._sources.setdefault(topic, []).append(source)
            self._types[topic] = source.message_type
        self._layouts = {
            absolute_topic(layout, namespace): bank
            for bank, layout in self._observer.layout_topics.items()
        }
        self._types.update(dict.fromkeys(self._layouts, TokensInfo))
        check_topics(bag, self._types)
        self._tf = self._transform_topics(namespace) if self._layouts else {}
        self._types.update(dict.fromkeys(self._tf, TFMessage))
        self.has_clock = _CLOCK in bag.topics and bag.topics[_CLOCK].message_count > 0
        if self.has_clock:
            self._types[_CLOCK] = Clock
            check_topics(bag, {_CLOCK: Clock})

    @property
    def clock_restarts(self) -> int:
        """How often the clock went back and everything was forgotten."""
        return self._observer.clock_restarts

    def replay(self) -> Iterator[ReplayedMessage]:
        """Give the messages to the observer in recorded order; yields after each.

        Raises:
            BagError: the bag is damaged further on, or a message cannot be read.
        """
        for recorded in self._bag.messages(self._types):
            message = self._read(recorded)
            topic = recorded.topic
            if not self.has_clock:
                self._now_ns = recorded.stamp_ns
            elif topic == _CLOCK:
                self._now_ns = stamp_from_time(message.clock)
            if topic in self._tf:
                refusals = store_transforms(
                    self._observer.transforms, message.transforms, self._tf[topic]
                )
                self.refused.update((topic, text) for text in refusals)
                self._try_again()
            elif topic in self._layouts:
                self._observer.note_layout(self._layouts[topic], message)
            for source in self._sources.get(topic, ()):
                self._take(source, message, self._now_ns)
            yield ReplayedMessage(topic, self._now_ns, message if topic in self._others else None)
        for item in self._waiting:
            self.refused[item.source.names[0], "the bag ended before its transform came"] += 1

    def observe(self) -> Observation | list[Rejection]:
        """Return the observation of this moment of the replay, or why there is none."""
        found = self._observer.observe()
        if isinstance(found, Observation) and self._lockstep:
            refusal = refusal_in_lockstep(found, self._now_ns)
            return found if refusal is None else [refusal]
        return found

    def base_from_camera(self, bank_topic: str) -> Float64 | None:
        """Pose of the camera of the newest tokens of a topic; None where it is not known."""
        if bank_topic not in self._token_frames:
            return None
        frame, stamp_ns = self._token_frames[bank_topic]
        try:
            return self._observer.transforms.lookup(
                self._contract.general.base_frame, frame, stamp_ns
            )
        except TransformError:
            return None

    def _take(self, source: ObservedTopic, message: Any, received_ns: int) -> None:  # noqa: ANN401
        try:
            self._observer.take(source, message, received_ns)
        except TransformError as refusal:
            # The live node waits for it; here it comes further on in the bag.
            timeout_ns = self._timeout_ns(source)
            if refusal.may_arrive and self._now_ns < received_ns + timeout_ns:
                self._waiting.append(_Waiting(source, message, received_ns))
                return
            self.refused[source.names[0], str(refusal)] += 1
        except REFUSALS as refusal:
            self.refused[source.names[0], str(refusal)] += 1
        else:
            if source.topic in self._observer.layout_topics:
                stamp_ns = stamp_from_time(message.header.stamp)
                self._token_frames[source.topic] = (message.header.frame_id, stamp_ns)

    def _try_again(self) -> None:
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            self._take(item.source, item.message, item.received_ns)

    def _timeout_ns(self, source: ObservedTopic) -> int:
        banks = self._contract.tokens.values()
        timeouts_s = [bank.tf_timeout_s for bank in banks if bank.topic == source.topic]
        return round(max(timeouts_s, default=0.0) * 1e9)

    def _transform_topics(self, namespace: str) -> dict[str, bool]:
        """Topics of transforms that the bag has, and whether they are static."""
        found: dict[str, bool] = {}
        for name, is_static in (("tf", False), ("tf_static", True)):
            for topic in (absolute_topic(name, namespace), f"/{name}"):
                if topic in self._bag.topics:
                    found[topic] = is_static
                    break
        if not found:
            raise BagError(
                f"bag {self._bag.path} has neither /tf nor /tf_static, and tokens are to be taken "
                f"to '{self._contract.general.base_frame}'; record them too"
            )
        check_topics(self._bag, dict.fromkeys(found, TFMessage), counted=False)
        return found

    def _read(self, recorded: BagMessage) -> Any:  # noqa: ANN401 - any of the types
        try:
            return deserialize_message(recorded.data, self._types[recorded.topic])
        except Exception as error:
            raise BagError(
                f"bag {self._bag.path}: a message of {recorded.topic} recorded at "
                f"{recorded.stamp_ns} ns cannot be read ({error})"
            ) from error
