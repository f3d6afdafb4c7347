"""The lifecycle of a node: four hooks, failures reported, one owner.

rclpy swallows exceptions raised in transition callbacks. Here they are caught, logged, kept as
``last_failure`` for diagnostics, and returned as FAILURE (the user can mend it: a wrong parameter,
a missing file) or ERROR (a bug, out of memory), after which everything is released again.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from sensorium.ros.parameters import ParameterBinding

C = TypeVar("C")

# What a user can mend without touching our code; anything else is an ERROR.
_MENDABLE = (ValueError, OSError, ImportError)
# Nodes that are started together come up at their own pace.
_ACTIVATIONS, _ACTIVATE_AGAIN_S = 10, 2.0


class ManagedNode(LifecycleNode, Generic[C]):
    """A lifecycle node with a typed configuration.

    A node gives four hooks; the transitions themselves are final:

    - ``set_up()``: models, publishers, services, warm-up (configure).
    - ``start()``: subscriptions, timers, workers (activate).
    - ``stop()``: the reverse of ``start`` (deactivate).
    - ``tear_down()``: the reverse of ``set_up`` (cleanup); also called after a failed ``set_up``,
      so it must cope with a half-built node.

    The lifecycle has one owner: a launch file, a manager, or the node itself when its parameter
    ``autostart`` is true (default false).
    """

    def __init__(self, name: str, configuration: type[C], **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(name, **arguments)
        self.last_failure = ""
        self._configured = False
        self._active = False
        self._fatal: Exception | None = None
        self._giving_up = self.create_guard_condition(self._give_up)
        self.declare_parameter("autostart", False)
        self.parameter_binding: ParameterBinding[C] = ParameterBinding(
            self, configuration, lambda: self._configured, self.apply_changes
        )
        self._autostart_timer = None
        self._activations_left = _ACTIVATIONS
        if self.get_parameter("autostart").value:
            # Steady time: with simulated time the node must come up before /clock does.
            self._autostart_timer = self.create_timer(
                0.0, self._autostart, clock=Clock(clock_type=ClockType.STEADY_TIME)
            )

    @property
    def configuration(self) -> C:
        """The configuration now in force."""
        return self.parameter_binding.configuration

    @property
    def is_active(self) -> bool:
        """True between activate and deactivate."""
        return self._active

    def set_up(self) -> None:
        """Make what the node needs; raise ValueError, OSError or ImportError to fail politely."""

    def start(self) -> None:
        """Begin to take input."""

    def stop(self) -> None:
        """End what `start` began."""

    def tear_down(self) -> None:
        """Release what `set_up` made; the node may be half-built."""

    def apply_changes(self, old: C, new: C) -> None:
        """Apply changed run-time parameters; raise ConfigurationError to refuse them."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters and call `set_up`; on failure release everything again."""
        del state
        return self._transition("configure", self._set_up, self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `start`; on failure call `stop`."""

        def begin() -> None:
            self._active = True
            self.start()

        result = self._transition("activate", begin, self._stop)
        return super().on_activate(state) if result == TransitionCallbackReturn.SUCCESS else result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `stop`; ERROR when the node gives up."""
        name = "deactivate" if self._fatal is None else "processing"
        result = self._transition(name, self._stop_or_fail, lambda: None)
        return (
            super().on_deactivate(state) if result == TransitionCallbackReturn.SUCCESS else result
        )

    def give_up(self, error: Exception) -> None:
        """Leave the active state by an ERROR transition, because going on makes no sense.

        May be called in any thread; it happens soon in the executor's. Everything is released, the
        text stays in ``last_failure``, and the node may be configured again. Nothing happens while
        the node is not active.
        """
        if self._active and self._fatal is None:
            self._fatal = error
            self._giving_up.trigger()

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `tear_down`."""
        del state
        return self._transition("cleanup", self._release, lambda: None)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release from any state."""
        del state
        return self._transition("shutdown", self.release, lambda: None)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        del state
        return self._transition("error handling", self.release, lambda: None)

    def release(self) -> None:
        """Stop and release whatever is held, in any state."""
        if self._active:
            self._stop()
        self._release()

    def destroy_node(self) -> None:
        """Release everything, then destroy the node."""
        self._transition("destruction", self.release, lambda: None)
        super().destroy_node()

    def _set_up(self) -> None:
        self.parameter_binding.require()
        self._configured = True
        self.set_up()
        self.last_failure = ""

    def _stop(self) -> None:
        self._active = False
        self.stop()

    def _stop_or_fail(self) -> None:
        self._stop()
        fatal, self._fatal = self._fatal, None
        if fatal is not None:
            # A RuntimeError whatever it was: it is an ERROR also where the user can mend it.
            raise RuntimeError(str(fatal)) from fatal

    def _give_up(self) -> None:
        if self._active:
            self.trigger_deactivate()
        self._fatal = None

    def _release(self) -> None:
        self._configured = False
        self.tear_down()

    def _transition(
        self, name: str, action: Callable[[], None], undo: Callable[[], None]
    ) -> TransitionCallbackReturn:
        try:
            action()
        except Exception as error:
            mendable = isinstance(error, _MENDABLE)
            self.last_failure = f"{name} failed: {error}" if str(error) else f"{name}: {error!r}"
            self.get_logger().error(self.last_failure)
            if not mendable:
                self.get_logger().error(traceback.format_exc())
            try:
                undo()
            except Exception:
                self.get_logger().error(f"undoing {name} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.FAILURE if mendable else TransitionCallbackReturn.ERROR
        self.get_logger().info(f"{name} done")
        return TransitionCallbackReturn.SUCCESS

    def _autostart(self) -> None:
        assert self._autostart_timer is not None  # noqa: S101 - set before the timer can fire
        self.destroy_timer(self._autostart_timer)
        self._autostart_timer = None
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self._autostart_activation()

    def _autostart_activation(self) -> None:
        """Activate; what activation waits for may come from a node that starts more slowly."""
        if self._autostart_timer is not None:
            self.destroy_timer(self._autostart_timer)
            self._autostart_timer = None
        if self._active or not self._configured or not self._activations_left:
            return
        self._activations_left -= 1
        if self.trigger_activate() == TransitionCallbackReturn.FAILURE and self._activations_left:
            self.get_logger().warning(
                f"autostart: activating again in {_ACTIVATE_AGAIN_S:g} s, at most "
                f"{self._activations_left} more times"
            )
            self._autostart_timer = self.create_timer(
                _ACTIVATE_AGAIN_S,
                self._autostart_activation,
                clock=Clock(clock_type=ClockType.STEADY_TIME),
            )
