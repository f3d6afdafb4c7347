"""OmniVGGT at full size with random weights against a plain writing-down of the published forward.

``make bench-geometry``. On a CPU: seconds for 4 views of 294 x 392 in one shot and for one new view
in a window of 4 (the plain side runs all four again), and memory beyond the weights for 8 views of
392 x 518. The plain side computes what the published code does on a CPU, in float32 and with the
point map; ours computes what the node asks for, in float32 and with encoder and aggregator in
bfloat16 (which ``precision: auto`` takes on a CPU with AMX, as the published code does on a GPU).
With ``--device cuda``: ms per new view of our window in bfloat16.
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
from pathlib import Path
from typing import Any

import conditions
import omnivggt_plain
import torch
from torch import Tensor

from sensorium.device import multiplies_bfloat16
from sensorium.geometry.omnivggt_memory import activation_bytes
from sensorium.geometry.omnivggt_window import OmniVGGTWindow, WindowConfiguration, WindowView
from sensorium.models.omnivggt import OmniVGGT, OmniVGGTConfig

LATENCY_VIEWS, LATENCY_SIZE = 4, (294, 392)
MEMORY_VIEWS, MEMORY_SIZE = 8, (392, 518)
GPU_SIZES, GPU_WINDOWS = ((294, 392), (392, 518)), (1, 2, 4, 8, 16)
TARGETS = {"one_shot_speedup": 1.25, "new_view_speedup": 1.6, "memory_ratio": 0.5}
MEBIBYTE = 2**20


def make_model(device: str, *, bfloat16: bool = False) -> OmniVGGT:
    """Return the published size with random weights; nothing is held twice."""
    with torch.device("meta"):
        model = OmniVGGT(OmniVGGTConfig())
    model.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.fill_(float("norm" in name and name.endswith("weight")) or 0.01)
    if bfloat16:
        model.use_mixed_precision(torch.bfloat16)
    return model.eval().requires_grad_(requires_grad=False)


def make_images(views: int, size: tuple[int, int]) -> Tensor:
    """Return images (1, views, 3, H, W) with structure at two scales."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(views, 3, 7, 7, generator=generator)
    fine = torch.rand(views, 3, *size, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    return ((smooth + fine) / 2)[None]


def full_window(model: OmniVGGT, views: int, size: tuple[int, int]) -> Callable[[], object]:
    """Return a function that adds one new view to a window that is full."""
    configuration = WindowConfiguration(capacity=views, keyframe_parallax=0.0)
    window = OmniVGGTWindow(model, size, configuration)
    images = make_images(views, size)[0]
    stamps = iter(range(1 << 60))

    def add() -> object:
        stamp = next(stamps)
        return window.add(WindowView("camera", stamp, images[stamp % views]))

    for _ in range(views):
        add()
    return add


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
    """Run all sides in turn, so that other load on the machine meets each."""
    model = make_model("cpu")
    weights = dict(model.named_parameters())
    images = make_images(LATENCY_VIEWS, LATENCY_SIZE)
    functions: dict[str, Callable[[], object]] = {
        "plain": lambda: omnivggt_plain.plain_forward(model.config, weights, images),
        "ours_one_shot": lambda: model(images, with_points=False),
        "ours_one_shot_with_points": lambda: model(images),
        "ours_one_new_view": full_window(model, LATENCY_VIEWS, LATENCY_SIZE),
    }
    with torch.inference_mode():
        agreement = largest_difference(model(images), functions["plain"]())
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
        for _ in range(repeats):
            for name, function in functions.items():
                times[name].append(timed(function))
        exact = model(images, with_points=False)
        # The long weights are gone from here on.
        model.use_mixed_precision(torch.bfloat16)
        short = model(images, with_points=False)
        for name, function in {
            "ours_one_shot_bfloat16": lambda: model(images, with_points=False),
            "ours_one_new_view_bfloat16": full_window(model, LATENCY_VIEWS, LATENCY_SIZE),
        }.items():
            times[name] = [timed(function) for _ in range(repeats)]
    report: dict[str, Any] = {name: summary(values) for name, values in times.items()}
    for clock in ("cpu", "wall"):
        for statistic in ("median", "min"):
            key = f"{clock}_s_{statistic}"
            plain = report["plain"][key]
            report[f"speedup_{clock}_{statistic}"] = {
                name: round(plain / report[name][key], 3) for name in times if name != "plain"
            }
    report["largest_difference_to_plain"] = agreement
    report["auto_is_bfloat16"] = multiplies_bfloat16(torch.device("cpu"))
    report["bfloat16_median_relative_depth_difference"] = float(
        ((short["depth"] - exact["depth"]).abs() / exact["depth"]).median()
    )
    return report


def largest_difference(ours: Any, plain: Any) -> dict[str, float]:  # noqa: ANN401
    """Return the largest |d| / (1 + |plain|) of each output."""
    return {
        key: float(((ours[key] - value).abs() / (1 + value.abs())).max())
        for key, value in plain.items()
    }


def measure_memory(side: str) -> dict[str, float]:
    """Return peak memory beyond the weights of one forward of 8 views, in this process."""
    model = make_model("cpu")
    images = make_images(MEMORY_VIEWS, MEMORY_SIZE)
    loaded = resident_mib("VmRSS")
    if resident_mib("VmHWM") > loaded * 1.02:
        raise RuntimeError("loading used more memory than the weights; the peak would say nothing")
    with torch.inference_mode():
        if side == "plain":
            weights = dict(model.named_parameters())
            omnivggt_plain.plain_forward(model.config, weights, images)
        else:
            model(images, with_points=side == "ours_with_points")
    estimate = activation_bytes(
        model.config,
        MEMORY_SIZE,
        views=MEMORY_VIEWS,
        dense_views=MEMORY_VIEWS,
        with_points=side != "ours",
    )
    peak = resident_mib("VmHWM")
    report = {"weights_mib": loaded, "beyond_weights_mib": round(peak - loaded, 1)}
    return report if side == "plain" else report | {"estimated_mib": round(estimate / MEBIBYTE, 1)}


def resident_mib(field: str) -> float:
    """Return VmRSS (now) or VmHWM (peak) of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return round(int(line.split()[1]) / 1024, 1)


def measure_gpu(repeats: int) -> dict[str, Any]:
    """Return ms per new view of a full window, the image on its way to the GPU included."""
    model = make_model("cuda", bfloat16=True)
    report: dict[str, Any] = {}
    for size in GPU_SIZES:
        for views in GPU_WINDOWS:
            add = full_window(model, views, size)
            for _ in range(3):
                add()
            torch.cuda.reset_peak_memory_stats()
            times = []
            for _ in range(repeats):
                torch.cuda.synchronize()
                start = time.perf_counter()
                add()
                torch.cuda.synchronize()
                times.append(1000 * (time.perf_counter() - start))
            median = statistics.median(times)
            report[f"{size[0]}x{size[1]} window {views}"] = {
                "ms_per_new_view_median": round(median, 2),
                "ms_per_new_view_min": round(min(times), 2),
                "new_views_per_s": round(1000 / median, 2),
                "peak_memory_mib": round(torch.cuda.max_memory_allocated() / MEBIBYTE),
            }
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


def verdicts(latency: dict[str, Any], memory_ratio: float) -> dict[str, Any]:
    """Which targets are met in float32, and by what ``precision: auto`` takes on this machine."""
    speedup = latency["speedup_cpu_median"]
    short = "_bfloat16" if latency["auto_is_bfloat16"] else ""
    return {
        "one_shot_speedup": {
            "float32": speedup["ours_one_shot"] >= TARGETS["one_shot_speedup"],
            "precision auto": speedup["ours_one_shot" + short] >= TARGETS["one_shot_speedup"],
        },
        "new_view_speedup": {
            "float32": speedup["ours_one_new_view"] >= TARGETS["new_view_speedup"],
            "precision auto": speedup["ours_one_new_view" + short] >= TARGETS["new_view_speedup"],
        },
        "memory_ratio": memory_ratio <= TARGETS["memory_ratio"],
    }


def main() -> None:
    """Run all parts, print them and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", choices=("latency", "ours", "ours_with_points", "plain"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.part == "latency":
        print(json.dumps(measure_latency(arguments.repeats)))
        return
    if arguments.part:
        print(json.dumps(measure_memory(arguments.part)))
        return
    before = conditions.conditions()
    if arguments.device == "cuda":
        report = measure_gpu(10 * arguments.repeats)
        print(json.dumps(report, indent=2))
        print(conditions.write_results("geometry_model_gpu", report, before))
        return
    memory: dict[str, Any] = {
        part: in_new_process(part, arguments) for part in ("ours", "ours_with_points", "plain")
    }
    memory["ours_over_plain"] = round(
        memory["ours"]["beyond_weights_mib"] / memory["plain"]["beyond_weights_mib"], 3
    )
    latency = in_new_process("latency", arguments)
    report = {
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "targets": TARGETS,
        "met": verdicts(latency, memory["ours_over_plain"]),
        "memory_8_views_392x518": memory,
        "latency_4_views_294x392": latency,
    }
    print("met:", json.dumps(report["met"], indent=2))
    print(conditions.write_results("geometry_model", report, before))


if __name__ == "__main__":
    main()
