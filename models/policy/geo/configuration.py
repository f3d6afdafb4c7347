"""Configuration of the policy `geo`, read from the config.json of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sensorium.models.policy.errors import CheckpointError, UnsupportedError
from sensorium.models.policy.features import ACTION, Feature, FeatureType, read_features
from sensorium.models.policy.fields import Fields
from sensorium.models.policy.native import ChunkSchedule

__all__ = [
    "GEOMETRY_GLOBAL", "HEADS_OF_GEOMETRY", "POINTS", "STATE", "TOKEN_FEATURES", "TOKEN_VALID",
    "GeoConfiguration", "read_geo_configuration",
]  # fmt: skip

STATE = "observation.state"
"""(D,) float; its first three values are the tip's position in the robot's base [m]."""
POINTS = "observation.geometry.points"
"""(N, 3) positions of the tokens in the robot's base [m]."""
TOKEN_FEATURES = "observation.geometry.features"  # noqa: S105 - no password
"""(N, C) features of the tokens."""
TOKEN_VALID = "observation.geometry.valid"  # noqa: S105 - no password
"""(N,) 1 where a token has a position, otherwise 0."""
GEOMETRY_GLOBAL = "observation.geometry.global"
"""(C,) one vector for the whole view: OmniVGGT's tokens, pooled."""

HEADS_OF_GEOMETRY = ("tokens", "pooled", "point_cloud", "none")


@dataclass(frozen=True)
class GeoConfiguration:
    """What fixes the network and its use.

    Attributes:
        features: The inputs: one picture (3, H, W), ``observation.state``, the geometry that
            ``geometry`` asks for, and vectors named ``observation.signals.*``.
        action: (4,): target of the tip relative to the tip at the observation, in the robot's base
            [m], and the gripper, 0 closed to 1 open.
        schedule: Chunk size and steps per chunk.
        geometry: How geometry enters: ``tokens`` (cross-attention), ``pooled`` (one vector through
            a zero-initialised injector), ``point_cloud`` (PointNet, then the same injector) or
            ``none``.
        token_rows: Rows of the token grid.
        token_columns: Columns of the token grid.
        picture_stride: Places of the picture's own reading are so many tokens wide and high.
        channels: Width of the convolutions.
        heads: Attention heads over tokens; the picture has half as many.
        hidden: Width of the action token.
        text_size: Width of the instruction's vector.
        word_size: Values per word of the table.
        max_words: Words of an instruction that are read.
        word_table_sha256: The word table; "" for any.
        points_center_m: Middle of the workspace in the base, (3,).
        injector_widths: Hidden widths of the injector.
        cloud_points: Points that the point-cloud head looks at.
        cloud_radius_m: Points farther from the middle of the workspace are dropped.
    """

    features: Mapping[str, Feature]
    action: Feature
    schedule: ChunkSchedule
    geometry: str
    token_rows: int
    token_columns: int
    picture_stride: int
    channels: int
    heads: int
    hidden: int
    text_size: int
    word_size: int
    max_words: int
    word_table_sha256: str
    points_center_m: tuple[float, float, float]
    injector_widths: tuple[int, ...]
    cloud_points: int
    cloud_radius_m: float

    @property
    def image(self) -> str:
        """Name of the picture."""
        return next(n for n, f in self.features.items() if f.type is FeatureType.VISUAL)

    @property
    def patch_px(self) -> int:
        """Pixels of the picture per token, in each direction."""
        return self.features[self.image].shape[1] // self.token_rows

    @property
    def picture_grid(self) -> tuple[int, int]:
        """Rows and columns of the picture's own reading."""
        return self.token_rows // self.picture_stride, self.token_columns // self.picture_stride

    @property
    def signals(self) -> list[str]:
        """Names of the signal scores, in file order."""
        return [n for n in self.features if n.startswith("observation.signals.")]

    @property
    def vector_size(self) -> int:
        """Number of values of state and signals together."""
        return sum(self.features[name].shape[0] for name in (STATE, *self.signals))


