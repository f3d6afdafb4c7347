"""Writes policy_act_lerobot.npz: what LeRobot itself answers for the checkpoints of the tests.

Run once, outside of the project's environment, in one with lerobot 0.4.4:
``python make_policy_act_lerobot.py``. The tests only read the file it writes.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.processor import PolicyProcessorPipeline
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action
from policy_checkpoint import VARIANTS, observations, write_act_checkpoint

STEPS = 9


def as_tensors(observation):
    tensors = {}
    for name, value in observation.items():
        if name == "task":
            tensors[name] = value
            continue
        tensor = torch.from_numpy(value)
        tensors[name] = tensor.permute(2, 0, 1).float() / 255 if value.ndim == 3 else tensor
    return tensors


def main():
    answers = {}
    for name, configuration in VARIANTS.items():
        with tempfile.TemporaryDirectory() as folder:
            directory = write_act_checkpoint(Path(folder), configuration)
            policy = ACTPolicy.from_pretrained(directory, strict=True)
            pre = PolicyProcessorPipeline.from_pretrained(directory, "policy_preprocessor.json")
            post = PolicyProcessorPipeline.from_pretrained(
                directory,
                "policy_postprocessor.json",
                to_transition=policy_action_to_transition,
                to_output=transition_to_policy_action,
            )
        steps = [as_tensors(o) for o in observations(configuration, STEPS)]
        chunks = [post(policy.predict_action_chunk(pre(dict(step))))[0] for step in steps]
        policy.reset()
        selected = [post(policy.select_action(pre(dict(step))))[0] for step in steps]
        answers[f"{name}/chunk"] = torch.stack(chunks).numpy()
        answers[f"{name}/selected"] = torch.stack(selected).numpy()
    np.savez_compressed(Path(__file__).with_name("policy_act_lerobot.npz"), **answers)


if __name__ == "__main__":
    main()
