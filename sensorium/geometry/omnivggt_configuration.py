"""Parameters of the `omnivggt` backend."""

from __future__ import annotations

from dataclasses import dataclass, field

from sensorium.configuration import parameter
from sensorium.geometry.trust import PoseHintConfiguration
from sensorium.geometry.visual_odometry import OdometryConfiguration

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class ModelTokensConfiguration:
    """Tokens from the model's last aggregator layer."""

    rows: int = parameter(
        0, "Rows of the token grid, at most one per 14 px of input height; 0 for all.", minimum=0,
        maximum=512,
    )  # fmt: skip
    columns: int = parameter(
        0, "Columns of the token grid, at most one per 14 px of input width; 0 for all.", minimum=0,
        maximum=512,
    )  # fmt: skip
    reduction: str = parameter(
        "", "File of `sensorium weights fit-reduction` that shortens the tokens; empty for all "
        "channels (2 x embed_dim of the model).",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeyframeConfiguration:
    """Which views stay in the window beside the newest."""

    rotation_rad: float = parameter(
        0.17, "A view stays when its camera turned by this since the last one that did [rad].",
        minimum=0.0, maximum=3.2,
    )  # fmt: skip
    parallax: float = parameter(
        0.05, "... or moved by this fraction of the median depth; 0 keeps every view.", minimum=0.0,
        maximum=10.0,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class OmniVGGTConfiguration:
    """How the `omnivggt` backend works."""

    weights: str = parameter(
        "omnivggt-small", "Weights: a name of `sensorium weights list`, or the path of a "
        ".safetensors file.",
    )  # fmt: skip
    input_width_px: int = parameter(
        0, "Width of the model's input, a multiple of 14; 0 for that of the weights (518 for the "
        "published) [px].", minimum=0, maximum=2044,
    )  # fmt: skip
    input_height_px: int = parameter(
        0, "Height of the model's input, a multiple of 14; 0 for three quarters of the width. "
        "Images are cropped to this aspect around their principal point [px].", minimum=0,
        maximum=2044,
    )  # fmt: skip
    window_views: int = parameter(
        4, "Views in the window, those of all cameras together.", minimum=1, maximum=64
    )
    keyframes: KeyframeConfiguration = field(default_factory=KeyframeConfiguration)
    memory_budget_mib: int = parameter(
        0, "Memory that weights and window may take, checked when the node is configured; 0 for no "
        "limit [MiB].", minimum=0, maximum=1 << 20,
    )  # fmt: skip
    precision: str = parameter(
        "auto", "Numbers of encoder and aggregator; auto is bfloat16 on a GPU, and on a CPU with "
        "AMX for models beyond 100 million parameters. Heads are float32.", choices=PRECISIONS,
    )  # fmt: skip
    point_head: bool = parameter(
        False, "Also run the point head: confidence falls where it and the depth head disagree."
    )
    depth_hint: bool = parameter(True, "Show sensor depth to the model.")
    intrinsics_hint: bool = parameter(
        True, "Show the field of view of the window's first view to the model where no poses are."
    )
    pose_hint: PoseHintConfiguration = field(default_factory=PoseHintConfiguration)
    tokens: ModelTokensConfiguration = field(default_factory=ModelTokensConfiguration)
    odometry: OdometryConfiguration = field(default_factory=OdometryConfiguration)

    @property
    def hints(self) -> tuple[str, ...]:
        """What the model is shown beside images where it comes; a lone view has no pose to show."""
        shown = {
            "depth": self.depth_hint,
            "intrinsics": self.intrinsics_hint,
            "poses": self.pose_hint.enabled and self.window_views > 1,
        }
        return tuple(name for name, is_shown in shown.items() if is_shown)

    def input_size(self, img_size: int, patch_size: int) -> tuple[int, int]:
        """Return (height, width) [px] of the model's input.

        Args:
            img_size: of the weights' configuration: the width at which they were trained.
            patch_size: of the weights' configuration.
        """
        width = self.input_width_px or img_size
        return self.input_height_px or round(0.75 * width / patch_size) * patch_size, width
