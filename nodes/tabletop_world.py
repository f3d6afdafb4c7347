"""A simulated tabletop with an arm: the topics and commands of a real robot, and a new episode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sensorium_ros.srv import ResetWorld
from trajectory_msgs.msg import JointTrajectory

from sensorium.configuration import ConfigurationError, parameter
from sensorium.ros.diagnostics import Diagnostics, RateMonitor, Rejections, Status
from sensorium.ros.gripper_server import GripperServer
from sensorium.ros.inputs import MonitoredSubscription
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.qos import OUTPUT_QOS, QOS_NAMES, qos_profile
from sensorium.ros.running import run
from sensorium.ros.trajectory_input import TrajectoryRefused, command_from_trajectory
from sensorium.ros.world_output import WorldOutput
from sensorium.tabletop.arm import ARM_JOINTS, FINGER_JOINTS
from sensorium.tabletop.options import TabletopOptions
from sensorium.tabletop.runner import RunnerSettings, WorldRunner
from sensorium.tabletop.tasks import TRAINING_PHRASE, TaskError
from sensorium.tabletop.world import Observation, TabletopWorld


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    mode: str = parameter(
        "realtime", "How time passes: as the clock on the wall, or in lockstep: after each "
        "observation the world waits for the trajectory with its stamp.",
        choices=("realtime", "lockstep"),
    )  # fmt: skip
    lockstep_steps: int = parameter(
        2, "Mode lockstep: control steps (0.1 s) from one observation to the next.", minimum=1,
        maximum=100,
    )  # fmt: skip
    lockstep_timeout_s: float = parameter(
        5.0, "Mode lockstep: longest wait for a trajectory, by the clock on the wall; then the "
        "world goes on [s].", minimum=0.01, maximum=3600.0,
    )  # fmt: skip
    speed: float = parameter(
        1.0, "Mode realtime: simulated seconds per second.", minimum=0.01, maximum=100.0
    )
    seed: int = parameter(0, "Seed of the first episode.", minimum=0)
    task: str = parameter("", "Task of the first episode; empty draws one from the seed.")
    phrase: int = parameter(
        TRAINING_PHRASE, "Sentence of the first episode: an index; -1 draws one of training, -2 "
        "one held out.", minimum=-2,
    )  # fmt: skip
    camera_name: str = parameter("camera", "Name of the camera and of its topics' namespace.")
    publish_tf: bool = parameter(True, "Publish the camera and the arm's links on /tf.")
    publish_clock: bool = parameter(True, "Publish /clock.")
    qos: str = parameter(OUTPUT_QOS, "QoS of the published images.", choices=QOS_NAMES)
    world: TabletopOptions = field(default_factory=TabletopOptions)


class TabletopWorldNode(ManagedNode[Configuration]):
    """Runs the world, publishes it, follows trajectories, begins episodes."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._world: TabletopWorld | None = None
        self._runner: WorldRunner | None = None
        self._output: WorldOutput | None = None
        self._trajectories: MonitoredSubscription | None = None
        self._gripper: GripperServer | None = None
        self._reset_service: Any = None
        self._observed = RateMonitor()
        self._accepted = 0
        super().__init__("tabletop_world", Configuration, **arguments)
        self._rejections = Rejections(self)
        self._diagnostics = Diagnostics(self, "tabletop", self._fill)

    def set_up(self) -> None:
        """Make the world, its first episode and the publishers."""
        configuration = self.configuration
        if not configuration.camera_name:
            raise ConfigurationError("parameter 'camera_name' is empty; name the camera")
        world = self._world = TabletopWorld(configuration.world)
        world.reset(configuration.seed, configuration.task, configuration.phrase)
        self._output = WorldOutput(
            self, world.urdf, configuration.camera_name, qos_profile(configuration.qos),
            publish_tf=configuration.publish_tf, publish_clock=configuration.publish_clock,
        )  # fmt: skip

    def start(self) -> None:
        """Let the time run, take trajectories, gripper commands and resets."""
        configuration, world, output = self.configuration, self._world, self._output
        assert world is not None  # noqa: S101 - made by set_up
        assert output is not None  # noqa: S101
        runner = self._runner = WorldRunner(
            world,
            RunnerSettings(
                configuration.mode == "lockstep", configuration.lockstep_steps,
                configuration.lockstep_timeout_s, configuration.speed,
            ),
            publish_state=output.state, publish_observation=self._publish_observation,
            report=self._report,
        )  # fmt: skip
        self._trajectories = MonitoredSubscription(
            self, JointTrajectory, "~/joint_trajectory", self._follow, qos_profile("reliable", 10)
        )
        try:
            self._gripper = GripperServer(
                self, FINGER_JOINTS[0], runner.command_gripper, runner.read_fingers,
                self._rejections.add,
            )  # fmt: skip
        except ImportError as error:
            self.get_logger().info(
                f"no gripper action ({error}); joint '{FINGER_JOINTS[0]}' may stand in trajectories"
            )
        self._reset_service = self.create_service(ResetWorld, "~/reset_world", self._reset)
        runner.start()

    def stop(self) -> None:
        """Hold the arm and let the time stand still."""
        for part in (self._gripper, self._trajectories):
            if part is not None:
                part.close()
        self._gripper = self._trajectories = None
        if self._reset_service is not None:
            self.destroy_service(self._reset_service)
            self._reset_service = None
        if self._runner is not None:
            self._runner.stop()

    def tear_down(self) -> None:
        """Free the world and the publishers."""
        if self._output is not None:
            self._output.close()
        self._output = self._world = self._runner = None

    def _publish_observation(self, observation: Observation) -> None:
        if self._output is not None:
            self._output.observation(observation)
            self._observed.tick()

    def _follow(self, message: JointTrajectory) -> None:
        if self._runner is None:
            return
        try:
            self._runner.command(command_from_trajectory(message, ARM_JOINTS, FINGER_JOINTS[0]))
            self._accepted += 1
        except TrajectoryRefused as refusal:
            self._rejections.add(refusal.reason, str(refusal))

    def _reset(
        self, request: ResetWorld.Request, response: ResetWorld.Response
    ) -> ResetWorld.Response:
        if self._runner is None:
            response.message = "the world is not active; activate the node first"
            return response
        try:
            episode = self._runner.reset(request.seed, request.task, request.phrase)
        except TaskError as error:
            response.message = str(error)
            return response
        response.success = True
        response.message = f"episode {episode.number}: {episode.task.name}, seed {episode.seed}"
        response.episode, response.task = episode.number, episode.task.name
        response.instruction = episode.instruction
        return response

    def _report(self, error: Exception) -> None:
        self._rejections.add("failed", f"a step of the world failed: {error!r}")

    def _fill(self, status: Status) -> None:
        status.value("mode", self.configuration.mode)
        status.value("observations", self._observed.count)
        status.value("observation_rate_hz", self._observed.rate_hz)
        self._rejections.describe(status)
        world, runner = self._world, self._runner
        if world is not None:
            status.value("episode", world.episode.number)
            status.value("task", world.episode.task.name)
            status.value("step", world.steps)
            status.value("success", world.success)
        if runner is not None:
            for name in ("answered", "timeouts", "stale", "dropped_points", "late"):
                status.value(name, getattr(runner, name))
        if self._trajectories is not None:
            status.value("trajectories", self._trajectories.received)
            status.value("lost", self._trajectories.lost)
            status.value("accepted", self._accepted)
        if self._gripper is not None:
            status.value("gripper_goals", self._gripper.goals)
        if self.last_failure:
            status.error(self.last_failure)


def make_node(**arguments: Any) -> TabletopWorldNode:  # noqa: ANN401
    """Make the node."""
    return TabletopWorldNode(**arguments)


def main() -> None:
    """Run the node."""
    run([make_node])


if __name__ == "__main__":
    main()
