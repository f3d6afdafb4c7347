"""The ACT network at inference, with the state-dict keys LeRobot publishes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sensorium.models.policy.act.configuration import (
    ENVIRONMENT_STATE,
    STATE,
    ActConfiguration,
)
from sensorium.models.policy.act.resnet import FEATURE_CHANNELS, ResNet18Features
from sensorium.models.policy.act.transformer import (
    Decoder,
    Encoder,
    image_positions,
    sequence_positions,
)

__all__ = ["ActNetwork"]


class ActNetwork(nn.Module):
    """Maps normalised observations to a normalised action chunk.

    Source: Zhao et al. 2023, section IV and appendix C, in the form of LeRobot (one decoder layer
    by default, ``observation.environment_state`` as an optional input). The VAE encoder is a
    training device: its latent is the prior's mean, zero, at inference. Its weights are part of
    the checkpoint and are held so that loading can be strict.
    """

    def __init__(self, configuration: ActConfiguration) -> None:
        super().__init__()
        self._configuration = configuration
        width = configuration.dim_model
        features = configuration.features
        if configuration.use_vae:
            self._add_vae_encoder(configuration)
        if configuration.image_features:
            self.backbone = ResNet18Features()
            self.encoder_img_feat_input_proj = nn.Conv2d(FEATURE_CHANNELS, width, 1)
        self.encoder = Encoder(configuration, configuration.n_encoder_layers)
        self.decoder = Decoder(configuration)
        self.encoder_latent_input_proj = nn.Linear(configuration.latent_dim, width)
        vectors = 1
        if STATE in features:
            self.encoder_robot_state_input_proj = nn.Linear(features[STATE].shape[0], width)
            vectors += 1
        if ENVIRONMENT_STATE in features:
            size = features[ENVIRONMENT_STATE].shape[0]
            self.encoder_env_state_input_proj = nn.Linear(size, width)
            vectors += 1
        self.encoder_1d_feature_pos_embed = nn.Embedding(vectors, width)
        self.decoder_pos_embed = nn.Embedding(configuration.schedule.chunk_size, width)
        self.action_head = nn.Linear(width, configuration.action.shape[0])

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Predicts one chunk per observation.

        Args:
            batch: Normalised float32 by feature name: vectors (B, D), images (B, 3, H, W).

        Returns:
            (B, T, A) normalised actions.
        """
        tokens, positions = self._encoder_inputs(batch)
        memory = self.encoder(tokens, positions)
        queries = self.decoder_pos_embed.weight[:, None, :]
        start = queries.new_zeros(queries.shape[0], tokens.shape[1], queries.shape[2])
        decoded = self.decoder(start, queries, memory, positions)
        actions: Tensor = self.action_head(decoded.transpose(0, 1))
        return actions

    def _encoder_inputs(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        configuration = self._configuration
        first = batch[next(iter(configuration.features))]
        latent = first.new_zeros(first.shape[0], configuration.latent_dim)
        vectors = [self.encoder_latent_input_proj(latent)]
        if STATE in configuration.features:
            vectors.append(self.encoder_robot_state_input_proj(batch[STATE]))
        if ENVIRONMENT_STATE in configuration.features:
            vectors.append(self.encoder_env_state_input_proj(batch[ENVIRONMENT_STATE]))
        tokens = [torch.stack(vectors)]
        positions = [self.encoder_1d_feature_pos_embed.weight[:, None, :]]
        for name in configuration.image_features:
            cells = self.encoder_img_feat_input_proj(self.backbone(batch[name]))
            tokens.append(cells.flatten(2).permute(2, 0, 1))
            height, width = cells.shape[2:]
            positions.append(image_positions(height, width, configuration.dim_model, cells.device))
        return torch.cat(tokens), torch.cat(positions)

    def _add_vae_encoder(self, configuration: ActConfiguration) -> None:
        width = configuration.dim_model
        actions = configuration.schedule.chunk_size
        tokens = 1 + actions
        self.vae_encoder = Encoder(configuration, configuration.n_vae_encoder_layers)
        self.vae_encoder_cls_embed = nn.Embedding(1, width)
        if STATE in configuration.features:
            size = configuration.features[STATE].shape[0]
            self.vae_encoder_robot_state_input_proj = nn.Linear(size, width)
            tokens += 1
        self.vae_encoder_action_input_proj = nn.Linear(configuration.action.shape[0], width)
        self.vae_encoder_latent_output_proj = nn.Linear(width, 2 * configuration.latent_dim)
        self.register_buffer("vae_encoder_pos_enc", sequence_positions(tokens, width)[None])
