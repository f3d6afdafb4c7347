"""What a camera gave before and gives no longer, and its return: depth unplugged, TF lost."""

from __future__ import annotations

from sensorium.frames import RgbdFrame


class InputChanges:
    """Remembers, camera by camera, which inputs have come, and says when one goes or comes.

    What a camera never had is not reported: a colour camera without depth is no fault.
    """

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {}
        self._lost: dict[str, set[str]] = {}

    def update(self, view: RgbdFrame) -> list[str]:
        """Return one sentence for each input that has just gone or come back."""
        present = {name for name, value in _inputs(view).items() if value is not None}
        seen = self._seen.setdefault(view.camera_name, set())
        before = self._lost.get(view.camera_name, set())
        lost = seen - present
        seen |= present
        self._lost[view.camera_name] = lost
        name = f"camera '{view.camera_name}'"
        return [
            *(
                f"{name} no longer gives {gone}; going on without it"
                for gone in sorted(lost - before)
            ),
            *(f"{name} gives {come} again" for come in sorted(before - lost)),
        ]

    @property
    def lost(self) -> list[str]:
        """One sentence for each input that came once and does not come now."""
        return [
            f"camera '{camera}' no longer gives {', '.join(sorted(names))}"
            for camera, names in sorted(self._lost.items())
            if names
        ]

    def reset(self) -> None:
        """Forget all cameras."""
        self._seen.clear()
        self._lost.clear()


def _inputs(view: RgbdFrame) -> dict[str, object]:
    intrinsics = view.color_camera if view.color is not None else view.depth_camera
    return {
        "colour": view.color,
        "depth": view.depth_m,
        "intrinsics": intrinsics,
        "pose": view.world_from_camera,
    }
