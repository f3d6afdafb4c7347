"""The latch behind the emergency-stop topic."""

from __future__ import annotations

from sensorium.policy.rejections import Reason, Rejection

__all__ = ["EmergencyStop"]


class EmergencyStop:
    """Engages at once and stays engaged until somebody releases it on purpose.

    A released button does not set the robot in motion again: that takes :meth:`release`, and the
    button must then be up.

    Args:
        timeout_ns: With a number, silence of the topic for longer than this engages the latch,
            and so does never having heard it. None: the topic need not repeat itself.
    """

    def __init__(self, timeout_ns: int | None = None) -> None:
        if timeout_ns is not None and timeout_ns <= 0:
            raise ValueError(f"timeout_ns is {timeout_ns}; it must be positive or None")
        self._timeout_ns = timeout_ns
        self._pressed = False
        self._heard_ns: int | None = None
        self._cause: str | None = None

    def report(self, pressed: bool, now_ns: int) -> None:
        """Takes a message of the topic.

        Args:
            pressed: Whether the button is down.
            now_ns: When the message was received.
        """
        self._pressed = pressed
        self._heard_ns = now_ns
        if pressed:
            self._cause = "the emergency stop was pressed"

    def check(self, now_ns: int) -> Rejection | None:
        """Why the robot must not move, or None. Call it before every command."""
        silence = self._silence(now_ns)
        if silence is not None:
            self._cause = silence
        if self._cause is None:
            return None
        return Rejection(
            Reason.EMERGENCY_STOP, f"{self._cause}; it stays latched until it is released"
        )

    def release(self, now_ns: int) -> Rejection | None:
        """Releases the latch.

        Returns:
            None, or why it stays engaged: the button is down or the topic is silent.
        """
        silence = self._silence(now_ns)
        if self._pressed or silence is not None:
            return Rejection(
                Reason.EMERGENCY_STOP,
                f"{silence or 'the button is still down'}; it cannot be released",
            )
        self._cause = None
        return None

    def _silence(self, now_ns: int) -> str | None:
        if self._timeout_ns is None:
            return None
        if self._heard_ns is None:
            return "the emergency-stop topic was never heard"
        silent_ns = now_ns - self._heard_ns
        if silent_ns > self._timeout_ns:
            return f"the emergency-stop topic has been silent for {silent_ns / 1e9:.3f} s"
        if silent_ns < 0:
            return "the clock went back behind the last emergency-stop message"
        return None