def read_geo_configuration(fields: Fields) -> GeoConfiguration:
    """Reads and checks the config.json of a `geo` checkpoint.

    Raises:
        UnsupportedError: An option asks for something that is not built here.
        CheckpointError: A field is missing, malformed or contradicts another.
    """
    geometry = fields.text("geometry", default="tokens")
    if geometry not in HEADS_OF_GEOMETRY:
        raise UnsupportedError(
            f"{fields.where}: geometry '{geometry}' is not built; there are "
            f"{', '.join(HEADS_OF_GEOMETRY)}."
        )
    schedule = ChunkSchedule(
        chunk_size=fields.integer("chunk_size", default=8),
        n_action_steps=fields.integer("n_action_steps", default=2),
        temporal_ensemble_coefficient=fields.optional_number("temporal_ensemble_coeff"),
    )
    if schedule.n_action_steps > schedule.chunk_size:
        fields.refuse("n_action_steps", schedule.n_action_steps, "must be at most chunk_size")
    if schedule.temporal_ensemble_coefficient is not None and schedule.n_action_steps != 1:
        fields.refuse(
            "n_action_steps", schedule.n_action_steps, "must be 1 with temporal_ensemble_coeff"
        )
    center = fields.values.get("points_center_m", [0.5, 0.0, 0.1])
    if not (
        isinstance(center, list)
        and len(center) == 3
        and all(isinstance(value, (int, float)) for value in center)
    ):
        fields.refuse("points_center_m", center, "must be three numbers")
    configuration = GeoConfiguration(
        features=read_features(fields.nested("input_features")),
        action=_read_action(fields),
        schedule=schedule,
        geometry=geometry,
        token_rows=fields.integer("token_rows", default=32),
        token_columns=fields.integer("token_columns", default=32),
        picture_stride=fields.integer("picture_stride", default=1),
        channels=fields.integer("channels", default=32),
        heads=fields.integer("heads", default=8, minimum=2),
        hidden=fields.integer("hidden", default=384),
        text_size=fields.integer("text_size", default=64),
        word_size=fields.integer("word_size", default=64),
        max_words=fields.integer("max_words", default=16),
        word_table_sha256=fields.text("word_table_sha256", default=""),
        points_center_m=(float(center[0]), float(center[1]), float(center[2])),
        injector_widths=fields.shape("injector_widths")
        if "injector_widths" in fields
        else (512, 1024, 1024),
        cloud_points=fields.integer("cloud_points", default=1024),
        cloud_radius_m=fields.number("cloud_radius_m", default=1.0),
    )
    _check_inputs(configuration, fields)
    return configuration


def _read_action(fields: Fields) -> Feature:
    place = fields.nested("output_features")
    action = read_features(place).get(ACTION)
    if action is None or action.type is not FeatureType.ACTION or action.shape != (4,):
        raise CheckpointError(
            f"{place.where} must hold '{ACTION}' of type ACTION with shape (4,) (target of the tip "
            f"and gripper), but it holds: {dict(place.values)}."
        )
    return action


def _check_inputs(configuration: GeoConfiguration, fields: Fields) -> None:
    features = configuration.features
    where = f"{fields.where}: input_features"
    images = [f for f in features.values() if f.type is FeatureType.VISUAL]
    rows, columns = configuration.token_rows, configuration.token_columns
    if len(images) != 1 or len(images[0].shape) != 3 or images[0].shape[0] != 3:
        raise CheckpointError(
            f"{where} must hold one picture of type VISUAL and shape (3, H, W), but it holds "
            f"{[(f.name, f.shape) for f in images]}."
        )
    _, height, width = images[0].shape
    if height % rows or width % columns or height // rows != width // columns:
        raise UnsupportedError(
            f"{where}: picture of {height} x {width} px is no whole multiple of the grid of "
            f"{rows} x {columns}; choose token_rows and token_columns that divide it evenly."
        )
    if rows % configuration.picture_stride or columns % configuration.picture_stride:
        fields.refuse("picture_stride", configuration.picture_stride, "must divide the token grid")
    if STATE not in features or len(features[STATE].shape) != 1 or features[STATE].shape[0] < 3:
        raise CheckpointError(
            f"{where} must hold '{STATE}' of shape (D,) with the tip's position first."
        )
    count = rows * columns
    by_geometry: dict[str, dict[str, tuple[int | None, ...]]] = {
        "tokens": {POINTS: (count, 3), TOKEN_FEATURES: (count, None), TOKEN_VALID: (count,)},
        "pooled": {GEOMETRY_GLOBAL: (None,)},
        "point_cloud": {POINTS: (None, 3), TOKEN_VALID: (None,)},
        "none": {},
    }
    wanted = by_geometry[configuration.geometry]
    for name, shape in wanted.items():
        given = features[name].shape if name in features else None
        if (
            given is None
            or len(given) != len(shape)
            or any(want not in (None, have) for want, have in zip(shape, given, strict=True))
        ):
            raise CheckpointError(
                f"{where}: geometry '{configuration.geometry}' needs '{name}' of shape {shape}, "
                f"but it is {given}."
            )
    known = {images[0].name, STATE, *wanted, *configuration.signals}
    unknown = sorted(features.keys() - known)
    if unknown:
        raise UnsupportedError(
            f"{where}: geometry '{configuration.geometry}' does not use {', '.join(unknown)}; "
            "remove it, or name signal scores 'observation.signals.<name>'."
        )
