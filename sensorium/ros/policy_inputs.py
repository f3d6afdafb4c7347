"""What a policy observes: the topics of its contract, converted and kept until asked for."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState, PointCloud2
from sensorium_ros.msg import SignalEstimate, TokensInfo

from sensorium.policy.contract import Contract, Picture, SignalScores, TokenBank
from sensorium.policy.features import (
    FeatureRefused,
    JointReading,
    picture_feature,
    state_feature,
    token_features,
)
from sensorium.policy.kinematics import Kinematics
from sensorium.policy.observations import InputRule, Observation, ObservationBuffer
from sensorium.policy.rejections import Reason, Rejection
from sensorium.ros.color_input import PictureReader, PictureRefused, open_color_input
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.pointcloud import field_from_cloud, points_from_cloud
from sensorium.ros.diagnostics import Rejections, Status
from sensorium.ros.inputs import MonitoredSubscription
from sensorium.ros.qos import LATCHED_QOS, qos_profile
from sensorium.ros.tf import TransformBuffer, TransformError, TransformListener
from sensorium.ros.worker import NewestOnlyWorker

CHAIN = "chain"
"""Entry of an observation: positions of the kinematic chain's joints. Not shown to the policy."""

# A second of joint states at 500 Hz; as long as pictures take to become tokens.
_PAST_JOINT_STATES = 500
_PAST_PICTURES = 10

_Values = Mapping[str, NDArray[Any]]
# Reads a message: (stamp [ns], values by name).
_Reader = Callable[[Any], tuple[int, _Values]]


