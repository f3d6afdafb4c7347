"""An evaluation of geometry as JSON and as a Markdown page."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from sensorium.geometry.evaluation import ALIGNMENT, CONDITIONS, EXACT_DEPTH, METRICS, Scores
from sensorium.geometry.evaluation_comparisons import Comparison, comparisons
from sensorium.geometry.evaluation_metrics import Interval, bootstrap


@dataclass(frozen=True)
class EvaluatedSet:
    """Scores on one set of views.

    Attributes:
        name: Title, e.g. "held-out rendered rooms".
        about: What the views and their truth are.
        scores: Numbers per group.
    """

    name: str
    about: str
    scores: Scores


def report(sets: list[EvaluatedSet], about: dict[str, Any]) -> dict[str, Any]:
    """Returns the whole evaluation as what JSON can hold.

    Args:
        sets: What was evaluated.
        about: Weights, device and settings.
    """
    return {
        **about,
        "alignment": ALIGNMENT,
        "intervals": "95 % bootstrap over groups, 2000 draws",
        "sets": [
            {
                "name": each.name,
                "about": each.about,
                "groups": len(each.scores.names),
                "table": [
                    {"auxiliary input": condition, **_row(each.scores, condition)}
                    for condition in _conditions(each.scores)
                ],
                "comparisons": [_comparison(item) for item in comparisons(each.scores)],
            }
            for each in sets
        ],
    }


def markdown(content: dict[str, Any], command: str) -> str:
    """Returns the page of a report.

    Args:
        content: Result of ``report``.
        command: Command line that made it.
    """
    about = {
        key: value
        for key, value in content.items()
        if key not in ("sets", "alignment", "intervals")
    }
    lines = [
        "# Accuracy of geometry",
        "",
        f"Made by `{command}`.",
        "",
        *(f"- {key}: {value}" for key, value in about.items()),
        f"- alignment: {content['alignment']}",
        f"- in brackets: {content['intervals']}",
    ]
    for each in content["sets"]:
        lines += ["", f"## {each['name']} ({each['groups']} groups)", "", each["about"], ""]
        lines += ["| auxiliary input | " + " | ".join(METRICS) + " |"]
        lines += ["|---" * (1 + len(METRICS)) + "|"]
        for row in each["table"]:
            cells = (_cell(row[metric]) for metric in METRICS)
            lines.append(f"| {row['auxiliary input']} | " + " | ".join(cells) + " |")
        lines += ["", "| comparison | value | rule | kept |", "|---|---|---|---|"]
        for item in each["comparisons"]:
            kept = {True: "yes", False: "**no**", None: ""}[item["passed"]]
            lines.append(f"| {item['name']} | {_cell(item)} | {item['rule']} | {kept} |")
    return "\n".join(lines) + "\n"


def _conditions(scores: Scores) -> list[str]:
    names = [condition.name for condition in CONDITIONS]
    return [*names, EXACT_DEPTH] if EXACT_DEPTH in scores.metrics else names


def _row(scores: Scores, condition: str) -> dict[str, dict[str, float | None]]:
    return {
        metric: _interval(bootstrap(values)) for metric, values in scores.metrics[condition].items()
    }


def _comparison(item: Comparison) -> dict[str, Any]:
    fields = asdict(item)
    del fields["value"]
    return {**fields, **_interval(item.value)}


def _interval(value: Interval) -> dict[str, float | None]:
    # JSON has no NaN.
    return {
        key: None if math.isnan(number) else round(number, 4)
        for key, number in asdict(value).items()
    }


def _cell(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
