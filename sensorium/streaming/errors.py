"""The one error of the converter."""

from __future__ import annotations


class NotStreamableError(ValueError):
    """A network, window or hop that cannot be streamed exactly.

    The text names the layer, the numbers and a remedy.
    """

    def __init__(self, layer: str, problem: str, remedy: str) -> None:
        super().__init__(f"{layer}: {problem}. Remedy: {remedy}.")
        self.layer = layer
        self.problem = problem
        self.remedy = remedy
