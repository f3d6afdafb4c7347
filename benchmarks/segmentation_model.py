"""FC-CLIP at full size with random weights against a plain writing-down of the published forward.

``make bench-segmentation``. On a CPU: seconds per picture at 480 x 640 of both, seconds after one
of 20 names changed, and memory beyond the weights at 800 x 1333. On a GPU (``--device cuda``): ms
per picture of our model at both sizes in float32 and with the trunk in bfloat16. Both sides start
from the same uint8 picture and end with semantic scores, panoptic map and instances.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import conditions
import fcclip_plain
import fcclip_plain_outputs
import numpy as np
import torch
from torch import Tensor

from sensorium.models.fcclip import FCCLIP, FCCLIPConfig, SegmentationResult, Vocabulary
from sensorium.models.fcclip.coco_names import SEEN_SYNONYMS

SMALL_SIZE, LARGE_SIZE = (480, 640), (800, 1333)
NAMES = (
    "mug,cup", "robot arm", "screwdriver", "red box", "blue box", "bottle", "keyboard", "laptop",
    "chair", "person", "floor,ground", "wall", "table,desk", "ceiling", "door", "window", "shelf",
    "conveyor belt", "cable", "grass",
)  # fmt: skip
THINGS = range(10)
NEW_NAME = "yellow safety helmet"
# CPU seconds of the published code at 480 x 640 in shared/reference/fcclip/MODEL.md, section 2.
PUBLISHED_CPU_S = {"backbone": 8.3, "pixel_decoder": 5.3, "decoder": 4.4, "name": 4.8}


def make_model(size: tuple[int, int], device: str, bfloat16: bool = False) -> FCCLIP:
    """Return the full-size model with random weights, taking pictures of this size unscaled."""
    config = replace(
        FCCLIPConfig(),
        short_edge_px=min(size),
        # Random masks lie on top of each other; at the published 0.8 none would stay.
        overlap_threshold=0.01,
        bfloat16_trunk=bfloat16,
    )
    with torch.device("meta"):
        model = FCCLIP(config)
    model.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith("logit_scale"):
                value.fill_(float(np.log(100)))
            elif key.endswith("gamma"):
                value.fill_(0.2)
            elif value.ndim <= 1:
                value.normal_(float(key.endswith("weight")), 0.05, generator=generator)
            else:
                fan_in = float(np.prod(value.shape[1:]))
                value.normal_(0, fan_in**-0.5, generator=generator)
            if "query_feat" in key or "query_embed" in key:
                value.normal_(0, 3, generator=generator)
            elif key.endswith("offsets.bias"):
                value.normal_(0, 2, generator=generator)
            elif "predictor" in key and "out_proj.weight" in key:
                # Weaker attention keeps the queries apart, so that there are several segments.
                value.mul_(0.2)
    return model


def make_picture(size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture with structure at several scales, uint8 RGB."""
    random = np.random.default_rng(0)
    picture = np.zeros((*size, 3))
    for cell in (4, 16, 64):
        coarse = random.random((size[0] // cell + 1, size[1] // cell + 1, 3))
        picture += np.kron(coarse, np.ones((cell, cell, 1)))[: size[0], : size[1]]
    return (picture / 3 * 255).astype(np.uint8)


def use_random_rows(model: FCCLIP) -> Tensor:
    """Give the model random text embeddings, the same in every process; returns the rows."""
    device = model.void_embedding.weight.device
    class_of_row = [i for i, name in enumerate(NAMES) for _ in name.split(",")]
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(len(class_of_row), model.config.embed_dim, generator=generator)
    rows = torch.nn.functional.normalize(rows, dim=-1).to(device)
    seen = [not SEEN_SYNONYMS.isdisjoint(name.split(",")) for name in NAMES]
    vocabulary = Vocabulary(
        names=NAMES,
        things=frozenset(THINGS),
        embedding=rows,
        class_of_row=torch.tensor(class_of_row, device=device),
        seen=torch.tensor(seen, device=device),
        version=1,
    )
    model.use_vocabulary(vocabulary)
    return rows


def all_outputs(model: FCCLIP, picture: np.ndarray[Any, Any]) -> SegmentationResult:
    """Segment a picture and make every output."""
    result = model.predict(picture)
    _ = result.panoptic, result.semantic, result.instances
    return result


def plain_outputs(
    model: FCCLIP, picture: np.ndarray[Any, Any], rows: Tensor
) -> fcclip_plain_outputs.PlainResult:
    """Segment a picture plainly with the weights of the model."""
    with torch.inference_mode():
        return fcclip_plain_outputs.predict(
            model.state_dict(), model.config, model.processor(picture), NAMES, THINGS, rows
        )


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Return CPU and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - cpu, time.perf_counter() - wall


def summary(times: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return medians and minima of (CPU, wall) seconds."""
    cpu, wall = zip(*times, strict=True)
    return {
        "cpu_s_median": round(statistics.median(cpu), 3),
        "cpu_s_min": round(min(cpu), 3),
        "wall_s_median": round(statistics.median(wall), 3),
        "wall_s_min": round(min(wall), 3),
    }


def measure_latency(repeats: int) -> dict[str, Any]:
    """Run both forwards in turn, so that other load on the machine meets both."""
    model = make_model(SMALL_SIZE, "cpu")
    rows, picture = use_random_rows(model), make_picture(SMALL_SIZE)
    ours, plain = all_outputs(model, picture), plain_outputs(model, picture, rows)
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    for _ in range(repeats):
        times["plain"].append(timed(lambda: plain_outputs(model, picture, rows)))
        times["ours"].append(timed(lambda: all_outputs(model, picture)))
    report: dict[str, Any] = {name: summary(values) for name, values in times.items()}
    report["ours_over_plain_cpu"] = round(
        report["ours"]["cpu_s_median"] / report["plain"]["cpu_s_median"], 3
    )
    report["stages_cpu_s"] = stage_times(model, picture, rows)
    report["published_cpu_s"] = PUBLISHED_CPU_S
    report["agreement"] = {
        "mask_cls_max_difference": float((ours.mask_cls - plain.mask_cls).abs().max()),
        "mask_logits_max_difference": float((ours.mask_pred - plain.mask_pred).abs().max()),
        "panoptic_pixels_equal": share_equal(ours.panoptic, plain.panoptic),
        "semantic_labels_equal": labels_equal(ours.semantic, plain.semantic),
        "segments": len(ours.segments),
    }
    model.config = replace(model.config, bfloat16_trunk=True)
    half = all_outputs(model, picture)
    report["bfloat16_trunk"] = summary([timed(lambda: all_outputs(model, picture))])
    report["bfloat16_trunk"] |= {
        "panoptic_pixels_equal": share_equal(half.panoptic, ours.panoptic),
        "semantic_labels_equal": labels_equal(half.semantic, ours.semantic),
        "query_classes_equal": labels_equal(half.mask_cls.T, ours.mask_cls.T),
    }
    return report


def share_equal(first: Tensor, second: Tensor) -> float:
    """Return the share of equal entries."""
    return float((first == second).float().mean())


def labels_equal(first: Tensor, second: Tensor) -> float:
    """Return the share of pixels (or queries) with the same best class."""
    return share_equal(first.argmax(0), second.argmax(0))


def stage_times(
    model: FCCLIP, picture: np.ndarray[Any, Any], rows: Tensor
) -> dict[str, dict[str, float]]:
    """Return CPU seconds of the three network stages on both sides."""
    state, config = model.state_dict(), model.config
    text = (rows, [name.count(",") + 1 for name in NAMES])
    with torch.inference_mode():
        pixels = model.processor(picture).pixels
        features = fcclip_plain.trunk(state, config, pixels)
        channels_last = [x.contiguous(memory_format=torch.channels_last) for x in features]
        levels, mask_features = fcclip_plain.pixel_decoder(state, config, features)
        decoded = model.pixel_decoder(channels_last)
        stages: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "backbone": (
                lambda: model.clip.visual.trunk(pixels),
                lambda: fcclip_plain.trunk(state, config, pixels),
            ),
            "pixel_decoder": (
                lambda: model.pixel_decoder(channels_last),
                lambda: fcclip_plain.pixel_decoder(state, config, features),
            ),
            "decoder": (
                lambda: model.predictor(decoded),
                lambda: fcclip_plain.mask_decoder(state, config, levels, mask_features, text),
            ),
        }
        return {
            name: {"ours": round(timed(ours)[0], 3), "plain": round(timed(plain)[0], 3)}
            for name, (ours, plain) in stages.items()
        }


def measure_vocabulary() -> dict[str, Any]:
    """Encode 20 names both ways and change one of them."""
    model = make_model(SMALL_SIZE, "cpu")
    plain_names = [synonym for name in NAMES for synonym in name.split(",")]
    changed = [*NAMES[:4], NEW_NAME, *NAMES[5:]]
    full, _ = timed(lambda: model.set_vocabulary(NAMES))
    change, _ = timed(lambda: model.set_vocabulary(changed))
    again, _ = timed(lambda: model.set_vocabulary(NAMES))
    state = model.state_dict()
    with torch.inference_mode():
        plain, _ = timed(lambda: fcclip_plain.encode_names(state, model.config, plain_names))
    return {
        "names": len(NAMES),
        "synonyms": len(plain_names),
        "plain_full_cpu_s": round(plain, 3),
        "ours_full_cpu_s": round(full, 3),
        "ours_one_changed_cpu_s": round(change, 3),
        "ours_all_known_cpu_s": round(again, 4),
        "one_changed_over_ours_full": round(change / full, 4),
        "one_changed_over_plain_full": round(change / plain, 4),
    }


def measure_memory(side: str) -> dict[str, float]:
    """Return peak memory beyond the weights of one picture at 800 x 1333, in this process."""
    model = make_model(LARGE_SIZE, "cpu")
    rows, picture = use_random_rows(model), make_picture(LARGE_SIZE)
    loaded = resident_mib("VmRSS")
    if resident_mib("VmHWM") > loaded * 1.02:
        raise RuntimeError("loading used more memory than the weights; the peak would say nothing")
    if side == "ours":
        all_outputs(model, picture)
    else:
        plain_outputs(model, picture, rows)
    peak = resident_mib("VmHWM")
    return {"weights_mib": loaded, "peak_mib": peak, "beyond_weights_mib": round(peak - loaded, 1)}


def resident_mib(field: str) -> float:
    """Return VmRSS (now) or VmHWM (peak) of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return round(int(line.split()[1]) / 1024, 1)


def measure_gpu(repeats: int) -> dict[str, Any]:
    """Return ms per picture on the GPU, all outputs, picture and masks on their way included."""
    report: dict[str, Any] = {}
    for size in (SMALL_SIZE, LARGE_SIZE):
        picture = make_picture(size)
        labels = None
        for name, bfloat16 in (("float32", False), ("bfloat16_trunk", True)):
            model = make_model(size, "cuda", bfloat16)
            use_random_rows(model)
            for _ in range(3):
                semantic = all_outputs(model, picture).semantic
            labels = semantic if labels is None else labels
            times = []
            torch.cuda.reset_peak_memory_stats()
            for _ in range(repeats):
                torch.cuda.synchronize()
                start = time.perf_counter()
                all_outputs(model, picture)
                torch.cuda.synchronize()
                times.append(1000 * (time.perf_counter() - start))
            report[f"{size[0]}x{size[1]} {name}"] = {
                "ms_median": round(statistics.median(times), 2),
                "ms_min": round(min(times), 2),
                "peak_memory_mib": round(torch.cuda.max_memory_allocated() / 2**20),
                "semantic_labels_equal_to_float32": labels_equal(semantic, labels),
            }
            del model
    return report


def in_new_process(part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one part of the benchmark in a process of its own and return its report."""
    command = [sys.executable, __file__, "--part", part, "--threads", str(arguments.threads)]
    command += ["--repeats", str(arguments.repeats)]
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(part, json.dumps(report, indent=2), flush=True)
    return report


def main() -> None:
    """Run all parts, print them and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", choices=("latency", "vocabulary", "ours", "plain"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.part:
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "latency": lambda: measure_latency(arguments.repeats),
            "vocabulary": measure_vocabulary,
            "ours": lambda: measure_memory("ours"),
            "plain": lambda: measure_memory("plain"),
        }
        print(json.dumps(parts[arguments.part]()))
        return
    before = conditions.conditions()
    if arguments.device == "cuda":
        report = measure_gpu(10 * arguments.repeats)
        print(json.dumps(report, indent=2))
        print(conditions.write_results("segmentation_model_gpu", report, before))
        return
    report = {
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "latency_480x640": in_new_process("latency", arguments),
        "vocabulary": in_new_process("vocabulary", arguments),
        "memory_800x1333": {part: in_new_process(part, arguments) for part in ("ours", "plain")},
    }
    memory = report["memory_800x1333"]
    memory["ours_over_plain_beyond_weights"] = round(
        memory["ours"]["beyond_weights_mib"] / memory["plain"]["beyond_weights_mib"], 3
    )
    print(conditions.write_results("segmentation_model", report, before))


if __name__ == "__main__":
    main()
