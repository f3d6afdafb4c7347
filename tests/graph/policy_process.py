"""The policy node with a scripted policy type, for tests: python policy_process.py --ros-args ...

The type `scripted` goes round in a circle with its two joints and goes wrong when the instruction
says so: "<fault> after <count>" spoils every chunk after so many good ones.
"""

import sys
import time
from typing import ClassVar

import numpy as np

from sensorium.models.policy import Feature, FeatureType
from sensorium.models.policy import loading as policy_loading
from sensorium.nodes import policy

RATE_HZ = 20.0
ROWS = 12
RADIUS = 0.8
SPEED = 0.5
IMAGE, STATE = "observation.images.front", "observation.state"


def spoil(fault, chunk):
    """What goes wrong; time is real time."""
    if fault == "nan":
        chunk[5, 1] = np.nan
    elif fault == "far":
        chunk[-3:] += 9.0
    elif fault == "jump":
        chunk += 0.5
    elif fault == "wild":
        chunk[3:] += np.where(chunk[3:] > 0, -0.7, 0.7)
    elif fault == "late":
        time.sleep(3.0)
    elif fault == "raise":
        raise RuntimeError("the network broke")
    elif fault != "fine":
        raise ValueError(f"unknown fault {fault}")
    return chunk


class ScriptedPolicy:
    input_features: ClassVar = {
        IMAGE: Feature(IMAGE, FeatureType.VISUAL, (3, 24, 32)),
        STATE: Feature(STATE, FeatureType.STATE, (2,)),
    }
    action_size = 2
    chunk_size = ROWS

    def __init__(self):
        self.reset()

    def reset(self):
        self.count = 0

    def predict_action_chunk(self, observation):
        self.count += 1
        assert observation[IMAGE].shape == (24, 32, 3)
        position, rows = observation[STATE].astype(np.float64), []
        for _ in range(ROWS):
            radius = max(np.linalg.norm(position), 1e-6)
            outward = position / radius
            velocity = SPEED * np.array([-outward[1], outward[0]]) + (RADIUS - radius) * outward
            position = position + velocity / RATE_HZ
            rows.append(position)
        chunk = np.array(rows, dtype=np.float32)
        fault, _, count = observation["task"].partition(" after ")
        return spoil(fault, chunk) if count and self.count > int(count) else chunk


if __name__ == "__main__":
    policy_loading._LOADERS["scripted"] = lambda *_: ScriptedPolicy()
    sys.exit(policy.main())
