"""The shipped parameter file of the closed loop, as a dictionary that may be changed."""

from __future__ import annotations

from typing import Any

import yaml

from sensorium.share import parameter_file

__all__ = ["closed_loop_parameters", "make_real_time"]


def closed_loop_parameters(name: str = "tabletop_policy") -> dict[str, Any]:
    """Return the content of a shipped parameter file; it runs in lockstep."""
    content: dict[str, Any] = yaml.safe_load(parameter_file(name).read_text(encoding="utf-8"))
    return content


def make_real_time(parameters: dict[str, Any]) -> None:
    """Change the parameters in place: world, policy and guards go by the clock, none waits."""
    parameters["/**/tabletop_world"]["ros__parameters"]["mode"] = "realtime"
    parameters["/**/policy"]["ros__parameters"]["run"]["replan"] = "threshold"
    parameters["/**/policy_guard"]["ros__parameters"]["guards"]["lockstep"] = False
