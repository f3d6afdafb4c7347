"""A linear reduction of learned tokens, fitted on a user's own frames, tied to one set of weights.

Principal components of all tokens: the K directions with the most variance, so that the squared
error of putting the tokens back together is the smallest that any K numbers can have.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

_FORMAT = "sensorium token reduction 1"


class ReductionRefused(ValueError):  # noqa: N818 - an answer, not a fault
    """A reduction that must not be used or cannot be made; the text gives reason and remedy."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenReduction:
    """reduced = (features - mean) @ components.T.

    Attributes:
        weights_sha256: of the weights whose tokens it was fitted on.
        mean: (C,) float32.
        components: (K, C) float32, orthonormal rows, most variance first.
        explained: (K,) float32, fraction of the variance along each component.
        sha256: of the file; "" for one that was not read from a file.
    """

    weights_sha256: str
    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    explained: NDArray[np.float32]
    sha256: str = ""

    @property
    def channels(self) -> int:
        """Channels after the reduction."""
        return len(self.components)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """One name per channel that also tells this reduction from every other."""
        return tuple(f"pca{i}@{self.sha256[:12]}" for i in range(self.channels))

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (..., K) float32 of features (..., C)."""
        reduced = (features - self.mean) @ self.components.T
        return np.asarray(reduced, np.float32)


class ReductionFit:
    """Gathers mean and covariance of tokens; memory does not grow with their number.

    Args:
        channels: C of the tokens.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self._sum = np.zeros(channels)
        self._products = np.zeros((channels, channels))
        # Sums are taken about the first tokens' mean: large means would cost digits.
        self._origin: NDArray[np.float64] | None = None

    def add(self, features: NDArray[np.float32]) -> None:
        """Add tokens (N, C); rows with NaN are left out."""
        rows = features[np.isfinite(features).all(axis=1)].astype(np.float64)
        if not len(rows):
            return
        if self._origin is None:
            self._origin = rows.mean(axis=0)
        rows -= self._origin
        self.count += len(rows)
        self._sum += rows.sum(axis=0)
        self._products += rows.T @ rows

    def reduction(self, channels: int, weights_sha256: str) -> TokenReduction:
        """Return the reduction to `channels` components.

        Raises:
            ReductionRefused: more components than channels or tokens, or tokens that do not vary.
        """
        most = min(len(self._sum), self.count - 1)
        if self._origin is None or not 1 <= channels <= most:
            raise ReductionRefused(
                f"{channels} components cannot be fitted to {self.count} tokens of "
                f"{len(self._sum)} channels: choose 1 to {max(most, 0)}, or give more frames"
            )
        mean = self._sum / self.count
        covariance = self._products / self.count - np.outer(mean, mean)
        variances, directions = np.linalg.eigh(covariance)
        order = np.argsort(variances)[::-1][:channels]
        total = float(variances.clip(0).sum())
        if total <= 0:
            raise ReductionRefused("all tokens are equal: give frames that differ")
        components = directions[:, order].T
        # Of the two signs the one whose largest entry is positive: fits can be compared.
        largest = np.abs(components).argmax(axis=1)
        components *= np.sign(components[np.arange(channels), largest])[:, None]
        return TokenReduction(
            weights_sha256,
            (mean + self._origin).astype(np.float32),
            components.astype(np.float32),
            (variances[order].clip(0) / total).astype(np.float32),
        )


def save_reduction(reduction: TokenReduction, path: Path) -> None:
    """Write a reduction as safetensors, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {name: getattr(reduction, name) for name in ("mean", "components", "explained")}
    content = save(tensors, {"format": _FORMAT, "weights_sha256": reduction.weights_sha256})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def load_reduction(path: Path, weights_sha256: str, channels: int) -> TokenReduction:
    """Read a reduction that fits the weights in use.

    Args:
        path: the file.
        weights_sha256: of the weights in use.
        channels: C of their tokens.

    Raises:
        ReductionRefused: absent, damaged, of another kind, or fitted on other weights.
    """
    remedy = "make one with: sensorium weights fit-reduction"
    if not path.is_file():
        raise ReductionRefused(f"{path} does not exist; {remedy}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ReductionRefused(f"{path} is damaged or no safetensors file ({error})") from error
    if metadata.get("format") != _FORMAT or set(tensors) != {"mean", "components", "explained"}:
        raise ReductionRefused(f"{path} is no token reduction; {remedy}")
    fitted_on = metadata.get("weights_sha256", "")
    if fitted_on != weights_sha256:
        raise ReductionRefused(
            f"{path} belongs to weights with SHA-256 {fitted_on[:16]}..., in use are "
            f"{weights_sha256[:16]}...: tokens of other weights mean something else; {remedy}"
        )
    mean, components = tensors["mean"], tensors["components"]
    if mean.shape != (channels,) or components.ndim != 2 or components.shape[1] != channels:
        raise ReductionRefused(
            f"{path} reduces {mean.shape} channels, the tokens have {channels}; {remedy}"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return TokenReduction(weights_sha256, mean, components, tensors["explained"], digest)
