"""The door through which views reach a backend: unusable ones are refused with a reason."""

from __future__ import annotations

import dataclasses

import numpy as np

from sensorium.frames import RgbdFrame

# Depth beyond this median is no robot's: it is millimetres that were taken for metres [m].
_MAX_MEDIAN_DEPTH_M = 150.0


class ViewRefused(ValueError):  # noqa: N818 - it is an answer, not a fault
    """A view that must not be used.

    Attributes:
        reason: short name for counters, one of ``ViewValidator.REASONS``.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class ViewValidator:
    """Checks views one by one against fixed rules and against the views before.

    Rules, in this order:
        empty: neither colour nor depth.
        negative_stamp: the stamp is negative.
        frame_changed: two views of one camera name differ in their optical frame.
        stamp_repeated, stamp_backwards: stamps of one camera grow.
        world_frame_changed: all poses are given in one fixed frame.
        distorted: images are rectified.
        no_valid_depth: depth has a finite positive pixel (only where the backend needs depth;
            elsewhere the depth of such a view is left out).
        depth_unit: the median depth is below 150 m.
    """

    REASONS = (
        "empty", "negative_stamp", "frame_changed", "stamp_repeated", "stamp_backwards",
        "world_frame_changed", "distorted", "no_valid_depth", "depth_unit",
    )  # fmt: skip

    def __init__(self, needs_depth: bool = True) -> None:
        """Start without history; `needs_depth` comes from the backend."""
        self._needs_depth = needs_depth
        self.reset()

    def reset(self) -> None:
        """Forget the views before, for example because time jumped back on purpose."""
        self._stamp_ns: dict[str, int] = {}
        self._optical_frame: dict[str, str] = {}
        self._world_frame = ""

    def checked(self, view: RgbdFrame) -> RgbdFrame:
        """Return the view that may be used; a refused view leaves no trace in the history.

        Raises:
            ViewRefused: a rule is broken; the text names the rule and the remedy.
        """
        name = f"view of camera '{view.camera_name}'"
        if view.color is None and view.depth_m is None:
            raise ViewRefused(
                "empty", f"{name} has neither colour nor depth: connect at least one image topic"
            )
        self._check_time(view, name)
        self._check_frames(view, name)
        for kind, camera in (("colour", view.color_camera), ("depth", view.depth_camera)):
            if camera is not None and not camera.is_rectified:
                raise ViewRefused(
                    "distorted",
                    f"{name}: the {kind} image is distorted ({camera.distortion_model}); "
                    "give rectified images (image_rect, or let rgbd_camera rectify)",
                )
        view = self._checked_depth(view, name)
        self._stamp_ns[view.camera_name] = view.stamp_ns
        self._optical_frame[view.camera_name] = view.optical_frame
        self._world_frame = self._world_frame or view.world_frame
        return view

    def _check_time(self, view: RgbdFrame, name: str) -> None:
        if view.stamp_ns < 0:
            raise ViewRefused(
                "negative_stamp", f"{name} has stamp {view.stamp_ns} ns; stamps are not negative"
            )
        before = self._stamp_ns.get(view.camera_name)
        if before is None or view.stamp_ns > before:
            return
        if view.stamp_ns == before:
            raise ViewRefused(
                "stamp_repeated",
                f"{name} repeats stamp {before} ns; each exposure needs a stamp of its own",
            )
        raise ViewRefused(
            "stamp_backwards",
            f"{name} is {(before - view.stamp_ns) / 1e9:.3f} s older than the one before; "
            "views come in order of time; reset after a jump of the clock (bag loop)",
        )

    def _check_frames(self, view: RgbdFrame, name: str) -> None:
        before = self._optical_frame.get(view.camera_name, view.optical_frame)
        if view.optical_frame != before:
            raise ViewRefused(
                "frame_changed",
                f"{name} is in frame '{view.optical_frame}', the one before was in '{before}'; "
                "give each camera a name of its own",
            )
        if self._world_frame and view.world_frame and view.world_frame != self._world_frame:
            raise ViewRefused(
                "world_frame_changed",
                f"{name} has its pose in '{view.world_frame}', views before in "
                f"'{self._world_frame}'; use one fixed frame for all cameras, or reset",
            )

    def _checked_depth(self, view: RgbdFrame, name: str) -> RgbdFrame:
        if view.depth_m is None:
            return view
        # A sparse look is enough for the unit, and nearly always for the first valid pixel.
        depth = view.depth_m[::8, ::8]
        depth = depth[(depth > 0) & (depth < np.inf)]
        if depth.size == 0:
            mask = view.valid
            if mask is None or not mask.any():
                if self._needs_depth or view.color is None:
                    raise ViewRefused(
                        "no_valid_depth",
                        f"{name} has no valid depth pixel: every one is NaN, infinite, zero or "
                        "negative; check that the sensor sees something within its range",
                    )
                return dataclasses.replace(view, depth_m=None, depth_camera=None)
            depth = view.depth_m[mask]
        median = float(np.median(depth))
        if median > _MAX_MEDIAN_DEPTH_M:
            raise ViewRefused(
                "depth_unit",
                f"{name} has a median depth of {median:.0f} m, allowed is {_MAX_MEDIAN_DEPTH_M:g}; "
                "these look like millimetres: publish 16UC1 in mm or 32FC1 in m",
            )
        return view
