"""Small networks and training sets of the policy `geo` for the tests."""

import numpy as np
import torch

from sensorium.models.policy.fields import Fields
from sensorium.models.policy.geo.configuration import read_geo_configuration
from sensorium.models.policy.geo.modeling import GeoNetwork
from sensorium.models.policy.geo.words import WordTable

ROWS = 8
IMAGE = "observation.images.camera"
STATE = "observation.state"
POINTS = "observation.geometry.points"
FEATURES = "observation.geometry.features"
VALID = "observation.geometry.valid"
GLOBAL = "observation.geometry.global"
COUNT = ROWS * ROWS

INPUTS = {
    "tokens": {
        POINTS: {"type": "ENV", "shape": [COUNT, 3]},
        FEATURES: {"type": "ENV", "shape": [COUNT, 7]},
        VALID: {"type": "ENV", "shape": [COUNT]},
    },
    "point_cloud": {
        POINTS: {"type": "ENV", "shape": [COUNT, 3]},
        VALID: {"type": "ENV", "shape": [COUNT]},
    },
    "pooled": {GLOBAL: {"type": "ENV", "shape": [96]}},
    "none": {},
}


def fields(geometry="tokens", signals=0, **changes):
    """A config.json."""
    inputs = {
        IMAGE: {"type": "VISUAL", "shape": [3, 16, 16]},
        STATE: {"type": "STATE", "shape": [4]},
        **INPUTS[geometry],
    }
    if signals:
        inputs["observation.signals.grip"] = {"type": "ENV", "shape": [signals]}
    return {
        "type": "geo",
        "geometry": geometry,
        "input_features": inputs,
        "output_features": {"action": {"type": "ACTION", "shape": [4]}},
        "normalization_mapping": {},
        "chunk_size": 8,
        "n_action_steps": 2,
        "token_rows": ROWS,
        "token_columns": ROWS,
        "channels": 8,
        "heads": 4,
        "hidden": 32,
        "injector_widths": [16, 24],
    } | changes


def network(geometry="tokens", seed=0, **changes):
    """An untrained network."""
    torch.manual_seed(seed)
    configuration = read_geo_configuration(Fields(fields(geometry, **changes), "a test"))
    return GeoNetwork(configuration).eval()


def batch(geometry="tokens", size=2, seed=0, signals=0):
    """Random observations as the network takes them."""
    torch.manual_seed(seed)
    words, mask = WordTable().encode("pick up the red cube", 16)
    values = {
        IMAGE: torch.rand(size, 3, 16, 16),
        STATE: torch.rand(size, 4),
        "task.words": words.expand(size, -1, -1),
        "task.mask": mask.expand(size, -1),
    }
    for name, entry in INPUTS[geometry].items():
        values[name] = torch.rand(size, *entry["shape"])
    if VALID in values:
        values[VALID] = (values[VALID] > 0.3).float()
    if signals:
        values["observation.signals.grip"] = torch.rand(size, signals)
    return values


def observation(policy, task="pick up the red cube", seed=0):
    """A random observation as robots give it, for a loaded policy."""
    random = np.random.default_rng(seed)
    made = {"task": task}
    for name, feature in policy.input_features.items():
        if name == IMAGE:
            _, height, width = feature.shape
            made[name] = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        else:
            made[name] = random.random(feature.shape).astype(np.float32)
    if VALID in made:
        made[VALID] = np.round(made[VALID])
    return made
