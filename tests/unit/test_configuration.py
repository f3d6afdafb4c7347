from dataclasses import dataclass, field

import pytest
import yaml

from sensorium.configuration import (
    ConfigurationError,
    build,
    changed,
    docs_table,
    parameter,
    parameters,
    values_of,
    yaml_text,
)


@dataclass(frozen=True)
class Map:
    voxel_size_m: float = parameter(0.02, "Edge of a voxel [m].", minimum=0.001, maximum=1.0)
    tiny: float = parameter(1e-6, "A small number.")


@dataclass(frozen=True)
class Example:
    rows: int = parameter(32, "Rows of the grid.", minimum=1, maximum=128, read_only=False)
    backend: str = parameter("sensor", "Backend.", choices=("sensor", "omnivggt"))
    enabled: bool = parameter(False, "Whether it runs.")
    topics: tuple[str, ...] = parameter(("a", "b"), "Topics.")
    nothing: tuple[float, ...] = parameter((), "No numbers.")
    map: Map = field(default_factory=Map)


def test_nested_parameters_are_named_with_dots():
    assert [p.name for p in parameters(Example)] == [
        "rows", "backend", "enabled", "topics", "nothing", "map.voxel_size_m", "map.tiny",
    ]  # fmt: skip


def test_values_replace_defaults_and_an_int_may_stand_for_a_float():
    configuration = build(Example, {"map.voxel_size_m": 1, "topics": ["x"]})
    assert configuration.map.voxel_size_m == 1.0
    assert configuration.topics == ("x",)
    assert configuration.rows == 32


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("rows", 0, "1 to 128"),
        ("rows", 1.5, "an integer"),
        ("rows", True, "a number"),
        ("backend", "magic", "'sensor', 'omnivggt'"),
        ("enabled", 1, "true or false"),
        ("topics", "a", "list"),
        ("topics", [1], "a string"),
        ("map.voxel_size_m", float("nan"), "finite"),
        ("map.voxel_size", 0.1, "did you mean 'map.voxel_size_m'"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(name, value, text):
    with pytest.raises(ConfigurationError, match="parameter") as refusal:
        build(Example, {name: value})
    assert text in str(refusal.value)


def test_a_change_keeps_the_other_values():
    old = build(Example, {"rows": 8, "topics": ["x"]})
    new = changed(old, {"backend": "omnivggt"})
    assert (new.rows, new.backend, new.topics) == (8, "omnivggt", ("x",))


def test_the_yaml_text_is_read_back_as_the_defaults():
    section = yaml.safe_load(yaml_text(Example, "/**/example"))["/**/example"]["ros__parameters"]
    flat = {}
    for name, value in section.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{inner}": v for inner, v in value.items()})
        else:
            flat[name] = value
    assert flat == values_of(Example())


def test_the_docs_table_has_a_row_per_parameter():
    table = docs_table(Example)
    assert table.count("\n") == 2 + len(parameters(Example))
    assert "| `rows` | `32` | 1 to 128 | yes | Rows of the grid. |" in table
