"""The network of the policy `geo`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sensorium.models.policy.geo.configuration import (
    GEOMETRY_GLOBAL,
    POINTS,
    STATE,
    TOKEN_FEATURES,
    TOKEN_VALID,
    GeoConfiguration,
)
from sensorium.models.policy.geo.geometry import (
    PointNet,
    TokenBank,
    TokenCrossAttention,
    ZeroInjector,
)
from sensorium.models.policy.geo.processor import WORD_MASK, WORDS
from sensorium.models.policy.geo.reading import (
    OFFSET_SIZE,
    PlaceAttention,
    PlaceEncoder,
    offset_code,
    patches,
)
from sensorium.models.policy.geo.text import InstructionNetwork

__all__ = ["GeoNetwork", "Prediction"]

_VALUE_SIZE = 16
_CLOUD_VECTOR = 128


class Prediction(NamedTuple):
    """What the network says, before it becomes actions.

    Attributes:
        motion: (B, T, 3) normalised targets of the tip, relative to the tip at the observation.
        gripper: (B, T) logits of an open gripper.
        picture_logits: (B, heads, N) where the heads look in the picture.
        token_logits: (B, heads, N) where they look in the bank, or None without one.
    """

    motion: Tensor
    gripper: Tensor
    picture_logits: Tensor
    token_logits: Tensor | None


class GeoNetwork(nn.Module):
    """Instruction, picture, state and geometry to a chunk of actions.

    The picture is read by few convolutions modulated by the instruction (FiLM) and by heads that
    report features and image positions. State, instruction and that reading make the action token;
    geometry is added to it (see geometry.py), and two layers turn it into the chunk.

    Args:
        configuration: Of the policy.
    """

    _center_m: Tensor
    _uv: Tensor

    def __init__(self, configuration: GeoConfiguration) -> None:
        super().__init__()
        self.configuration = configuration
        channels, hidden = configuration.channels, configuration.hidden
        text_size = configuration.text_size
        self._patch = configuration.patch_px * configuration.picture_stride
        grid = configuration.picture_grid
        self.instruction = InstructionNetwork(configuration.word_size, text_size)
        self.picture = PlaceEncoder(3 * self._patch**2, channels, text_size, grid)
        vectors = configuration.vector_size + OFFSET_SIZE
        self.vectors = nn.Sequential(nn.Linear(vectors + text_size, 128), nn.ReLU())
        picture_heads = configuration.heads // 2
        self.look = PlaceAttention(128, channels, picture_heads, _VALUE_SIZE)
        self.token = nn.Linear(128 + text_size + picture_heads * (_VALUE_SIZE + 2), hidden)
        self._add_geometry(configuration)
        self.decide = nn.Sequential(
            nn.ReLU(), nn.Linear(hidden, 256), nn.ReLU(),
            nn.Linear(256, configuration.schedule.chunk_size * 4),
        )  # fmt: skip
        v, u = torch.meshgrid(
            torch.linspace(-1, 1, grid[0]), torch.linspace(-1, 1, grid[1]), indexing="ij"
        )
        self.register_buffer("_uv", torch.stack((u, v), dim=-1).flatten(0, 1), persistent=False)
        center = torch.tensor(configuration.points_center_m)
        self.register_buffer("_center_m", center, persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Predicts one chunk per observation.

        Args:
            batch: float32 by name: the features, ``task.words`` and ``task.mask``.

        Returns:
            (B, T, 4) normalised actions; the gripper's is -1 (closed) or 1 (open).
        """
        prediction = self.predict(batch)
        gripper = torch.where(prediction.gripper > 0, 1.0, -1.0)
        return torch.cat((prediction.motion, gripper[..., None]), dim=2)

    def predict(self, batch: Mapping[str, Tensor]) -> Prediction:
        """Predicts in the form that training needs; arguments as in forward."""
        text = self.instruction(batch[WORDS], batch[WORD_MASK])
        image = batch[self.configuration.image] - 0.5
        tip_m = batch[STATE][:, :3]
        vectors = self._vectors(batch, text)
        places = self.picture(patches(image, self._patch), text)
        everywhere = places.new_ones(places.shape[:2])
        picture_logits, weights, read = self.look(vectors, places, everywhere)
        looked_at = (weights @ self._uv).flatten(1)
        token = self.token(torch.cat((vectors, text, read, looked_at), dim=1))
        added, token_logits = self._geometry(batch, tip_m, image, text, vectors)
        if added is not None:
            token = token + added
        chunk = self.decide(token).float()
        chunk = chunk.unflatten(1, (self.configuration.schedule.chunk_size, 4))
        motion = chunk[..., :3].cumsum(dim=1)
        return Prediction(motion, chunk[..., 3], picture_logits, token_logits)

    def _vectors(self, batch: Mapping[str, Tensor], text: Tensor) -> Tensor:
        configuration = self.configuration
        state = batch[STATE]
        tip = offset_code(state[:, :3] - self._center_m)
        # Finger positions are a few centimetres: brought to the size of the other inputs.
        rest = [state[:, :3] - self._center_m, state[:, 3:] * 10.0]
        rest += [batch[name] for name in configuration.signals]
        vectors: Tensor = self.vectors(torch.cat((tip, *rest, text), dim=1))
        return vectors

    def _add_geometry(self, configuration: GeoConfiguration) -> None:
        hidden = configuration.hidden
        if configuration.geometry == "tokens":
            self.bank = TokenCrossAttention(configuration, 128)
        elif configuration.geometry == "point_cloud":
            self.cloud = PointNet(_CLOUD_VECTOR)
            self.injector = ZeroInjector(_CLOUD_VECTOR, configuration.injector_widths, hidden)
        elif configuration.geometry == "pooled":
            size = configuration.features[GEOMETRY_GLOBAL].shape[0]
            self.injector = ZeroInjector(size, configuration.injector_widths, hidden)

    def _geometry(
        self,
        batch: Mapping[str, Tensor],
        tip_m: Tensor,
        image: Tensor,
        text: Tensor,
        vectors: Tensor,
    ) -> tuple[Tensor | None, Tensor | None]:
        configuration = self.configuration
        if configuration.geometry == "tokens":
            bank = TokenBank(batch[POINTS], batch[TOKEN_FEATURES], batch[TOKEN_VALID])
            added, logits = self.bank(bank, tip_m, image, text, vectors)
            return added, logits
        if configuration.geometry == "point_cloud":
            return self.injector(self._cloud(batch[POINTS], batch[TOKEN_VALID])), None
        if configuration.geometry == "pooled":
            return self.injector(batch[GEOMETRY_GLOBAL]), None
        return None, None

    def _cloud(self, points_m: Tensor, valid: Tensor) -> Tensor:
        configuration = self.configuration
        step = max(1, points_m.shape[1] // configuration.cloud_points)
        points = points_m[:, ::step] - self._center_m
        near = points.norm(dim=2) <= configuration.cloud_radius_m
        vector: Tensor = self.cloud(points, valid[:, ::step] * near)
        return vector
