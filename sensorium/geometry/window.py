"""A bounded window of views of one or several cameras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class _HasCameraName(Protocol):
    @property
    def camera_name(self) -> str: ...


ViewT = TypeVar("ViewT", bound=_HasCameraName)


class ViewWindow(Generic[ViewT]):
    """The newest views, oldest first, at most `capacity`.

    When it is full, the oldest view of the camera with the most views leaves, so that a fast wrist
    camera never pushes a slow scene camera out.
    """

    def __init__(self, capacity: int) -> None:
        """Make an empty window.

        Raises:
            ValueError: capacity below 1.
        """
        if capacity < 1:
            raise ValueError(f"window capacity is {capacity}; it must be at least 1")
        self.capacity = capacity
        self._views: list[ViewT] = []

    def add(self, view: ViewT) -> ViewT | None:
        """Append a view and return the one that left, if one had to."""
        self._views.append(view)
        if len(self._views) <= self.capacity:
            return None
        counts = Counter(kept.camera_name for kept in self._views)
        most = max(counts.values())
        leaving = next(
            index for index, kept in enumerate(self._views) if counts[kept.camera_name] == most
        )
        return self._views.pop(leaving)

    def clear(self) -> None:
        """Forget all views."""
        self._views.clear()

    def __iter__(self) -> Iterator[ViewT]:
        return iter(tuple(self._views))

    def __len__(self) -> int:
        return len(self._views)
