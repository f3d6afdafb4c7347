"""What a camera gave before and gives no longer: depth unplugged, transforms lost."""

from __future__ import annotations

from sensorium.frames import RgbdFrame


class InputChanges:
    """Remembers, camera by camera, which inputs have come, and names those that come no longer.

    What a camera never had is not reported: a colour camera without depth is no fault.
    """

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {}
        self._lost: dict[str, set[str]] = {}

    def update(self, view: RgbdFrame) -> None:
        """Note what a view has."""
        present = {name for name, value in _inputs(view).items() if value is not None}
        seen = self._seen.setdefault(view.camera_name, set())
        self._lost[view.camera_name] = seen - present
        seen |= present

    @property
    def lost(self) -> tuple[str, ...]:
        """One sentence for each camera that lacks now what it once gave."""
        return tuple(
            f"camera '{camera}' no longer gives {', '.join(sorted(names))}: going on without"
            for camera, names in sorted(self._lost.items())
            if names
        )

    def reset(self) -> None:
        """Forget all cameras."""
        self._seen.clear()
        self._lost.clear()


def _inputs(view: RgbdFrame) -> dict[str, object]:
    return {
        "colour": view.color,
        "depth": view.depth_m,
        "intrinsics": view.color_camera or view.depth_camera,
        "pose": view.world_from_camera,
    }
