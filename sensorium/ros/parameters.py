"""Typed configuration on a node: declared with descriptors, checked, changed or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from sensorium.configuration import (
    ConfigurationError,
    Parameter,
    Value,
    build,
    changed,
    parameters,
    unknown_parameter,
)

C = TypeVar("C")

# Parameters that rclpy declares itself, besides "qos_overrides.*".
_ROS_PARAMETERS = ("use_sim_time", "start_type_description_service")
_WIDEST_INTEGER = 2**63 - 1
_WIDEST_FLOAT = 1.7976931348623157e308


class ParameterBinding(Generic[C]):
    """A configuration class declared on a node.

    A value from the command line or a parameter file that is refused does not stop the process: the
    parameter keeps its default, and :meth:`require` raises with every refusal, so that the node can
    say why it does not configure. Setting the parameter to an allowed value clears the refusal.

    Args:
        node: the node; its parameters are declared at once.
        configuration: the dataclass (see sensorium.configuration).
        is_fixed: says whether read-only parameters may change now (True once configured).
        apply: called with (old, new) before a change is accepted; raises ConfigurationError to
            refuse it.
    """

    def __init__(
        self,
        node: Node,
        configuration: type[C],
        is_fixed: Callable[[], bool],
        apply: Callable[[C, C], None],
    ) -> None:
        self._node = node
        self._declared = {declared.name: declared for declared in parameters(configuration)}
        self._is_fixed = is_fixed
        self._apply = apply
        self._refusals: dict[str, str] = {}
        overrides: dict[str, RosParameter] = getattr(node, "_parameter_overrides", {})
        values: dict[str, object] = {}
        for declared in self._declared.values():
            value = self._initial(declared, overrides.get(declared.name))
            values[declared.name] = value
            node.declare_parameter(declared.name, value, descriptor(declared), ignore_override=True)
        self.configuration: C = build(configuration, values)
        self._note_unknown(overrides)
        node.add_on_set_parameters_callback(self._on_set)

    def require(self) -> C:
        """Return the configuration.

        Raises:
            ConfigurationError: a value given at start was refused or unknown.
        """
        if self._refusals:
            raise ConfigurationError("; ".join(self._refusals.values()))
        return self.configuration

    def _initial(self, declared: Parameter, override: RosParameter | None) -> Value:
        if override is None:
            return declared.default
        value = override.value
        # YAML writes 1 for 1.0, and an empty list has no type of its own.
        if declared.kind.startswith("list") and value is None:
            value = []
        elif declared.kind.startswith("list") and not isinstance(value, str | bytes | bool | int):
            value = list(value)
        try:
            return declared.checked(value)
        except ConfigurationError as error:
            self._refusals[declared.name] = str(error)
            return declared.default

    def _note_unknown(self, overrides: dict[str, RosParameter]) -> None:
        for name in overrides:
            known = name in self._declared or self._node.has_parameter(name)
            if not known and name not in _ROS_PARAMETERS and not name.startswith("qos_overrides."):
                self._refusals[name] = unknown_parameter(name, self._declared)

    def _on_set(self, changes: Sequence[RosParameter]) -> SetParametersResult:
        ours = {change.name: change.value for change in changes if change.name in self._declared}
        if not ours:
            return SetParametersResult(successful=True)
        try:
            fixed = [name for name in ours if self._declared[name].read_only]
            if fixed and self._is_fixed():
                raise ConfigurationError(
                    f"'{fixed[0]}' is fixed while the node is configured: "
                    "clean the node up (ros2 lifecycle set ... cleanup), set it, configure again"
                )
            new = changed(self.configuration, ours)
            self._apply(self.configuration, new)
        except ConfigurationError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.configuration = new
        for name in ours:
            self._refusals.pop(name, None)
        return SetParametersResult(successful=True)


def descriptor(declared: Parameter) -> ParameterDescriptor:
    """Return the ROS descriptor of a parameter: meaning, range, allowed strings."""
    result = ParameterDescriptor(
        name=declared.name,
        description=declared.description,
        # An empty list carries no element type, so list types are checked by Parameter.checked.
        dynamic_typing=declared.kind.startswith("list"),
    )
    constraints = []
    if declared.choices:
        constraints.append(f"allowed: {declared.allowed}")
    if declared.read_only:
        constraints.append("fixed while the node is configured")
    result.additional_constraints = "; ".join(constraints)
    bounded = declared.minimum is not None or declared.maximum is not None
    if bounded and declared.kind == "int":
        low = -_WIDEST_INTEGER if declared.minimum is None else int(declared.minimum)
        high = _WIDEST_INTEGER if declared.maximum is None else int(declared.maximum)
        result.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif bounded and declared.kind == "float":
        low_float = -_WIDEST_FLOAT if declared.minimum is None else float(declared.minimum)
        high_float = _WIDEST_FLOAT if declared.maximum is None else float(declared.maximum)
        result.floating_point_range = [
            FloatingPointRange(from_value=low_float, to_value=high_float, step=0.0)
        ]
    return result
