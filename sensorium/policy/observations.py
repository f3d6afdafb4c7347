"""The newest input of every feature, and whether together they may be shown to the policy."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.policy.rejections import Reason, Rejection

__all__ = ["InputRule", "Observation", "ObservationBuffer", "refusal_in_lockstep"]


@dataclass(frozen=True)
class InputRule:
    """How fresh one input must be.

    Attributes:
        max_age_ns: Oldest header stamp, seen from now.
        max_silence_ns: Longest time since a message was received; catches a driver that
            stamps its messages wrongly or a clock that stands still.
        synchronized: Whether the stamp takes part in the skew rule; false for what changes slowly.
        past_values: With a number, take of so many last values the one whose stamp is nearest to
            the inputs that are not aligned: for joint states and pictures, which come sooner than
            what is made of them. Age and silence are those of the newest value. 0 takes the newest.

    Raises:
        ValueError: A duration is not positive or ``past_values`` is negative.
    """

    max_age_ns: int
    max_silence_ns: int
    synchronized: bool = True
    past_values: int = 0

    def __post_init__(self) -> None:
        if self.max_age_ns <= 0 or self.max_silence_ns <= 0 or self.past_values < 0:
            raise ValueError(
                f"max_age_ns {self.max_age_ns} and max_silence_ns {self.max_silence_ns} must be "
                f"positive, past_values {self.past_values} not negative"
            )


@dataclass(frozen=True, eq=False)
class Observation:
    """Inputs that passed every rule.

    Attributes:
        stamp_ns: Oldest stamp of the synchronized inputs (of all, where none is): the time the
            policy's answer is counted from.
        features: Arrays by feature name.
    """

    stamp_ns: int
    features: Mapping[str, NDArray[Any]]


def refusal_in_lockstep(observation: Observation, now_ns: int) -> Rejection | None:
    """Why an observation is no answer to a world in lockstep, which waits at the present moment."""
    if observation.stamp_ns >= now_ns:
        return None
    age_s = (now_ns - observation.stamp_ns) / 1e9
    return Rejection(
        Reason.OBSERVATION_STALE,
        f"the newest observation is {age_s:.3f} s older than the clock of a lockstep",
    )


@dataclass(frozen=True, eq=False)
class _Input:
    value: NDArray[Any]
    stamp_ns: int
    received_ns: int


class ObservationBuffer:
    """Keeps the newest value of every feature and refuses to combine what does not belong together.

    Nothing is ever filled in: an input that is missing, stale, skewed, from the future or not
    finite refuses the observation.

    Args:
        rules: The features the policy needs, with their rules.
        max_skew_ns: Largest distance between the stamps of synchronized inputs.
        clock_tolerance_ns: How far in the future a stamp may lie.

    Raises:
        ValueError: There is no rule or a duration is negative.
    """

    def __init__(
        self, rules: Mapping[str, InputRule], *, max_skew_ns: int, clock_tolerance_ns: int = 0
    ) -> None:
        if not rules or max_skew_ns < 0 or clock_tolerance_ns < 0:
            raise ValueError(
                f"{len(rules)} rules, max_skew_ns {max_skew_ns}, clock_tolerance_ns "
                f"{clock_tolerance_ns}: give at least one rule and no negative duration"
            )
        self._rules = dict(rules)
        self._max_skew_ns = max_skew_ns
        self._clock_tolerance_ns = clock_tolerance_ns
        self._inputs: dict[str, _Input] = {}
        self._past: dict[str, deque[_Input]] = {
            name: deque(maxlen=rule.past_values)
            for name, rule in self._rules.items()
            if rule.past_values
        }

    def put(self, name: str, value: NDArray[Any], *, stamp_ns: int, received_ns: int) -> None:
        """Takes a new value; an older stamp than the one held is ignored.

        Unless the one held lies in the future: then the clock went back since, and whatever was
        still under way must not keep out what comes now.

        Args:
            name: Feature name; must have a rule.
            value: The array. It is kept, not copied, and must not change afterwards.
            stamp_ns: Time of measurement, from the header.
            received_ns: Time of reception, on the same clock as ``now_ns`` later.

        Raises:
            KeyError: The feature has no rule.
        """
        if name not in self._rules:
            raise KeyError(f"'{name}' is no input of the policy; inputs: {sorted(self._rules)}")
        held = self._inputs.get(name)
        latest_ns = received_ns + self._clock_tolerance_ns
        if held is not None and stamp_ns < held.stamp_ns and held.stamp_ns > latest_ns:
            held = None
            if name in self._past:
                self._past[name].clear()
        if held is None or stamp_ns >= held.stamp_ns:
            self._inputs[name] = _Input(value, stamp_ns, received_ns)
            if name in self._past:
                self._past[name].append(self._inputs[name])

    def reset(self) -> None:
        """Forgets all values: after a clock jump or a deactivation."""
        self._inputs.clear()
        for values in self._past.values():
            values.clear()

    def observe(self, now_ns: int) -> Observation | list[Rejection]:
        """The observation of this moment, or every reason why there is none.

        Args:
            now_ns: The present time.

        Returns:
            The observation, or a list of at least one rejection.
        """
        rejections = [
            rejection
            for name, rule in self._rules.items()
            if (rejection := self._check_input(name, rule, now_ns)) is not None
        ]
        if rejections:
            return rejections
        inputs = self._aligned()
        # A value taken from before the newest one has not been looked at.
        rejections = [
            rejection
            for name, item in inputs.items()
            if item is not self._inputs[name]
            and (rejection := _check_finite(name, item)) is not None
        ]
        if rejections:
            return rejections
        synchronized = {n: i for n, i in inputs.items() if self._rules[n].synchronized}
        skewed = self._check_skew(synchronized)
        if skewed is not None:
            return [skewed]
        return Observation(
            min(item.stamp_ns for item in (synchronized or inputs).values()),
            {name: inputs[name].value for name in self._rules},
        )

    def _aligned(self) -> dict[str, _Input]:
        """The newest inputs; of those to be aligned, the values nearest to the others' oldest."""
        fixed = [
            item.stamp_ns
            for name, item in self._inputs.items()
            if self._rules[name].synchronized and not self._rules[name].past_values
        ]
        if not fixed:
            return self._inputs
        reference_ns = min(fixed)
        nearest = {
            name: min(values, key=lambda item: abs(item.stamp_ns - reference_ns))
            for name, values in self._past.items()
        }
        return {**self._inputs, **nearest}

    def _check_input(self, name: str, rule: InputRule, now_ns: int) -> Rejection | None:
        item = self._inputs.get(name)
        if item is None:
            return Rejection(
                Reason.OBSERVATION_MISSING,
                f"'{name}' was never received; check its topic, QoS and publisher",
            )
        age_ns, silence_ns = now_ns - item.stamp_ns, now_ns - item.received_ns
        if age_ns < -self._clock_tolerance_ns or silence_ns < -self._clock_tolerance_ns:
            return Rejection(
                Reason.OBSERVATION_FROM_FUTURE,
                f"'{name}' is stamped {-age_ns / 1e9:.3f} s and was received "
                f"{-silence_ns / 1e9:.3f} s in the future; check that the clocks agree",
            )
        if age_ns > rule.max_age_ns:
            return Rejection(
                Reason.OBSERVATION_STALE,
                f"'{name}' is {age_ns / 1e9:.3f} s old (limit {rule.max_age_ns / 1e9:.3f} s)",
            )
        if silence_ns > rule.max_silence_ns:
            return Rejection(
                Reason.OBSERVATION_STALE,
                f"'{name}' was last received {silence_ns / 1e9:.3f} s ago (limit "
                f"{rule.max_silence_ns / 1e9:.3f} s)",
            )
        return _check_finite(name, item)

    def _check_skew(self, synchronized: Mapping[str, _Input]) -> Rejection | None:
        stamps = {name: item.stamp_ns for name, item in synchronized.items()}
        if not stamps:
            return None
        oldest, newest = min(stamps, key=stamps.__getitem__), max(stamps, key=stamps.__getitem__)
        skew_ns = stamps[newest] - stamps[oldest]
        if skew_ns <= self._max_skew_ns:
            return None
        return Rejection(
            Reason.OBSERVATION_SKEWED,
            f"'{oldest}' and '{newest}' are {skew_ns / 1e9:.3f} s apart (limit "
            f"{self._max_skew_ns / 1e9:.3f} s)",
        )


def _check_finite(name: str, item: _Input) -> Rejection | None:
    if np.issubdtype(item.value.dtype, np.inexact) and not np.isfinite(item.value).all():
        count = int((~np.isfinite(item.value)).sum())
        return Rejection(
            Reason.OBSERVATION_NOT_FINITE,
            f"'{name}' holds {count} of {item.value.size} values that are not finite",
        )
    return None
