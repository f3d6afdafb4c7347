"""ACT's configuration, read from a LeRobot config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sensorium.models.policy.errors import CheckpointError, UnsupportedError
from sensorium.models.policy.features import ACTION, Feature, FeatureType, read_features
from sensorium.models.policy.fields import Fields
from sensorium.models.policy.native import ChunkSchedule

__all__ = ["ENVIRONMENT_STATE", "STATE", "ActConfiguration", "read_act_configuration"]

STATE = "observation.state"
ENVIRONMENT_STATE = "observation.environment_state"


@dataclass(frozen=True)
class ActConfiguration:
    """What fixes ACT's network and its use. Names and defaults are LeRobot's.

    Attributes:
        features: The inputs the network uses: ``observation.state`` (D,),
            ``observation.environment_state`` (D,) and VISUAL features (3, H, W), in file order.
            Inputs of config.json that ACT never reads are left out, as LeRobot leaves them.
        action: The action feature, (A,).
        schedule: Chunk size, steps per chunk, temporal ensembling.
        pre_norm: Layer norm before instead of after each block.
        dim_model: Width of the transformers.
        n_heads: Attention heads.
        dim_feedforward: Hidden width of the feed-forward blocks.
        feedforward_activation: ``relu`` or ``gelu``.
        n_encoder_layers: Layers of the encoder.
        n_decoder_layers: Layers of the decoder.
        use_vae: Whether the checkpoint carries the training-time VAE encoder.
        latent_dim: Size of the VAE's latent, which is zero at inference.
        n_vae_encoder_layers: Layers of the VAE encoder.
    """

    features: Mapping[str, Feature]
    action: Feature
    schedule: ChunkSchedule
    pre_norm: bool
    dim_model: int
    n_heads: int
    dim_feedforward: int
    feedforward_activation: str
    n_encoder_layers: int
    n_decoder_layers: int
    use_vae: bool
    latent_dim: int
    n_vae_encoder_layers: int

    @property
    def image_features(self) -> list[str]:
        """Names of the camera inputs, in the order the network reads them."""
        return [n for n, f in self.features.items() if f.type is FeatureType.VISUAL]


def read_act_configuration(fields: Fields) -> ActConfiguration:
    """Reads and checks the config.json of an ACT checkpoint.

    Args:
        fields: The file's object.

    Returns:
        The configuration.

    Raises:
        UnsupportedError: An option asks for something that is not built here.
        CheckpointError: A field is missing, malformed or contradicts another.
    """
    for key, supported in (("vision_backbone", "resnet18"), ("n_obs_steps", 1)):
        value = fields.values.get(key, supported)
        if value != supported:
            raise UnsupportedError(
                f"{fields.where}: {key} '{value}' is not supported for ACT; only '{supported}' is."
            )
    for key in ("replace_final_stride_with_dilation", "use_peft"):
        if fields.boolean(key, default=False):
            raise UnsupportedError(f"{fields.where}: {key} is not supported for ACT.")
    activation = fields.text("feedforward_activation", default="relu")
    if activation not in ("relu", "gelu"):
        raise UnsupportedError(
            f"{fields.where}: feedforward_activation '{activation}' is not supported for ACT; "
            "only 'relu' and 'gelu' are."
        )
    dim_model = fields.integer("dim_model", default=512)
    n_heads = fields.integer("n_heads", default=8)
    if dim_model % n_heads or dim_model % 4:
        raise CheckpointError(
            f"{fields.where}: dim_model {dim_model} must be a multiple of n_heads {n_heads} and "
            "of 4 (sine and cosine of two image axes)."
        )
    return ActConfiguration(
        features=_read_inputs(fields),
        action=_read_action(fields),
        schedule=_read_schedule(fields),
        pre_norm=fields.boolean("pre_norm", default=False),
        dim_model=dim_model,
        n_heads=n_heads,
        dim_feedforward=fields.integer("dim_feedforward", default=3200),
        feedforward_activation=activation,
        n_encoder_layers=fields.integer("n_encoder_layers", default=4),
        n_decoder_layers=fields.integer("n_decoder_layers", default=1),
        use_vae=fields.boolean("use_vae", default=True),
        latent_dim=fields.integer("latent_dim", default=32),
        n_vae_encoder_layers=fields.integer("n_vae_encoder_layers", default=4),
    )


def _read_inputs(fields: Fields) -> dict[str, Feature]:
    place = fields.nested("input_features")
    used = {}
    for name, feature in read_features(place).items():
        if feature.type is FeatureType.VISUAL:
            if len(feature.shape) != 3 or feature.shape[0] != 3:
                raise UnsupportedError(
                    f"{place.where}: image feature '{name}' has shape {feature.shape}; ACT's "
                    "ResNet takes (3, H, W)."
                )
            used[name] = feature
        elif (name, feature.type) in (
            (STATE, FeatureType.STATE),
            (ENVIRONMENT_STATE, FeatureType.ENV),
        ):
            if len(feature.shape) != 1:
                raise CheckpointError(
                    f"{place.where}: '{name}' has shape {feature.shape}, but must be a vector (D,)."
                )
            used[name] = feature
    if not any(f.type in (FeatureType.VISUAL, FeatureType.ENV) for f in used.values()):
        raise CheckpointError(
            f"{place.where} must hold an image (type VISUAL) or '{ENVIRONMENT_STATE}' (type ENV); "
            f"it holds: {', '.join(place) or 'nothing'}."
        )
    return used


def _read_action(fields: Fields) -> Feature:
    place = fields.nested("output_features")
    action = read_features(place).get(ACTION)
    if action is None or action.type is not FeatureType.ACTION or len(action.shape) != 1:
        raise CheckpointError(
            f"{place.where} must hold '{ACTION}' of type ACTION with shape (A,), "
            f"but it holds: {dict(place.values)}."
        )
    return action


def _read_schedule(fields: Fields) -> ChunkSchedule:
    schedule = ChunkSchedule(
        chunk_size=fields.integer("chunk_size", default=100),
        n_action_steps=fields.integer("n_action_steps", default=100),
        temporal_ensemble_coefficient=fields.optional_number("temporal_ensemble_coeff"),
    )
    if schedule.n_action_steps > schedule.chunk_size:
        raise CheckpointError(
            f"{fields.where}: n_action_steps {schedule.n_action_steps} exceeds chunk_size "
            f"{schedule.chunk_size}. Set it to at most chunk_size."
        )
    if schedule.temporal_ensemble_coefficient is not None and schedule.n_action_steps != 1:
        raise CheckpointError(
            f"{fields.where}: temporal_ensemble_coeff needs n_action_steps 1 (a chunk is predicted "
            f"at every step), but it is {schedule.n_action_steps}. Set n_action_steps to 1."
        )
    return schedule
