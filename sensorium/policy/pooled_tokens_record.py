"""What the pooled tokens of a trained policy were made of: recorded, read and compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.models.policy.geo.configuration import GEOMETRY_GLOBAL
from sensorium.policy.contract import Contract, ContractError

__all__ = ["INPUTS", "RECORD_KEY", "PooledTokensRecord", "check_pooled_tokens", "read_record"]

INPUTS = ("rgb", "rgbd")
RECORD_KEY = "pooled_tokens"
"""Entry of config.json that holds the record."""


@dataclass(frozen=True)
class PooledTokensRecord:
    """What the pooled vector of a trained policy was made of; stands in its config.json.

    Attributes:
        weights_sha256: Of OmniVGGT's weights.
        inputs: "rgb" or "rgbd".
        input_height_px: Of the model's input.
        input_width_px: Of the model's input.
        rows: Rows of the model's token grid.
        columns: Columns of it.
        channels: Values per token, 2 x embed_dim.
        pooling: How tokens became one vector.
    """

    weights_sha256: str
    inputs: str
    input_height_px: int
    input_width_px: int
    rows: int
    columns: int
    channels: int
    pooling: str

    @property
    def geometry_parameters(self) -> dict[str, Any]:
        """Parameters of section ``omnivggt`` of a geometry node that makes the same tokens."""
        with_depth = self.inputs == "rgbd"
        return {
            "input_width_px": self.input_width_px, "input_height_px": self.input_height_px,
            "window_views": 1, "precision": "float32", "depth_hint": with_depth,
            "intrinsics_hint": with_depth, "odometry": {"enabled": False},
        }  # fmt: skip

    @property
    def contract_entry(self) -> dict[str, Any]:
        """Keys of the contract's entry that belong to the tokens."""
        return {
            "type": "pooled_tokens", "weights_sha256": self.weights_sha256, "rows": self.rows,
            "columns": self.columns, "channels": self.channels, "pooling": self.pooling,
            "hints": ("depth", "intrinsics") if self.inputs == "rgbd" else (),
        }  # fmt: skip


def read_record(checkpoint: Path) -> PooledTokensRecord | None:
    """What a checkpoint's pooled vector was made of; None for a policy that reads none.

    Args:
        checkpoint: Folder in LeRobot's layout.

    Raises:
        ValueError: The policy reads one, but config.json does not say what it was made of.
    """
    content = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    if GEOMETRY_GLOBAL not in content.get("input_features", {}):
        return None
    record = content.get(RECORD_KEY)
    try:
        return PooledTokensRecord(**record)
    except TypeError as error:
        raise ValueError(
            f"{checkpoint / 'config.json'}: '{RECORD_KEY}' does not say which tokens "
            f"'{GEOMETRY_GLOBAL}' was made of in training ({error}); such a policy cannot be "
            "given any. Train again with `sensorium train policy`"
        ) from error


def check_pooled_tokens(contract: Contract, record: PooledTokensRecord | None) -> None:
    """Checks that a contract takes the tokens that a policy was trained with.

    Args:
        contract: The contract.
        record: Of the policy; None where it reads no pooled tokens.

    Raises:
        ContractError: Weights, grid, width or pooling differ.
    """
    entry = contract.pooled.get(GEOMETRY_GLOBAL)
    if record is None or entry is None:
        return
    wanted = record.contract_entry
    for name in ("weights_sha256", "rows", "columns", "channels", "pooling", "hints"):
        given = getattr(entry, name)
        if given != wanted[name]:
            raise ContractError(
                f"{GEOMETRY_GLOBAL}: {name} is {given!r} by the contract, the policy was trained "
                f"with {wanted[name]!r}; tokens of anything else mean something else: correct the "
                "contract and configure the geometry node so"
            )
