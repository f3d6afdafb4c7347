"""The closed loop of the tabletop, hosted, and a policy that needs no training."""

from typing import ClassVar

import numpy as np
import yaml
from graph_nodes import wait_until
from policy_tools import Operator
from sensorium_ros.msg import ActionChunk, WorldState
from sensorium_ros.srv import ResetWorld

from sensorium.models.policy import Feature, FeatureType
from sensorium.share import share_directory

NODES = ("policy_guard", "policy", "geometry", "tabletop_world")
STEP_M = 0.04
TIP_ABOVE_TOUCHED_M = 0.004


class TouchRed:
    """Moves the tip onto whatever red it sees: by the tokens alone, so they must be right."""

    input_features: ClassVar = {
        name: Feature(name, kind, shape)
        for name, kind, shape in (
            ("observation.images.camera", FeatureType.VISUAL, (3, 96, 96)),
            ("observation.state", FeatureType.STATE, (4,)),
            ("observation.geometry.points", FeatureType.ENV, (1024, 3)),
            ("observation.geometry.features", FeatureType.ENV, (1024, 7)),
            ("observation.geometry.valid", FeatureType.ENV, (1024,)),
        )
    }  # fmt: skip
    action_size, chunk_size = 4, 4

    def reset(self):
        pass

    def predict_action_chunk(self, observation):
        tip = observation["observation.state"][:3]
        points = observation["observation.geometry.points"]
        red, green, blue = observation["observation.geometry.features"][:, 3:6].T
        is_red = (red > 0.3) & (red > 2 * green) & (red > 2 * blue)
        seen = points[is_red & (observation["observation.geometry.valid"] > 0)]
        goal = tip.astype(np.float64)
        if len(seen):
            top = np.quantile(seen[:, 2], 0.9)
            middle = np.median(seen[seen[:, 2] > top - 0.01], axis=0)
            aside = np.linalg.norm(middle[:2] - tip[:2])
            height = top + TIP_ABOVE_TOUCHED_M + min(4.0 * max(aside - 0.01, 0.0), 0.15)
            goal = np.array([*middle[:2], height])
        rows, position = [], tip.astype(np.float64)
        for _ in range(self.chunk_size):
            way = goal - position
            position = position + way * min(1.0, STEP_M / max(np.linalg.norm(way), 1e-6))
            rows.append([*(position - tip), 0.0])
        return np.array(rows, dtype=np.float32)


class Loop:
    """The nodes of config/tabletop_policy.yaml, hosted."""

    def __init__(self, graph, checkpoint, **world):
        self.graph = graph
        config = yaml.safe_load((share_directory() / "config" / "tabletop_policy.yaml").read_text())
        self.states = graph.collect(WorldState, "/tabletop_world/state", depth=1000)
        self.chunks = graph.collect(ActionChunk, "/policy/chunk", depth=1000)
        self.nodes = {}
        for name in NODES:
            parameters = flat(config[f"/**/{name}"]["ros__parameters"]) | {"use_sim_time": True}
            if name == "policy":
                parameters["checkpoint"] = str(checkpoint)
            if name == "tabletop_world":
                parameters |= world
            # The robot's description must be there when policy and guards are activated.
            parameters["autostart"] = name in ("geometry", "tabletop_world")
            self.nodes[name] = graph.host(name, parameters=parameters)
        for name in reversed(NODES):
            if name.startswith("policy"):
                for transition in ("configure", "activate"):
                    assert graph.change(self.nodes[name], transition), self.nodes[
                        name
                    ].node.last_failure
            graph.wait_state(self.nodes[name], "active")
        self.operator = graph.manage(Operator())

    def episode(self, seed, task):
        """Run one episode; returns the result of the action."""
        request = ResetWorld.Request(seed=seed, task=task, phrase=-1)
        world = self.graph.call(ResetWorld, "/tabletop_world/reset_world", request)
        assert world.success, world.message
        wait_until(
            lambda: any(state.episode == world.episode for state in list(self.states)),
            "the episode does not begin",
        )
        return self.operator.give(world.instruction).result()


def flat(section, prefix=""):
    result = {}
    for key, value in section.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = value
    return result
