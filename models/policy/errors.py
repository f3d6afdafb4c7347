"""What can be wrong with a policy checkpoint or with an observation given to a policy."""

from __future__ import annotations

__all__ = ["CheckpointError", "CheckpointFileMissingError", "ObservationError", "UnsupportedError"]


class CheckpointError(ValueError):
    """A checkpoint directory is damaged, contradictory or unsafe to read."""


class CheckpointFileMissingError(CheckpointError, FileNotFoundError):
    """A checkpoint directory lacks a file that the layout asks for."""


class UnsupportedError(CheckpointError):
    """A checkpoint is sound but asks for something that is not built here; the text names it."""


class ObservationError(ValueError):
    """An observation does not fit the features the policy was trained on."""
