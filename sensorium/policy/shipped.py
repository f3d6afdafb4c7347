"""The checkpoints of the policy `geo` that come with the package."""

from __future__ import annotations

from pathlib import Path

import sensorium.models.policy
from sensorium.policy.evaluation_rows import Row

__all__ = ["checkpoint_directory", "checkpoint_for_row"]

_WEIGHTS = Path(sensorium.models.policy.__file__).parent / "weights"
_NAMES = {"geometry": "geo_tabletop", "no_geometry": "geo_tabletop_no_geometry"}


def checkpoint_directory(kind: str = "geometry") -> Path:
    """Folder of a shipped checkpoint in LeRobot's layout.

    Args:
        kind: "geometry", or "no_geometry" for the one trained without.

    Raises:
        ValueError: There is no such checkpoint.
    """
    if kind not in _NAMES:
        raise ValueError(f"no policy '{kind}' is shipped; there are {', '.join(_NAMES)}")
    return _WEIGHTS / _NAMES[kind]


def checkpoint_for_row(row: Row, geometry: Path | None, no_geometry: Path | None) -> Path:
    """The checkpoint that a row measures: of the given folders or else the shipped one."""
    given = {"geometry": geometry, "no_geometry": no_geometry}[row.checkpoint]
    return given or checkpoint_directory(row.checkpoint)
