"""The checkpoints of the policy `geo` that come with the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import sensorium.models.policy
from sensorium.policy.evaluation_rows import COMPARED, Row

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


def checkpoint_for_row(row: Row, given: Mapping[str, Path]) -> Path:
    """The checkpoint that a row measures: the given one or else the shipped one.

    Args:
        row: The row.
        given: Folders by the names that rows use in ``Row.checkpoint``.

    Raises:
        ValueError: None is given and none is shipped.
    """
    if row.checkpoint in given:
        return given[row.checkpoint]
    if row.checkpoint in COMPARED:
        recipe = {"rgb": "no_geometry"}.get(row.checkpoint, row.checkpoint)
        raise ValueError(
            f"row '{row.name}' measures a policy that is not shipped; train it with "
            f"training/policy/{recipe}.yaml and give --checkpoint-of {row.checkpoint}=FOLDER"
        )
    return checkpoint_directory(row.checkpoint)
