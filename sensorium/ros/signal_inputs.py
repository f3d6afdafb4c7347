"""Messages of signals as samples with stamps and named channels.

Each reader turns one message into a :class:`SignalPiece`; what a message does not really carry (a
covariance that begins with -1, an empty effort list) is absent from the piece, never zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import WrenchStamped
from sensor_msgs.msg import Imu, JointState
from sensorium_ros.msg import SignalBlock
from std_msgs.msg import Float32MultiArray

from sensorium.configuration import ConfigurationError
from sensorium.ros.convert.header import NS_PER_S

# Largest relative difference between the rate a block claims and the network's.
_CLAIM_TOLERANCE = 0.03
# ROS stamps end at 2^31 s; the samples of a message lie after its stamp, by less than an hour.
_LATEST_STAMP_NS = (2**31 - 3600) * NS_PER_S


class SignalRefused(ValueError):  # noqa: N818 - an answer, not a fault
    """A message that cannot be used.

    Attributes:
        reason: short stable word for the count.
        samples: how many samples it carried.
    """

    def __init__(self, reason: str, text: str, samples: int = 1) -> None:
        super().__init__(text)
        self.reason = reason
        self.samples = samples


@dataclass(frozen=True)
class SignalPiece:
    """Consecutive samples of one message.

    Attributes:
        stamps_ns: one per sample.
        values: (samples, channels) float32.
        names: one per channel.
        units: one per channel, or empty when the message does not say.
        rate_hz: rate that the message claims, 0 when it does not say.
        frame_id: of the header, or empty.
    """

    stamps_ns: list[int]
    values: npt.NDArray[np.float32]
    names: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float
    frame_id: str


class SignalReader(Protocol):
    """Reads one type of message.

    Attributes:
        message_type: class of the message.
        has_stamps: False when samples can only be counted.
    """

    message_type: type[Any]
    has_stamps: bool

    def read(self, message: Any, arrival_ns: int) -> SignalPiece:  # noqa: ANN401
        """Returns the samples.

        Args:
            message: of ``message_type``.
            arrival_ns: the node's clock when it was received [ns].

        Raises:
            SignalRefused: the message contradicts itself or has no stamp.
        """


def _axes(quantity: str) -> tuple[str, ...]:
    return tuple(f"{quantity}.{axis}" for axis in "xyz")


class _Stamped:
    """What readers of messages with a header share: one sample per message."""

    has_stamps = True

    @staticmethod
    def piece(
        header: Any,  # noqa: ANN401
        values: list[float],
        names: tuple[str, ...],
        units: tuple[str, ...],
    ) -> SignalPiece:
        stamp_ns = _stamp(header, 1)
        row = np.array([values], np.float32)
        return SignalPiece([stamp_ns], row, names, units, 0.0, header.frame_id)


class ImuReader(_Stamped):
    """sensor_msgs/Imu: angular_velocity.x ..., linear_acceleration.x ..., orientation.x ... .w."""

    message_type = Imu
    _PARTS = (
        ("angular_velocity", _axes("angular_velocity"), ("rad/s",) * 3),
        ("linear_acceleration", _axes("linear_acceleration"), ("m/s^2",) * 3),
        ("orientation", (*_axes("orientation"), "orientation.w"), ("",) * 4),
    )

    def read(self, message: Any, arrival_ns: int) -> SignalPiece:  # noqa: ANN401
        """See SignalReader; a covariance that begins with -1 means "not measured"."""
        del arrival_ns
        values: list[float] = []
        names: tuple[str, ...] = ()
        units: tuple[str, ...] = ()
        for part, part_names, part_units in self._PARTS:
            if getattr(message, f"{part}_covariance")[0] == -1.0:
                continue
            vector = getattr(message, part)
            values += (vector.x, vector.y, vector.z)
            if part == "orientation":
                values.append(vector.w)
            names += part_names
            units += part_units
        return self.piece(message.header, values, names, units)


class WrenchReader(_Stamped):
    """geometry_msgs/WrenchStamped: force.x ... [N], torque.x ... [N m]."""

    message_type = WrenchStamped
    _NAMES = _axes("force") + _axes("torque")
    _UNITS = ("N",) * 3 + ("N m",) * 3

    def read(self, message: Any, arrival_ns: int) -> SignalPiece:  # noqa: ANN401
        """See SignalReader."""
        del arrival_ns
        force, torque = message.wrench.force, message.wrench.torque
        values = [force.x, force.y, force.z, torque.x, torque.y, torque.z]
        return self.piece(message.header, values, self._NAMES, self._UNITS)


class JointEffortReader(_Stamped):
    """sensor_msgs/JointState: <joint>.effort; joints by name, in whatever order they come."""

    message_type = JointState

    def read(self, message: Any, arrival_ns: int) -> SignalPiece:  # noqa: ANN401
        """See SignalReader."""
        del arrival_ns
        if len(message.effort) != len(message.name) or not message.name:
            raise SignalRefused(
                "no_effort",
                f"JointState has {len(message.name)} names and {len(message.effort)} efforts; the "
                "driver must fill one effort per joint",
            )
        names = tuple(f"{name}.effort" for name in message.name)
        return self.piece(message.header, list(message.effort), names, ())


class SignalBlockReader:
    """sensorium_ros/SignalBlock: channels as it names them."""

    message_type = SignalBlock
    has_stamps = True

    def read(self, message: Any, arrival_ns: int) -> SignalPiece:  # noqa: ANN401
        """See SignalReader."""
        del arrival_ns
        names, units = tuple(message.channel_names), tuple(message.units)
        values = np.asarray(message.samples, np.float32)
        samples, rest = divmod(values.size, len(names)) if names else (0, 1)
        if rest or not samples or len(set(names)) < len(names) or len(units) not in (0, len(names)):
            raise SignalRefused(
                "shape",
                f"SignalBlock has {values.size} values for channels {list(names)} with "
                f"{len(units)} units; it needs distinct names, whole samples, and no or one unit "
                "per channel",
                max(1, samples),
            )
        if not 0 < message.rate_hz < float("inf"):
            raise SignalRefused(
                "rate", f"SignalBlock has rate_hz {message.rate_hz}; set the sampling rate", samples
            )
        first_ns = _stamp(message.header, samples)
        period_ns = NS_PER_S / message.rate_hz
        stamps = [first_ns + round(i * period_ns) for i in range(samples)]
        return SignalPiece(
            stamps, values.reshape(samples, -1), names, units, message.rate_hz,
            message.header.frame_id,
        )  # fmt: skip


class FloatArrayReader:
    """std_msgs/Float32MultiArray, which has neither stamp nor names: both are declared.

    The newest sample of a message is taken to be as old as its arrival; samples are counted, since
    arrival times say little. A lost message cannot be noticed: SignalBlock does not have this flaw.

    Args:
        rate_hz: declared sampling rate [Hz].
        names: declared channels, in the order of the data.
    """

    message_type = Float32MultiArray
    has_stamps = False

    def __init__(self, rate_hz: float, names: tuple[str, ...]) -> None:
        if not rate_hz > 0 or not names or len(set(names)) < len(names):
            raise ConfigurationError(
                f"input 'float_array' has no header: declare 'rate_hz' (now {rate_hz:g}) and "
                f"distinct 'channel_names' (now {list(names)})"
            )
        self._rate_hz, self._names = rate_hz, names

    def read(self, message: Any, arrival_ns: int) -> SignalPiece:  # noqa: ANN401
        """See SignalReader."""
        if arrival_ns <= 0:
            raise SignalRefused("no_clock", "simulated time has not begun: nothing comes on /clock")
        values = np.asarray(message.data, np.float32)
        channels = len(self._names)
        sizes = [dim.size for dim in message.layout.dim]
        samples, rest = divmod(values.size, channels)
        if rest or not samples or (len(sizes) > 1 and sizes[-1] != channels):
            raise SignalRefused(
                "shape",
                f"Float32MultiArray has {values.size} values in dimensions {sizes}; declared are "
                f"{channels} channels, the last dimension",
                max(1, samples),
            )
        period_ns = NS_PER_S / self._rate_hz
        stamps = [arrival_ns - round((samples - 1 - i) * period_ns) for i in range(samples)]
        return SignalPiece(
            stamps, values.reshape(samples, channels), self._names, (), self._rate_hz, ""
        )


_READERS: dict[str, Callable[[], SignalReader]] = {
    "imu": ImuReader,
    "wrench": WrenchReader,
    "joint_effort": JointEffortReader,
    "signal_block": SignalBlockReader,
}
SIGNAL_INPUTS = (*_READERS, "float_array")


def make_reader(kind: str, rate_hz: float, names: tuple[str, ...]) -> SignalReader:
    """Return the reader of an input kind; rate and names are declared for "float_array" only.

    Raises:
        ConfigurationError: unknown kind, or a declaration that is missing or has no meaning.
    """
    if kind == "float_array":
        return FloatArrayReader(rate_hz, names)
    if kind not in _READERS:
        raise ConfigurationError(f"input '{kind}' is unknown; allowed: {', '.join(SIGNAL_INPUTS)}")
    if rate_hz or names:
        raise ConfigurationError(
            f"'rate_hz' and 'channel_names' are declared for input 'float_array' only; '{kind}' "
            "messages say both themselves"
        )
    return _READERS[kind]()


class ChannelSelection:
    """Picks a network's channels from pieces, by name.

    Args:
        names: the network's channels, in order.
        units: their units, "" where unknown.
        rate_hz: the network's rate [Hz].
    """

    def __init__(self, names: tuple[str, ...], units: tuple[str, ...], rate_hz: float) -> None:
        self._names, self._units, self._rate_hz = names, units, rate_hz
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = {}

    def select(self, piece: SignalPiece) -> npt.NDArray[np.float32]:
        """Return (samples, the network's channels).

        Raises:
            SignalRefused: a channel is absent, in another unit, or the claimed rate is another.
        """
        samples = len(piece.stamps_ns)
        if piece.rate_hz and abs(piece.rate_hz / self._rate_hz - 1) > _CLAIM_TOLERANCE:
            raise SignalRefused(
                "rate",
                f"the signal is sampled at {piece.rate_hz:g} Hz, the network was trained at "
                f"{self._rate_hz:g} Hz: resample, or use a network for this rate",
                samples,
            )
        key = (piece.names, piece.units)
        if key not in self._known:
            self._known[key] = self._columns(piece, samples)
        return piece.values[:, self._known[key]]

    def _columns(self, piece: SignalPiece, samples: int) -> list[int]:
        absent = [name for name in self._names if name not in piece.names]
        if absent:
            raise SignalRefused(
                "channel",
                f"the message does not measure {absent} (absent, or its covariance begins with "
                f"-1); it has {list(piece.names)}",
                samples,
            )
        columns = [piece.names.index(name) for name in self._names]
        for column, name, unit in zip(columns, self._names, self._units, strict=True):
            given = piece.units[column] if piece.units else ""
            if unit and given and given != unit:
                raise SignalRefused(
                    "unit",
                    f"channel '{name}' comes in {given}, the network was trained in {unit}",
                    samples,
                )
        return columns


def _stamp(header: Any, samples: int) -> int:  # noqa: ANN401
    stamp_ns = int(header.stamp.sec) * NS_PER_S + int(header.stamp.nanosec)
    if stamp_ns <= 0:
        raise SignalRefused(
            "no_stamp",
            "the header's stamp is zero or negative; the driver must stamp its samples",
            samples,
        )
    if stamp_ns > _LATEST_STAMP_NS or header.stamp.nanosec >= NS_PER_S:
        raise SignalRefused(
            "bad_stamp",
            f"the header's stamp is sec={header.stamp.sec} nanosec={header.stamp.nanosec}, no "
            "time that ROS can go on from; check the driver's clock",
            samples,
        )
    return stamp_ns
