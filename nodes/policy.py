"""A policy acts on an instruction: observations in, proposals to the guards out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sensorium_ros.msg import ActionChunk, WorldState

import sensorium.models.policy
from sensorium.configuration import ConfigurationError, parameter
from sensorium.device import DEVICES, chosen_device
from sensorium.models.policy import Policy, load_policy
from sensorium.policy.actions import ActionMapper
from sensorium.policy.contract import Contract, check_contract
from sensorium.policy.contract_file import read_contract
from sensorium.policy.kinematics import Kinematics
from sensorium.policy.pooled_tokens_record import check_pooled_tokens, read_record
from sensorium.ros.diagnostics import Diagnostics, Rejections, Status
from sensorium.ros.inputs import MonitoredSubscription
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.policy_inputs import PolicyInputs
from sensorium.ros.policy_run import RunConfiguration
from sensorium.ros.policy_runs import PolicyRuns
from sensorium.ros.qos import INPUT_QOS, OUTPUT_QOS, QOS_NAMES, overriding_options, qos_profile
from sensorium.ros.robot_description import DescriptionConfiguration, robot_description
from sensorium.ros.running import run
from sensorium.share import share_directory


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    checkpoint: str = parameter(
        "", "Directory of the policy in LeRobot's layout, or the name of a shipped one "
        "(geo_tabletop).",
    )  # fmt: skip
    contract: str = parameter(
        "", "YAML file that maps topics to features and actions to joints; relative paths are "
        "tried in the shipped config/ too.",
    )  # fmt: skip
    guard: str = parameter("policy_guard", "Name of the guards' node.")
    run: RunConfiguration = field(default_factory=RunConfiguration)
    description: DescriptionConfiguration = field(default_factory=DescriptionConfiguration)
    world_state_topic: str = parameter(
        "", "Topic of sensorium_ros/WorldState of a simulated world, which ends a run when its "
        "episode is over; empty for none.",
    )  # fmt: skip
    qos: str = parameter(INPUT_QOS, "QoS of the observations.", choices=QOS_NAMES)
    device: str = parameter("auto", "Where to compute; auto takes a GPU if any.", choices=DEVICES)
    threads: int = parameter(0, "CPU threads of torch; 0 leaves its default.", minimum=0,
                             maximum=256)  # fmt: skip


class PolicyNode(ManagedNode[Configuration]):
    """Loads a policy, observes, proposes; a policy_guard alone commands the robot."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._policy: Policy | None = None
        self._contract: Contract | None = None
        self._identity = ("", "")
        self._runs: PolicyRuns | None = None
        self._inputs: PolicyInputs | None = None
        self._world: MonitoredSubscription | None = None
        self._episode: int | None = None
        self._chunks: Any = None
        super().__init__("policy", Configuration, **arguments)
        self._rejections = Rejections(self)
        self._diagnostics = Diagnostics(self, "policy", self._fill)
        # Before the supervision sees the time limit passed: a jump is no success.
        self._diagnostics.clock_jumps.listen(self._note_clock_jump)

    def set_up(self) -> None:
        """Load policy and contract and check that they fit."""
        configuration = self.configuration
        if not configuration.checkpoint or not configuration.contract:
            raise ConfigurationError(
                f"parameters 'checkpoint' ('{configuration.checkpoint}') and 'contract' "
                f"('{configuration.contract}') are both needed: a policy directory in LeRobot's "
                "layout and the YAML file that maps topics to its features"
            )
        if configuration.threads:
            torch.set_num_threads(configuration.threads)
        directory = _checkpoint_directory(configuration.checkpoint)
        contract = read_contract(_contract_path(configuration.contract))
        policy = load_policy(directory, device=str(chosen_device(configuration.device)))
        shapes = {name: feature.shape for name, feature in policy.input_features.items()}
        check_contract(contract, shapes, policy.action_size)
        check_pooled_tokens(contract, read_record(directory))
        self._identity = _identity(directory)
        self._policy, self._contract = policy, contract
        self._chunks = self.create_publisher(
            ActionChunk, "~/chunk", qos_profile(OUTPUT_QOS, 50),
            qos_overriding_options=overriding_options(),
        )  # fmt: skip
        self._runs = PolicyRuns(
            self, configuration.run, contract, predict=policy.predict_action_chunk,
            reset=policy.reset, identity=self._identity, guard=configuration.guard,
            rejections=self._rejections, log=self._chunks.publish,
        )  # fmt: skip

    def start(self) -> None:
        """Read the robot's description where it is needed, subscribe, accept goals."""
        configuration, runs = self.configuration, self._runs
        policy, contract = self._policy, self._contract
        assert policy is not None  # noqa: S101 - made by set_up, as those below
        assert contract is not None  # noqa: S101
        assert runs is not None  # noqa: S101
        kinematics = None
        if contract.needs_kinematics:
            text = robot_description(self, configuration.description)
            general = contract.general
            kinematics = Kinematics(text, general.base_frame, general.tip_link)
        self._inputs = PolicyInputs(
            self, contract, policy.input_features, kinematics, rejections=self._rejections,
            now_ns=lambda: int(self.get_clock().now().nanoseconds), changed=runs.changed,
            qos=configuration.qos,
        )  # fmt: skip
        runs.open(self._inputs, ActionMapper(contract, kinematics))
        if configuration.world_state_topic:
            self._world = MonitoredSubscription(
                self, WorldState, configuration.world_state_topic, self._note_world,
                qos_profile(configuration.qos),
            )  # fmt: skip

    def stop(self) -> None:
        """End the run with the safe action, then stop listening."""
        if self._runs is not None:
            self._runs.close("deactivated", "the policy was deactivated")
        if self._world is not None:
            self._world.close()
            self._world = None
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None

    def tear_down(self) -> None:
        """Free the policy, the action and the publisher."""
        if self._runs is not None:
            self._runs.destroy()
            self._runs = None
        if self._chunks is not None:
            self.destroy_publisher(self._chunks)
        self._policy = self._contract = self._chunks = None

    def _note_world(self, state: WorldState) -> None:
        if not (state.success or state.done):
            self._episode = state.episode
            return
        # Repeated or late word of an episode that has ended a run must not end the next one.
        if self._runs is None or state.episode != self._episode:
            return
        self._episode = None
        if state.success:
            self._runs.end("task_done", f"the world reports that '{state.task}' is done")
        else:
            self._runs.end("episode_over", f"the world's {state.max_steps} steps are over")

    def _note_clock_jump(self, text: str) -> None:
        if self._runs is not None:
            self._runs.clock_jumped(text)

    def _fill(self, status: Status) -> None:
        status.value("policy", self._identity[0])
        status.value("weights_sha256", self._identity[1])
        self._rejections.describe(status)
        if self._inputs is not None:
            self._inputs.describe(status)
        if self._runs is not None:
            self._runs.describe(status)
        if self.last_failure:
            status.error(self.last_failure)


def _checkpoint_directory(given: str) -> Path:
    shipped = Path(sensorium.models.policy.__file__).parent / "weights" / given
    return shipped if "/" not in given and shipped.is_dir() else Path(given).expanduser()


def _contract_path(given: str) -> Path:
    path = Path(given).expanduser()
    if path.is_absolute() or path.is_file():
        return path
    shipped = share_directory() / "config" / given
    return shipped if shipped.is_file() else path


def _identity(directory: Path) -> tuple[str, str]:
    """Type of the policy and SHA-256 of its weights."""
    kind = str(json.loads((directory / "config.json").read_text())["type"])
    weights = directory / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else ""
    return kind, digest


def make_node(**arguments: Any) -> PolicyNode:  # noqa: ANN401
    """Make the node."""
    return PolicyNode(**arguments)


def main() -> None:
    """Run the node."""
    run([make_node])


if __name__ == "__main__":
    main()
