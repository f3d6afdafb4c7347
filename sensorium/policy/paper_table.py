"""The comparison of the OmniVGGT paper's VLA as a Markdown page, from success rates in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.policy.evaluation_rows import COMPARED

__all__ = ["paper_table"]

_TITLES = {
    "rgb": "RGB",
    "point_cloud": "RGB + point cloud (PointNet vector)",
    "omnivggt_rgb": "RGB + OmniVGGT-small, RGB only",
    "omnivggt_rgbd": "RGB + OmniVGGT-small, RGB-D and intrinsics",
}
_SKILLS = ("touch", "pick", "place")


def paper_table(content: Mapping[str, Any]) -> str:
    """The page.

    Args:
        content: What `sensorium evaluate policy` wrote as JSON.

    Raises:
        ValueError: It holds no row of the comparison.
    """
    by_name = {row["name"]: row for row in content["rows"]}
    rows = [by_name[name] for name in COMPARED if name in by_name]
    if not rows:
        raise ValueError(
            f"the table holds none of the rows {', '.join(COMPARED)}; measure them with --rows "
            f"{','.join(COMPARED)}"
        )
    lines = [
        "# Inputs of the policy compared as in the OmniVGGT paper",
        "",
        "Written by `sensorium evaluate policy --paper-table`; do not edit. Success in the "
        "tabletop world, closed loop in lockstep, camera pose random, seeds never used in "
        "training; 95 % intervals by Wilson. Same demonstrations, recipe and steps for every row; "
        "one training seed each. Where there is geometry, it reaches the policy as one vector "
        "through a zero-initialised injector, added to the action token (the paper's head), not "
        "as the tokens with positions of the shipped policy.",
        "",
        "| input | success | 95 % interval | episodes | touch | pick | place | steps trained |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_line(row) for row in rows),
        "",
        *_notes(rows),
        "",
    ]
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> str:
    low, high = row["ci95"]
    cells = [
        _TITLES[row["name"]], f"{100 * row['success']:.1f} %", f"{100 * low:.1f} to "
        f"{100 * high:.1f}", str(row["episodes"]),
        *(row["skills"].get(skill, "-") for skill in _SKILLS),
        str(row.get("training", {}).get("trained_steps", "unknown")),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    steps = {row.get("training", {}).get("trained_steps") for row in rows}
    if len(steps) > 1:
        lines.append("- **Rows were trained for different numbers of steps.**")
    missing = [_TITLES[name] for name in COMPARED if name not in {row["name"] for row in rows}]
    if missing:
        lines.append(f"- Not measured: {'; '.join(missing)}.")
    for row in rows:
        lines.append(
            f"- {_TITLES[row['name']]}: {row['meaning']}; {row['how']}; weights "
            f"`{row['weights_sha256'][:16]}`{_pooled(row)}; {row['date']}."
        )
    commands = dict.fromkeys(row["command"] for row in rows)
    lines += ["", *(f"`{command}`" for command in commands)]
    return lines


def _pooled(row: Mapping[str, Any]) -> str:
    record = row.get("pooled_tokens")
    if record is None:
        return ""
    return (
        f", OmniVGGT weights `{record['weights_sha256'][:16]}` at {record['input_width_px']} x "
        f"{record['input_height_px']} px, {record['pooling']} of {record['rows']} x "
        f"{record['columns']} tokens of {record['channels']} values"
    )