class PolicyInputs:
    """Subscribes to what a policy needs; converts in a thread of its own.

    Args:
        node: the node.
        contract: which topic makes which feature.
        needed: the features that the policy reads; others of the contract are not subscribed.
        kinematics: the chain to the tip, where the contract needs it.
        rejections: takes messages that make no feature.
        now_ns: reads the ROS clock.
        changed: called from the converting thread after each new value.
        qos: name of the subscriptions' QoS.
    """

    def __init__(
        self,
        node: Node,
        contract: Contract,
        needed: Collection[str],
        kinematics: Kinematics | None,
        *,
        rejections: Rejections,
        now_ns: Callable[[], int],
        changed: Callable[[], None],
        qos: str,
    ) -> None:
        self._node = node
        self._contract = contract
        self._kinematics = kinematics
        self._rejections = rejections
        self._now_ns = now_ns
        self._changed = changed
        self._qos = qos
        self._lock = threading.Lock()
        self._newest_ns = 0
        self.clock_restarts = 0
        self._problems: dict[str, str] = {}
        self._layouts: dict[str, TokensInfo] = {}
        self._transforms = TransformBuffer()
        self._listener: TransformListener | None = None
        self._states = {n: s for n, s in contract.states.items() if n in needed}
        self._with_chain = contract.has_tip_actions
        self.sources: list[Any] = []
        self._rules: dict[str, InputRule] = {}
        self._converting: NewestOnlyWorker[tuple[_Reader, tuple[str, ...], Any, int]] = (
            NewestOnlyWorker("policy_inputs", self._convert, self._report)
        )
        self._subscribe(needed)
        self._buffer = ObservationBuffer(
            self._rules,
            max_skew_ns=_ns(contract.general.max_skew_s),
            clock_tolerance_ns=_ns(contract.general.clock_tolerance_s),
        )
        self._converting.start()

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

    def close(self) -> None:
        """Unsubscribe and end the thread."""
        for source in self.sources:
            source.close()
        self.sources = []
        if self._listener is not None:
            self._listener.close()
        self._converting.stop()

    def describe(self, status: Status) -> None:
        """Add counts of every input to a status."""
        for source in self.sources:
            source.describe(status, source.topic)
        status.value("inputs_superseded", self._converting.counts.superseded)
        status.value("clock_restarts", self.clock_restarts)

    def _subscribe(self, needed: Collection[str]) -> None:
        contract = self._contract
        tolerance_ns = _ns(contract.general.clock_tolerance_s)
        joints = contract.joint_states
        names = [*self._states, *([CHAIN] if self._with_chain else [])]
        if names:
            rule = InputRule(
                _ns(joints.max_age_s), _ns(joints.max_silence_s) + tolerance_ns,
                past_values=_PAST_JOINT_STATES if joints.align == "nearest" else 0,
            )  # fmt: skip
            self._rules.update(dict.fromkeys(names, rule))
            self._listen(JointState, joints.topic, names, self._read_joints, depth=20)
        for name, picture in contract.pictures.items():
            if name in needed:
                past = _PAST_PICTURES if picture.align == "nearest" else 0
                self._rules[name] = replace(_rule(picture), past_values=past)
                store = self._storing(_picture_reader(name, picture), (name,))
                self.sources.append(
                    open_color_input(
                        self._node, picture.type, picture.topic, store, qos_profile(self._qos)
                    )
                )
        for name, bank in contract.tokens.items():
            parts = [f"{name}.{part}" for part in ("points", "features", "valid")]
            if any(part in needed for part in parts):
                self._rules.update(dict.fromkeys(parts, _rule(bank)))
                self._open_tokens(parts, bank)
        for name, signal in contract.signals.items():
            if name in needed:
                self._rules[name] = replace(_rule(signal), synchronized=False)
                read = functools.partial(_scores, name=name, signal=signal)
                self._listen(SignalEstimate, signal.topic, [name], read)

    def _open_tokens(self, parts: list[str], bank: TokenBank) -> None:
        if self._listener is None:
            self._listener = TransformListener(self._node, self._transforms)
        self.sources.append(
            MonitoredSubscription(
                self._node, TokensInfo, f"{bank.topic}_info",
                lambda message: self._layouts.__setitem__(bank.topic, message),
                qos_profile(LATCHED_QOS),
            )
        )  # fmt: skip
        self._listen(PointCloud2, bank.topic, parts, lambda m: self._read_tokens(m, parts, bank))

    def _listen(
        self, message_type: type[Any], topic: str, names: Iterable[str], read: _Reader,
        depth: int = 5,
    ) -> None:  # fmt: skip
        store = self._storing(read, tuple(names))
        self.sources.append(
            MonitoredSubscription(
                self._node, message_type, topic, store, qos_profile(self._qos, depth)
            )
        )

    def _storing(self, read: _Reader, names: tuple[str, ...]) -> Callable[[Any], None]:
        def store(message: Any) -> None:  # noqa: ANN401 - any of the inputs
            self._converting.submit((read, names, message, self._now_ns()), names[0])

        return store

    def _convert(self, item: tuple[_Reader, tuple[str, ...], Any, int]) -> None:
        read, names, message, received_ns = item
        try:
            stamp_ns, values = read(message)
        except (FeatureRefused, PictureRefused, ConversionError, TransformError) as refusal:
            self._rejections.add("input_refused", f"{names[0]}: {refusal}")
            self._problems.update(dict.fromkeys(names, str(refusal)))
            return
        with self._lock:
            self._noted_time()
            for name, value in values.items():
                self._problems.pop(name, None)
                self._buffer.put(name, value, stamp_ns=stamp_ns, received_ns=received_ns)
        self._changed()

    def _report(self, item: tuple[_Reader, tuple[str, ...], Any, int], error: Exception) -> None:
        self._rejections.add("input_failed", f"{item[1][0]}: {error!r}")

    def _noted_time(self) -> int:
        """The present time; forgets everything when the clock went back, as stamps then lie.

        Read while the lock is held: another thread's older reading would look like a clock that
        went back.
        """
        now_ns = self._now_ns()
        if now_ns < self._newest_ns - _ns(self._contract.general.clock_tolerance_s):
            self.clock_restarts += 1
            self._buffer.reset()
            self._transforms.clear()
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
        self, message: PointCloud2, parts: list[str], bank: TokenBank
    ) -> tuple[int, _Values]:
        layout = self._layouts.get(bank.topic)
        if layout is None:
            raise FeatureRefused(f"no TokensInfo came on {bank.topic}_info yet")
        for what, given, wanted in (
            ("backend", layout.backend, bank.backend),
            ("weights_sha256", layout.weights_sha256, bank.weights_sha256),
            ("rows", layout.rows, bank.rows),
            ("columns", layout.columns, bank.columns),
            ("channels", layout.channels, bank.channels),
        ):
            if given != wanted:
                raise FeatureRefused(
                    f"tokens with {what} {given!r}, the policy was trained on {wanted!r}; "
                    "configure the geometry node as for the training set"
                )
        stamp_ns = stamp_from_time(message.header.stamp)
        xyz_m = points_from_cloud(message)
        features = field_from_cloud(message, "feature")
        if xyz_m.shape[:2] != (bank.rows, bank.columns):
            raise FeatureRefused(f"tokens are {xyz_m.shape[:2]}, not {bank.rows} x {bank.columns}")
        base_from_camera = self._transforms.lookup(
            self._contract.general.base_frame, message.header.frame_id, stamp_ns, bank.tf_timeout_s
        )
        values = token_features(xyz_m, features, base_from_camera)
        return stamp_ns, dict(zip(parts, values, strict=True))


def _picture_reader(name: str, picture: Picture) -> _Reader:
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
