"""From messages to a policy's observations: the same for the live node and for recordings."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, JointState, PointCloud2
from sensorium_ros.msg import RgbdFrame, SignalEstimate, TokensInfo

from sensorium.policy.contract import Contract, Picture, PooledTokens, SignalScores, TokenBank
from sensorium.policy.features import (
    FeatureRefused,
    JointReading,
    picture_feature,
    pooled_feature,
    state_feature,
    token_features,
)
from sensorium.policy.kinematics import Kinematics
from sensorium.policy.observations import InputRule, Observation, ObservationBuffer
from sensorium.policy.rejections import Reason, Rejection
from sensorium.ros.color_input import PictureReader, PictureRefused
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.pointcloud import field_from_cloud, points_from_cloud
from sensorium.ros.tf import TransformBuffer, TransformError

CHAIN = "chain"
"""Entry of an observation: positions of the kinematic chain's joints. Not shown to the policy."""

REFUSALS = (FeatureRefused, PictureRefused, ConversionError, TransformError)
"""What :meth:`PolicyObserver.take` raises for a message that makes no feature."""

# A second of joint states at 500 Hz; as long as pictures take to become tokens.
_PAST_JOINT_STATES = 500
_PAST_PICTURES = 10
_PICTURE_MESSAGES = {"rgbd_frame": RgbdFrame, "image": Image, "compressed_image": CompressedImage}

_Values = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ObservedTopic:
    """One topic that makes features.

    Attributes:
        topic: name, relative or absolute, as the contract gives it.
        message_type: class of its messages.
        names: the features (and ``CHAIN``) that a message makes.
        read: reads a message: (stamp [ns], values by name).
        depth: messages that a subscription should keep.
        picture_type: type of pictures in the contract; "" for what is none.
    """

    topic: str
    message_type: type[Any]
    names: tuple[str, ...]
    read: Callable[[Any], tuple[int, _Values]]
    depth: int = 5
    picture_type: str = ""


