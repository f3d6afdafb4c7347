"""The house has floors: imports go down only (docs/architecture.md)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROS = ("rclpy", "rcl_interfaces", "sensorium_ros", "builtin_interfaces", "launch", "launch_ros")
NEVER = ("torchvision", "timm", "open_clip", "transformers", "detectron2")


def files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path):
    """Every module that a file names in an import, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def is_ros(module):
    top = module.partition(".")[0]
    return top in ROS or top.endswith(("_msgs", "_srvs"))


LIBRARY = [p for p in files("sensorium") if ROOT / "sensorium/ros" not in p.parents]


@pytest.mark.parametrize(
    "path", [*LIBRARY, *files("models")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_ros_is_imported_only_by_nodes_and_the_node_kit(path):
    for module in imported(path):
        assert not is_ros(module), f"{path} imports {module}"


@pytest.mark.parametrize("path", files("models"), ids=lambda p: str(p.relative_to(ROOT)))
def test_models_import_nothing_of_the_floors_above(path):
    for module in imported(path):
        above = module.startswith("sensorium") and not module.startswith("sensorium.models")
        assert not above, f"{path} imports {module}"


@pytest.mark.parametrize("path", files("sensorium"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_library_never_imports_nodes_and_the_kit_never_imports_models(path):
    in_kit = ROOT / "sensorium/ros" in path.parents
    for module in imported(path):
        assert not module.startswith("sensorium.nodes"), f"{path} imports {module}"
        if ROOT / "sensorium/cli" not in path.parents:
            assert not module.startswith("sensorium.cli"), f"{path} imports {module}"
        if in_kit:
            assert not module.startswith("sensorium.models"), f"{path} imports {module}"


@pytest.mark.parametrize(
    "path", [*files("sensorium"), *files("models"), *files("nodes")],
    ids=lambda p: str(p.relative_to(ROOT)),
)  # fmt: skip
def test_packages_that_must_not_be_needed_are_not_imported(path):
    for module in imported(path):
        assert module.partition(".")[0] not in NEVER, f"{path} imports {module}"


@pytest.mark.parametrize(
    "path", [*files("sensorium"), *files("models"), *files("nodes")],
    ids=lambda p: str(p.relative_to(ROOT)),
)  # fmt: skip
def test_weights_are_data_never_code(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in ("eval", "exec", "pickle.load", "pickle.loads"), (
            f"{path}:{node.lineno}"
        )
        if called == "torch.load":
            safe = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("weights_only")
            assert safe == "True", f"{path}:{node.lineno} torch.load without weights_only=True"


def test_importing_the_library_pulls_in_no_ros():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in LIBRARY
        if path.stem != "__main__"
    ]
    # bringup's command line reaches into the node kit inside a function only.
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print([m for m in sys.modules if m.partition('.')[0] == 'rclpy'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/tmp"
    )
    assert result.stdout.strip() == "[]", result.stderr
