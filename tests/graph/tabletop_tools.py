"""A client of the tabletop world: reads what a robot publishes, answers with trajectories."""

import numpy as np
from builtin_interfaces.msg import Duration
from graph_nodes import wait_until
from sensor_msgs.msg import JointState
from sensorium_ros.msg import RgbdFrame, WorldState
from sensorium_ros.srv import ResetWorld
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from sensorium.ros.convert.header import header, stamp_from_time
from sensorium.tabletop import Expert, TabletopOptions, TabletopWorld
from sensorium.tabletop.arm import ARM_JOINTS, FINGER_JOINTS

STEP_NS = 100_000_000
NAMES = [*ARM_JOINTS, FINGER_JOINTS[0]]


def expert_commands(seed, task):
    """What the expert commands from one control step to the next, (T, 8)."""
    world = TabletopWorld(TabletopOptions(image_width_px=16, image_height_px=16))
    world.reset(seed, task)
    expert, rows = Expert(world), []
    while not world.done:
        action = expert.act()
        rows.append((*world.joints_at(action.executed_target_m), 0.04 * action.gripper))
        expert.execute(action)
        world.step()
    assert world.success
    return np.array(rows)


class WorldClient:
    """Speaks to a world node at /tabletop_world over DDS."""

    def __init__(self, graph, mode="lockstep", **parameters):
        self.graph = graph
        self.frames = graph.collect(RgbdFrame, "/camera/rgbd")
        self.states = graph.collect(WorldState, "/tabletop_world/state")
        self.joints = graph.collect(JointState, "/joint_states", depth=1000)
        defaults = {"world.image_width_px": 32, "world.image_height_px": 32}
        self.node = graph.host(
            "tabletop_world", parameters={"mode": mode, **defaults, **parameters}
        )
        graph.wait_state(self.node, "active")
        self.trajectories = graph.publisher(JointTrajectory, "/tabletop_world/joint_trajectory")

    def reset(self, seed=0, task="", phrase=-1):
        request = ResetWorld.Request(seed=seed, task=task, phrase=phrase)
        return self.graph.call(ResetWorld, "/tabletop_world/reset_world", request)

    def send(self, stamp_ns, times_ns=(), positions=(), names=NAMES):
        """Publish a trajectory; rows of positions in the order of the names."""
        points = [
            JointTrajectoryPoint(
                positions=[float(value) for value in row],
                time_from_start=Duration(sec=time // 10**9, nanosec=time % 10**9),
            )
            for time, row in zip(times_ns, positions, strict=True)
        ]
        message = JointTrajectory(header=header(stamp_ns, ""), joint_names=names, points=points)
        self.trajectories.publish(message)

    def newest_joints(self):
        """Stamp and positions of the newest joint state, in the order of NAMES."""
        message = self.joints[-1]
        order = [list(message.name).index(name) for name in NAMES]
        return stamp_from_time(message.header.stamp), np.array(message.position)[order]

    def wait_frame(self, after_ns):
        """Return the first frame that is newer than a stamp."""

        def newer():
            return [
                frame for frame in self.frames if stamp_from_time(frame.header.stamp) > after_ns
            ]

        wait_until(newer, f"no frame after {after_ns} ns")
        return newer()[0]

    def wait_state(self, condition, text):
        wait_until(lambda: any(condition(state) for state in list(self.states)), text)
        return next(state for state in list(self.states) if condition(state))