class PolicyObserver:
    """Keeps what messages say until an observation is asked for. Thread-safe.

    Args:
        contract: which topic makes which feature.
        needed: the features that the policy reads; others of the contract are left out.
        kinematics: the chain to the tip, where the contract needs it.
        now_ns: reads the ROS clock.
        waits_for_transforms: wait for transforms that are under way, as the contract says; False
            refuses at once.

    Attributes:
        topics: what is to be given to :meth:`take`.
        layout_topics: topics of TokensInfo, to be given to :meth:`note_layout`.
        transforms: to be filled from /tf and /tf_static where there are layout topics.
        clock_restarts: how often the clock went back and everything was forgotten.
    """

    def __init__(
        self,
        contract: Contract,
        needed: Collection[str],
        kinematics: Kinematics | None,
        now_ns: Callable[[], int],
        *,
        waits_for_transforms: bool = True,
    ) -> None:
        self._contract = contract
        self._kinematics = kinematics
        self._now_ns = now_ns
        self._waits = waits_for_transforms
        self._lock = threading.Lock()
        self._newest_ns = 0
        self._problems: dict[str, str] = {}
        self._layouts: dict[str, TokensInfo] = {}
        self._states = {n: s for n, s in contract.states.items() if n in needed}
        self._with_chain = contract.has_tip_actions
        self._rules: dict[str, InputRule] = {}
        self.clock_restarts = 0
        self.transforms = TransformBuffer()
        self.topics: list[ObservedTopic] = []
        self.layout_topics: dict[str, str] = {}
        self._add_joints()
        self._add_others(needed)
        self._buffer = ObservationBuffer(
            self._rules,
            max_skew_ns=_ns(contract.general.max_skew_s),
            clock_tolerance_ns=_ns(contract.general.clock_tolerance_s),
        )

    def note_layout(self, bank_topic: str, message: TokensInfo) -> None:
        """Note what the tokens of a topic are made of."""
        self._layouts[bank_topic] = message

    def take(self, source: ObservedTopic, message: Any, received_ns: int) -> None:  # noqa: ANN401
        """Read a message and keep its values.

        Args:
            source: one of ``topics``.
            message: of its type (or a frame that came in memory).
            received_ns: when it came, on the ROS clock [ns].

        Raises:
            One of ``REFUSALS``: the message makes no feature.
        """
        try:
            stamp_ns, values = source.read(message)
        except REFUSALS as refusal:
            self._problems.update(dict.fromkeys(source.names, str(refusal)))
            raise
        with self._lock:
            self._noted_time()
            for name, value in values.items():
                self._problems.pop(name, None)
                self._buffer.put(name, value, stamp_ns=stamp_ns, received_ns=received_ns)

    def observe(self) -> Observation | list[Rejection]:
        """Return the observation of this moment, or every reason why there is none."""
        with self._lock:
            found = self._buffer.observe(self._noted_time())
            if isinstance(found, Observation):
                return found
            # The newest refusal of an input is why it is missing or old.
            return [
                replace(rejection, detail=f"{rejection.detail}; last refusal: {text}")
                if (text := self._problem_of(rejection)) else rejection
                for rejection in found
            ]  # fmt: skip

    def _add_joints(self) -> None:
        joints = self._contract.joint_states
        names = (*self._states, *((CHAIN,) if self._with_chain else ()))
        if not names:
            return
        tolerance_ns = _ns(self._contract.general.clock_tolerance_s)
        rule = InputRule(
            _ns(joints.max_age_s), _ns(joints.max_silence_s) + tolerance_ns,
            past_values=_PAST_JOINT_STATES if joints.align == "nearest" else 0,
        )  # fmt: skip
        self._rules.update(dict.fromkeys(names, rule))
        self.topics.append(
            ObservedTopic(joints.topic, JointState, names, self._read_joints, depth=20)
        )

    def _add_others(self, needed: Collection[str]) -> None:
        for name, picture in self._contract.pictures.items():
            if name in needed:
                past = _PAST_PICTURES if picture.align == "nearest" else 0
                self._rules[name] = replace(_rule(picture), past_values=past)
                message_type = _PICTURE_MESSAGES[picture.type]
                self.topics.append(
                    ObservedTopic(
                        picture.topic, message_type, (name,), _picture_reader(name, picture),
                        picture_type=picture.type,
                    )
                )  # fmt: skip
        for name, bank in self._contract.tokens.items():
            parts = tuple(f"{name}.{part}" for part in ("points", "features", "valid"))
            if any(part in needed for part in parts):
                self._rules.update(dict.fromkeys(parts, _rule(bank)))
                read = functools.partial(self._read_tokens, parts=parts, bank=bank)
                self.topics.append(ObservedTopic(bank.topic, PointCloud2, parts, read))
                self.layout_topics[bank.topic] = f"{bank.topic}_info"
        for name, pooled in self._contract.pooled.items():
            if name in needed:
                self._rules[name] = _rule(pooled)
                pool = functools.partial(self._pool_tokens, name=name, pooled=pooled)
                self.topics.append(ObservedTopic(pooled.topic, PointCloud2, (name,), pool))
                self.layout_topics[pooled.topic] = f"{pooled.topic}_info"
        for name, signal in self._contract.signals.items():
            if name in needed:
                self._rules[name] = replace(_rule(signal), synchronized=False)
                scores = functools.partial(_scores, name=name, signal=signal)
                self.topics.append(ObservedTopic(signal.topic, SignalEstimate, (name,), scores))

    def _noted_time(self) -> int:
        """The present time; forgets everything when the clock went back, as stamps then lie.

        Read while the lock is held: another thread's older reading would look like a clock that
        went back.
        """
        now_ns = self._now_ns()
        if now_ns < self._newest_ns - _ns(self._contract.general.clock_tolerance_s):
            self.clock_restarts += 1
            self._buffer.reset()
            self.transforms.clear()
            self._newest_ns = now_ns
        self._newest_ns = max(self._newest_ns, now_ns)
        return now_ns

    def _problem_of(self, rejection: Rejection) -> str:
        if rejection.reason not in (Reason.OBSERVATION_MISSING, Reason.OBSERVATION_STALE):
            return ""
        return next((t for n, t in self._problems.items() if f"'{n}'" in rejection.detail), "")

    def _read_joints(self, message: JointState) -> tuple[int, _Values]:
        reading = JointReading(message.name, message.position, message.velocity, message.effort)
        values: dict[str, NDArray[Any]] = {
            name: state_feature(state, reading, self._kinematics)
            for name, state in self._states.items()
        }
        if self._with_chain and self._kinematics is not None:
            values[CHAIN] = reading.values("position", self._kinematics.joint_names)
        return stamp_from_time(message.header.stamp), values

    def _read_tokens(
        self, message: PointCloud2, parts: tuple[str, ...], bank: TokenBank
    ) -> tuple[int, _Values]:
        stamp_ns, features = self._token_message(message, bank)
        xyz_m = points_from_cloud(message)
        base_from_camera = self.transforms.lookup(
            self._contract.general.base_frame, message.header.frame_id, stamp_ns,
            bank.tf_timeout_s if self._waits else 0.0,
        )  # fmt: skip
        values = token_features(xyz_m, features, base_from_camera)
        return stamp_ns, dict(zip(parts, values, strict=True))

    def _pool_tokens(
        self, message: PointCloud2, name: str, pooled: PooledTokens
    ) -> tuple[int, _Values]:
        stamp_ns, features = self._token_message(message, pooled)
        return stamp_ns, {name: pooled_feature(features, pooled.pooling)}

    def _token_message(
        self, message: PointCloud2, entry: TokenBank | PooledTokens
    ) -> tuple[int, NDArray[Any]]:
        """Stamp and features (rows, columns, C) of tokens like those of the training set."""
        layout = self._layouts.get(entry.topic)
        if layout is None:
            raise FeatureRefused(f"no TokensInfo came on {entry.topic}_info yet")
        for what, given, wanted in (
            ("backend", layout.backend, entry.backend),
            ("weights_sha256", layout.weights_sha256, entry.weights_sha256),
            ("rows", layout.rows, entry.rows),
            ("columns", layout.columns, entry.columns),
            ("channels", layout.channels, entry.channels),
            ("window_views", layout.window_views, getattr(entry, "window_views", 1)),
            ("hints", tuple(layout.hints), entry.hints),
        ):
            if given != wanted:
                raise FeatureRefused(
                    f"tokens with {what} {given!r}, the policy was trained on {wanted!r}; "
                    "configure the geometry node as for the training set"
                )
        features = field_from_cloud(message, "feature")
        features = features.reshape(*features.shape[:2], -1)
        grid = (entry.rows, entry.columns)
        if features.shape != (*grid, entry.channels):
            raise FeatureRefused(
                f"token features are {features.shape}, not {(*grid, entry.channels)}"
            )
        return stamp_from_time(message.header.stamp), features


def _picture_reader(name: str, picture: Picture) -> Callable[[Any], tuple[int, _Values]]:
    reader = PictureReader()

    def read(received: Any) -> tuple[int, _Values]:  # noqa: ANN401 - any of the inputs
        taken = reader.read(received)
        return taken.stamp_ns, {name: picture_feature(picture, taken.color)}

    return read


def _scores(message: SignalEstimate, name: str, signal: SignalScores) -> tuple[int, _Values]:
    if not message.valid:
        raise FeatureRefused(f"the estimate is not valid (status {message.status})")
    if tuple(message.class_names) != signal.classes:
        raise FeatureRefused(
            f"the estimate has classes {', '.join(message.class_names)}, the policy was trained "
            f"on {', '.join(signal.classes)}"
        )
    scores = np.array(message.scores, dtype=np.float32)
    return stamp_from_time(message.header.stamp), {name: scores}


def _rule(section: Any) -> InputRule:  # noqa: ANN401 - every observation section has both ages
    return InputRule(_ns(section.max_age_s), _ns(section.max_silence_s))


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
