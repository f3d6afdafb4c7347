"""From a camera image to the model's input, and depth back to the camera image."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

# Bilinear depth further than this share from the nearest value lies between two surfaces.
_SURFACE_STEP = 0.05


@dataclasses.dataclass(frozen=True)
class PreparedView:
    """One view at the size of the model's input.

    Attributes:
        image: (3, h, w) float32 RGB in [0, 1].
        intrinsics: (3, 3) float64 of this image (pixel centres at integers), or None.
        depth_m: (h, w) float32, 0 where invalid, or None.
        mask: (h, w) bool, valid depth, or None.
        source_size: (H, W) of the camera image.
        source_box: (left, top, width, height) in pixels of the part of the camera image shown.
    """

    image: Tensor
    intrinsics: Tensor | None
    depth_m: Tensor | None
    mask: Tensor | None
    source_size: tuple[int, int]
    source_box: tuple[int, int, int, int]

    def restore(self, values: Tensor) -> Tensor:
        """Puts a map of this view back onto the camera image.

        Args:
            values: (h, w) floating point.

        Returns:
            (H, W): the nearest value (an average would put points between a depth edge's two
            sides), NaN outside the part that was shown.
        """
        return self._placed(self._resized(values, "nearest-exact"))

    def restore_depth(self, depth: Tensor) -> Tensor:
        """Puts depth of this view back onto the camera image, smooth on surfaces.

        Args:
            depth: (h, w) floating point, positive.

        Returns:
            (H, W): bilinear where this stays within 5 % of the nearest value, which it does on
            surfaces, else the nearest value, so that edges stay edges. NaN outside the part that
            was shown.
        """
        nearest = self._resized(depth, "nearest-exact")
        smooth = self._resized(depth, "bilinear")
        on_surface = (smooth - nearest).abs() <= _SURFACE_STEP * nearest
        return self._placed(torch.where(on_surface, smooth, nearest))

    def _resized(self, values: Tensor, mode: str) -> Tensor:
        _, _, width, height = self.source_box
        return functional.interpolate(values[None, None], (height, width), mode=mode)[0, 0]

    def _placed(self, part: Tensor) -> Tensor:
        left, top, width, height = self.source_box
        full = part.new_full(self.source_size, float("nan"))
        full[top : top + height, left : left + width] = part
        return full


@dataclasses.dataclass(frozen=True)
class OmniVGGTProcessor:
    """Crops and resizes views as the published loader does, with exact intrinsics.

    The published loader resizes to a width of 518 and a height that is the nearest multiple of 14,
    and cuts rows beyond 518 off at both ends. The model knows no principal point and assumes it in
    the middle, so the image is first cropped around it; this the published loader does not do.

    Attributes:
        width_px: Width of the prepared image, a multiple of the patch size.
        max_height_px: Rows beyond this are cut off at top and bottom, a multiple of the patch size.
        height_px: Height of every prepared image, whatever the camera's: what exceeds the aspect
            width_px : height_px is cut off evenly on two sides first. 0: as published.
        centre_principal_point: Crop to the largest box around the principal point. What remains of
            its offset is at most half a pixel of the camera image, and is in ``intrinsics``.
        patch_size: Side of a patch in pixels.
    """

    width_px: int = 518
    max_height_px: int = 518
    height_px: int = 0
    centre_principal_point: bool = True
    patch_size: int = 14

    def __post_init__(self) -> None:
        """Refuses sizes that are not whole patches.

        Raises:
            ValueError: With the rule and the remedy.
        """
        for name in ("width_px", "max_height_px", "height_px"):
            value = getattr(self, name)
            if name == "height_px" and value == 0:
                continue
            if value <= 0 or value % self.patch_size:
                raise ValueError(
                    f"{name}={value} must be a positive multiple of {self.patch_size}; the "
                    "published model was trained at a width of 518 and heights of 168 to 518"
                )

    def __call__(
        self, rgb: Tensor, intrinsics: Tensor | None = None, depth_m: Tensor | None = None
    ) -> PreparedView:
        """Prepares one view.

        Args:
            rgb: (H, W, 3) uint8, rectified.
            intrinsics: (3, 3) in pixels of ``rgb``, pixel centres at integers; None: unknown, and
                the principal point is taken to be in the middle.
            depth_m: (H, W) z-depth registered to ``rgb``; NaN, infinite, zero and negative values
                are invalid.

        Returns:
            The view at model size, on the device of ``rgb``.

        Raises:
            ValueError: A shape, dtype or principal point breaks a rule.
        """
        self._check(rgb, intrinsics, depth_m)
        source_size = (rgb.shape[0], rgb.shape[1])
        box = self._box(source_size, intrinsics)
        left, top, width, height = box
        cropped = rgb[top : top + height, left : left + width].permute(2, 0, 1)[None]
        resized = functional.interpolate(
            cropped,
            (self._resized_height(width, height), self.width_px),
            mode="bicubic",
            antialias=True,
        )
        shown_rows = self.height_px or self.max_height_px
        skipped = max(0, (resized.shape[-2] - shown_rows) // 2)
        image = resized[0, :, skipped : skipped + shown_rows].float() / 255
        prepared_k = depth = mask = None
        if intrinsics is not None:
            scale = (self.width_px / width, resized.shape[-2] / height)
            prepared_k = _transformed(intrinsics.double(), (left, top), scale, skipped)
        if depth_m is not None:
            part = depth_m[top : top + height, left : left + width].float()[None, None]
            part = functional.interpolate(part, resized.shape[-2:], mode="nearest-exact")
            part = part[0, 0, skipped : skipped + shown_rows]
            mask = (part > 0) & part.isfinite()
            depth = torch.where(mask, part, 0.0)
        if skipped:
            top, height = self._shown_rows(top, height, resized.shape[-2], skipped)
        shown = (left, top, width, height)
        return PreparedView(image, prepared_k, depth, mask, source_size, shown)

    def _check(self, rgb: Tensor, intrinsics: Tensor | None, depth_m: Tensor | None) -> None:
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != torch.uint8:
            raise ValueError(
                f"rgb has shape {tuple(rgb.shape)} and dtype {rgb.dtype}; the rule is (H, W, 3) "
                "uint8: convert the image to 8-bit RGB"
            )
        if intrinsics is not None and intrinsics.shape != (3, 3):
            raise ValueError(
                f"intrinsics have shape {tuple(intrinsics.shape)}; the rule is one (3, 3) matrix "
                "per view"
            )
        if depth_m is not None and depth_m.shape != rgb.shape[:2]:
            raise ValueError(
                f"depth_m has shape {tuple(depth_m.shape)} and rgb {tuple(rgb.shape[:2])}; the "
                "rule is one depth per colour pixel: register depth to colour first"
            )

    def _box(
        self, source_size: tuple[int, int], intrinsics: Tensor | None
    ) -> tuple[int, int, int, int]:
        height, width = source_size
        left = top = 0
        if intrinsics is not None and self.centre_principal_point:
            left, width = _centred("cx", float(intrinsics[0, 2]), width)
            top, height = _centred("cy", float(intrinsics[1, 2]), height)
        if self.height_px:
            # An even number of lines leaves, so that the centre stays where it is.
            surplus = max(0, width - round(height * self.width_px / self.height_px)) // 2
            left, width = left + surplus, width - 2 * surplus
            surplus = max(0, height - round(width * self.height_px / self.width_px)) // 2
            top, height = top + surplus, height - 2 * surplus
        return left, top, width, height

    def _resized_height(self, width: int, height: int) -> int:
        if self.height_px:
            return self.height_px
        patches = round(height * self.width_px / width / self.patch_size)
        return max(1, patches) * self.patch_size

    def _shown_rows(self, top: int, height: int, resized: int, skipped: int) -> tuple[int, int]:
        scale = height / resized
        return top + round(skipped * scale), round(self.max_height_px * scale)


def _centred(name: str, centre_px: float, length: int) -> tuple[int, int]:
    """First pixel and length of the longest run of pixels around a principal point."""
    edge = centre_px + 0.5
    run = int(2 * min(edge, length - edge) + 1e-6)
    if run < length / 2:
        raise ValueError(
            f"{name}={centre_px:g} px lies in the outer quarter of {length} px; cropping around it "
            "would leave less than half of the image: check the calibration, or set "
            "centre_principal_point=False and accept a wrong field of view"
        )
    return max(0, min(round(edge - run / 2), length - run)), run


def _transformed(
    intrinsics: Tensor, first: tuple[int, int], scale: tuple[float, float], skipped_rows: int
) -> Tensor:
    """Intrinsics after cropping, resizing and cutting rows; pixel centres are at integers."""
    result = intrinsics.clone()
    for axis in (0, 1):
        centre = (intrinsics[axis, 2] - first[axis] + 0.5) * scale[axis] - 0.5
        result[axis] = intrinsics[axis] * scale[axis]
        result[axis, 2] = centre
    result[1, 2] -= skipped_rows
    return result
