"""Our node classes must not reuse the private names of rclpy's Node: that breaks the executor."""

import ast
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
from rclpy.lifecycle import LifecycleNode

ROOT = Path(__file__).resolve().parents[2]
FILES = [*(ROOT / "nodes").glob("*.py"), ROOT / "sensorium/ros/lifecycle.py"]


@pytest.fixture(scope="module")
def taken():
    rclpy.init()
    node = LifecycleNode("names")
    names = set(vars(node)) | set(dir(LifecycleNode))
    node.destroy_node()
    rclpy.try_shutdown()
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_attribute_of_a_node_shadows_one_of_rclpy(path, taken):
    for node in ast.walk(ast.parse(path.read_text())):
        is_ours = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if is_ours and isinstance(node.value, ast.Name) and node.value.id == "self":
            assert node.attr not in taken, f"{path.name}:{node.lineno} self.{node.attr}"
