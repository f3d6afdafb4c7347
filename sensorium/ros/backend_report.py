"""What a backend says beside its geometry, on its way into log and diagnostics."""

from __future__ import annotations

from rclpy.node import Node

from sensorium.geometry.backend import WindowResult
from sensorium.ros.diagnostics import Status


class BackendReport:
    """Keeps the newest words of a backend for each input.

    Args:
        node: the node, for its log.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._newest: dict[str, WindowResult] = {}
        self._warned: set[str] = set()

    def note(self, topic: str, result: WindowResult) -> None:
        """Keep a result; warnings are logged when they begin and when they end."""
        # Arrays are not kept alive for the sake of words.
        words = WindowResult(None, (), result.missing, result.warnings, result.values)
        self._newest = {**self._newest, topic: words}
        warnings = set(self.warnings)
        for text in sorted(warnings - self._warned):
            self._node.get_logger().warning(text)
        for text in sorted(self._warned - warnings):
            self._node.get_logger().info(f"no longer: {text}")
        self._warned = warnings

    def clear(self) -> None:
        """Forget everything."""
        self._newest, self._warned = {}, set()

    @property
    def missing(self) -> list[str]:
        """What the newest views lack."""
        return [text for result in self._newest.values() for text in result.missing]

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the newest results, each sentence once."""
        return list(dict.fromkeys(text for r in self._newest.values() for text in r.warnings))

    def describe(self, status: Status) -> None:
        """Add values, by input where there are several, and warn."""
        for index, result in enumerate(self._newest.values()):
            prefix = f"input{index}." if len(self._newest) > 1 else ""
            status.value(prefix + "missing", "; ".join(result.missing) or "nothing")
            for key, value in result.values.items():
                status.value(prefix + key, value)
        for text in self.warnings:
            status.warn(text)
