"""Trials of a policy through the graph: world, geometry, policy and guards as nodes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import rclpy
import yaml
from rclpy.signals import SignalHandlerOptions

from sensorium.bringup import NodePlan, read_plan
from sensorium.policy.dataset_features import GEOMETRY, GEOMETRY_GLOBAL
from sensorium.policy.evaluation import EpisodeResult, result_of
from sensorium.policy.evaluation_rows import Row, Trial
from sensorium.policy.pooled_tokens_record import read_record
from sensorium.processes import ManagedProcess, stop_all
from sensorium.ros.episodes import EpisodeClient, EpisodeRequest
from sensorium.ros.token_relay import TokenRelay
from sensorium.share import share_directory
from sensorium.tabletop.parameters import closed_loop_parameters, make_real_time

__all__ = ["run_trials", "trial_parameters"]

_READY_S = 180.0
_EPISODE_S = 600.0
_WARM_UP_SEED = 400_000_000
_TOKENS, _CHANGED_TOKENS = "geometry/tokens", "policy_trials/tokens"


def trial_parameters(
    row: Row,
    checkpoint: Path,
    action_steps: int,
    folder: Path,
    geometry_weights: str = "omnivggt-small",
) -> dict[str, Any]:
    """The shipped file `tabletop_policy` for one row.

    Args:
        row: The condition; its camera goes to the world, its change of tokens to the contract.
        checkpoint: Folder of the policy.
        action_steps: Control steps from one observation to the next.
        folder: Where a changed contract is written.
        geometry_weights: Of the geometry node, for a policy that reads pooled tokens.
    """
    parameters = closed_loop_parameters()
    world = parameters["/**/tabletop_world"]["ros__parameters"]
    world |= {"mode": "lockstep", "lockstep_steps": action_steps, "lockstep_timeout_s": 60.0}
    world["world"] = {"camera": asdict(row.camera)}
    policy = parameters["/**/policy"]["ros__parameters"]
    if row.real_time:
        make_real_time(parameters)
    policy["checkpoint"] = str(checkpoint.resolve())
    record = read_record(checkpoint)
    if row.tokens or record is not None:
        shipped = share_directory() / "config" / policy["contract"]
        contract = yaml.safe_load(shipped.read_text(encoding="utf-8"))
        bank = contract["observations"][GEOMETRY]
        if row.tokens:
            bank["topic"] = _CHANGED_TOKENS
        if record is not None:
            shared = {name: bank[name] for name in ("topic", "max_age_s", "max_silence_s")}
            contract["observations"][GEOMETRY_GLOBAL] = shared | record.contract_entry
            geometry = parameters["/**/geometry"]["ros__parameters"]
            weights = {"weights": geometry_weights}
            geometry |= {"backend": "omnivggt", "omnivggt": record.geometry_parameters | weights}
        (folder / "contract.yaml").write_text(yaml.safe_dump(contract), encoding="utf-8")
        policy["contract"] = str(folder / "contract.yaml")
    return parameters


def run_trials(
    row: Row,
    checkpoint: Path,
    action_steps: int,
    trials: Iterator[Trial],
    command: Callable[[list[NodePlan]], dict[str, list[str]]],
    geometry_weights: str = "omnivggt-small",
) -> Iterator[EpisodeResult]:
    """Starts the nodes and runs the trials one after the other.

    Args:
        row: The condition.
        checkpoint: Folder of the policy.
        action_steps: Control steps from one observation to the next.
        trials: What to do.
        command: Makes the commands of the processes from the plan of the nodes.
        geometry_weights: Of the geometry node, for a policy that reads pooled tokens.

    Raises:
        EpisodeError: A node does not come up or does not answer; its log is named.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = folder / "parameters.yaml"
        made = trial_parameters(row, checkpoint, action_steps, folder, geometry_weights)
        file.write_text(yaml.safe_dump(made))
        plans = read_plan(file, use_sim_time=True)
        processes = [
            ManagedProcess(name, words, dict(os.environ), folder / f"{name.strip('/')}.log")
            for name, words in command(plans).items()
        ]
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("policy_trials")
        if row.tokens:
            TokenRelay(node, _TOKENS, _CHANGED_TOKENS, row.tokens)
        client = EpisodeClient(node)
        try:
            for process in processes:
                process.start()
            client.wait_until_active([plan.fully_qualified_name for plan in plans], _READY_S)
            client.wait_until_ready(_READY_S)
            # Subscribers that are still on their way miss the first observation: not judged.
            client.run(EpisodeRequest(_WARM_UP_SEED), _EPISODE_S)
            for trial in trials:
                request = EpisodeRequest(
                    trial.seed, trial.task.name, trial.phrase, trial.instruction
                )
                outcome = client.run(request, _EPISODE_S)
                yield result_of(row, trial, outcome.success, outcome.steps)
        finally:
            client.close()
            stop_all(processes)
            node.destroy_node()
            rclpy.try_shutdown()
