"""Typed configuration: one dataclass per node, from which descriptors, YAML and docs all come.

A configuration is a frozen dataclass whose fields are made by :func:`parameter` or are nested
configurations (their parameters are named with dots: ``map.voxel_size_m``). This module knows no
ROS; ``sensorium.ros.parameters`` declares the same parameters on a node.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")
Value = bool | int | float | str | list[Any]

_TYPES: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
_LISTS: dict[str, type] = {
    "list[str]": str, "list[float]": float, "list[int]": int, "list[bool]": bool,
    "tuple[str, ...]": str, "tuple[float, ...]": float, "tuple[int, ...]": int,
    "tuple[bool, ...]": bool,
}  # fmt: skip


class ConfigurationError(ValueError):
    """A parameter is unknown, of the wrong type or out of range; the text says what is allowed."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter.

    Attributes:
        name: full name with dots.
        kind: "bool", "int", "float", "str" or "list[...]".
        default: default value; tuples appear as lists.
        description: one sentence with the unit.
        minimum: smallest allowed number, or None.
        maximum: largest allowed number, or None.
        choices: the allowed strings; empty for any.
        read_only: True when the value cannot change while the node runs.
    """

    name: str
    kind: str
    default: Value
    description: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    read_only: bool

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum:g} to {self.maximum:g}"
        if self.minimum is not None:
            return f"at least {self.minimum:g}"
        if self.maximum is not None:
            return f"at most {self.maximum:g}"
        return f"any {self.kind}"

    def checked(self, value: object) -> Value:
        """Return `value` in the parameter's type.

        Raises:
            ConfigurationError: wrong type, not finite, out of range or not among the choices.
        """
        if self.kind.startswith("list"):
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise self._refusal(value, f"a {self.kind}")
            item = self.kind[5:-1]
            return [self._checked_scalar(element, item) for element in value]
        return self._checked_scalar(value, self.kind)

    def _checked_scalar(self, value: object, kind: str) -> bool | int | float | str:
        if kind == "bool":
            if not isinstance(value, bool):
                raise self._refusal(value, "true or false")
            return value
        if kind == "str":
            if not isinstance(value, str):
                raise self._refusal(value, "a string")
            if self.choices and value not in self.choices:
                raise self._refusal(value, self.allowed)
            return value
        # A bool is an int for Python, never for a user.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refusal(value, f"a number ({kind})")
        if kind == "int" and not isinstance(value, int):
            raise self._refusal(value, "an integer")
        number = int(value) if kind == "int" else float(value)
        if not math.isfinite(number):
            raise self._refusal(value, "a finite number")
        below = self.minimum is not None and number < self.minimum
        above = self.maximum is not None and number > self.maximum
        if below or above:
            raise self._refusal(value, self.allowed)
        return number

    def _refusal(self, value: object, allowed: str) -> ConfigurationError:
        return ConfigurationError(f"parameter '{self.name}' is {value!r}; allowed is {allowed}")


def parameter(
    default: Any,  # noqa: ANN401 - the type of the field it stands for
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    read_only: bool = True,
) -> Any:  # noqa: ANN401
    """Return a dataclass field that is a parameter.

    Args:
        default: default value; lists are given as tuples.
        description: one sentence with the unit, shown in descriptors and docs.
        minimum: smallest allowed number.
        maximum: largest allowed number.
        choices: allowed strings.
        read_only: False when the node applies a change while it runs.
    """
    metadata = {
        "description": description, "minimum": minimum, "maximum": maximum,
        "choices": tuple(choices), "read_only": read_only,
    }  # fmt: skip
    return field(default=default, metadata=metadata)


def parameters(configuration: type[Any]) -> tuple[Parameter, ...]:
    """Return every parameter of a configuration class, nested ones with dotted names."""
    return tuple(_walk(configuration, ""))


def _walk(configuration: type[Any], prefix: str) -> Iterator[Parameter]:
    hints = typing.get_type_hints(configuration)
    for member in fields(configuration):
        hint = hints[member.name]
        name = prefix + member.name
        if is_dataclass(hint):
            yield from _walk(typing.cast("type[Any]", hint), name + ".")
            continue
        if "description" not in member.metadata:
            raise TypeError(f"{configuration.__name__}.{member.name} is not made by parameter()")
        if member.default is MISSING:
            raise TypeError(f"{configuration.__name__}.{member.name} has no default")
        default = list(member.default) if isinstance(member.default, tuple) else member.default
        declared = Parameter(name, _kind(hint, name), default, **member.metadata)
        declared.checked(default)
        yield declared


def _kind(hint: object, name: str) -> str:
    text = hint.__name__ if isinstance(hint, type) and hint in _TYPES.values() else str(hint)
    if text in _TYPES:
        return text
    if text in _LISTS:
        return f"list[{_LISTS[text].__name__}]"
    raise TypeError(f"parameter '{name}' has type {text}, which ROS parameters cannot carry")


def build(configuration: type[T], values: Mapping[str, object]) -> T:
    """Return a configuration with the given values (dotted names); the rest are defaults.

    Raises:
        ConfigurationError: an unknown name (with the nearest known one), or a refused value.
    """
    known = {declared.name: declared for declared in parameters(configuration)}
    checked: dict[str, Value] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigurationError(unknown_parameter(name, known))
        checked[name] = known[name].checked(value)
    return _construct(configuration, checked, "")


def unknown_parameter(name: str, known: Mapping[str, object]) -> str:
    """Return the refusal of an unknown parameter, naming near misses and all known names."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown parameter '{name}'{hint} Known: {', '.join(sorted(known))}"


def _construct(configuration: type[T], values: Mapping[str, Value], prefix: str) -> T:
    hints = typing.get_type_hints(configuration)
    arguments: dict[str, Any] = {}
    for member in fields(typing.cast("Any", configuration)):
        name = prefix + member.name
        if is_dataclass(hints[member.name]):
            nested = typing.cast("type[Any]", hints[member.name])
            arguments[member.name] = _construct(nested, values, name + ".")
        elif name in values:
            value = values[name]
            arguments[member.name] = tuple(value) if isinstance(value, list) else value
    return configuration(**arguments)


def values_of(configuration: object) -> dict[str, Value]:
    """Return {dotted name: value} of a configuration instance; tuples appear as lists."""
    result: dict[str, Value] = {}
    for declared in parameters(type(configuration)):
        value: Any = configuration
        for part in declared.name.split("."):
            value = getattr(value, part)
        result[declared.name] = list(value) if isinstance(value, tuple) else value
    return result


def changed(configuration: T, values: Mapping[str, object]) -> T:
    """Return a copy of `configuration` with some values replaced.

    Raises:
        ConfigurationError: as :func:`build`.
    """
    return build(type(configuration), {**values_of(configuration), **values})


def docs_table(configuration: type[Any]) -> str:
    """Return the Markdown table of a configuration's parameters."""
    lines = [
        "| parameter | default | allowed | at run time | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for declared in parameters(configuration):
        run_time = "no" if declared.read_only else "yes"
        lines.append(
            f"| `{declared.name}` | `{_yaml_scalar(declared.default)}` | {declared.allowed} "
            f"| {run_time} | {declared.description} |"
        )
    return "\n".join(lines) + "\n"


def yaml_text(configuration: type[Any], node: str = "/**") -> str:
    """Return a ROS parameter file with every default, each with its meaning as a comment."""
    lines = [f"{node}:", "  ros__parameters:"]
    previous: list[str] = []
    for declared in parameters(configuration):
        *groups, leaf = declared.name.split(".")
        for depth, group in enumerate(groups):
            if previous[: depth + 1] != groups[: depth + 1]:
                lines.append("    " + "  " * depth + f"{group}:")
        previous = groups
        indent = "    " + "  " * len(groups)
        lines.append(f"{indent}# {declared.description} ({declared.allowed})")
        lines.append(f"{indent}{leaf}: {_yaml_scalar(declared.default)}")
    return "\n".join(lines) + "\n"


def _yaml_scalar(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_yaml_scalar(element) for element in value) + "]"
    if isinstance(value, float):
        text = repr(value)
        # YAML 1.1 reads 1e-05 as a string unless the mantissa has a point.
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    return f'"{value}"' if isinstance(value, str) else repr(value)


__all__ = [
    "ConfigurationError", "Parameter", "build", "changed", "docs_table", "parameter",
    "parameters", "unknown_parameter", "values_of", "yaml_text",
]  # fmt: skip
