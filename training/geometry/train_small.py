"""Trains omnivggt-small: the published architecture, small, on rendered rooms.

Run, in two shells (a GPU is used where there is one):
    python training/geometry/render_views.py /tmp/geometry_views
    python training/geometry/train_small.py /tmp/geometry_views --run /tmp/geometry_run --minutes 90
The run folder then holds omnivggt-small.safetensors (averaged weights, fp16) and state.pt; started
again with the same folder, training goes on from there for as many minutes again.
`python training/geometry/register.py` records the result beside the packaged manifest.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from losses import camera_loss, depth_loss, points_loss
from safetensors.torch import save_file
from samples import Batch, ViewStore
from torch.nn.attention import SDPBackend, sdpa_kernel

from sensorium.models.omnivggt import OmniVGGT, OmniVGGTConfig
from sensorium.models.omnivggt.auxiliary import (
    KnownCameras,
    KnownDepth,
    known_cameras,
    known_depth,
)

WEIGHTS_FILE, STATE_FILE = "omnivggt-small.safetensors", "state.pt"
CONFIGURATION = OmniVGGTConfig(
    img_size=112, embed_dim=192, dino_depth=4, dino_heads=6, depth=4, num_heads=6, mlp_ratio=2,
    init_values=1.0, camera_trunk_depth=1, camera_heads=6, dpt_features=48,
    dpt_out_channels=(32, 64, 96, 96), dpt_layers=(0, 1, 2, 3),
)  # fmt: skip
VIEWS_PER_STEP = 8
VIEWS_PER_SAMPLE, VIEWS_CHANCE = (1, 2, 4), (0.2, 0.4, 0.4)
WITHOUT_DEPTH, DEPTH_IN_ALL, WITHOUT_CAMERAS = 0.3, 0.45, 0.3
POINTS_EVERY = 8
PEAK_RATE, WARM_UP_STEPS, WEIGHT_DECAY = 7e-4, 50, 0.03
AVERAGE_EVERY, AVERAGE_DECAY = 4, 0.99
SAVE_EVERY_S = 180.0


class Trainer:
    """Model, optimiser and averaged weights, with what is needed to go on later."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.model = OmniVGGT(CONFIGURATION).to(device).train()
        self.average = {key: value.clone() for key, value in self.model.state_dict().items()}
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": WEIGHT_DECAY},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.97), fused=True)
        self.steps = self.samples = self.views = 0
        self.seconds = 0.0
        self.machines: list[str] = []

    def step(self, batch: Batch, rate: float, random: np.random.Generator) -> dict[str, float]:
        """One update; returns losses and the depth error, keyed by whether depth was given."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        size = (batch.images.shape[-2], batch.images.shape[-1])
        cameras, depth = _modalities(batch, random)
        model = self.model
        on_cpu = self.device.type == "cpu"
        # Flash attention's gradient is slow on a CPU.
        attention = sdpa_kernel(SDPBackend.MATH) if on_cpu else nullcontext()
        with attention, torch.autocast(self.device.type, torch.bfloat16):
            layers = model.aggregate(model.encode_images(batch.images), size, cameras, depth)
            encodings = model.pose_encodings(layers)
            result = model.predict(layers, size, with_points=self.steps % POINTS_EVERY == 0)
        predicted = result["depth"][..., 0]
        losses = {
            "camera": camera_loss(encodings, batch),
            "depth": depth_loss(predicted, result["depth_conf"], batch.depth),
        }
        if "world_points" in result:
            losses["points"] = points_loss(
                result["world_points"], result["world_points_conf"], batch
            )
        total = torch.stack(list(losses.values())).sum()
        self.optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if torch.isfinite(total):
            self.optimiser.step()
        self.steps += 1
        self.samples += len(batch.images)
        self.views += batch.images.shape[0] * batch.images.shape[1]
        if self.steps % AVERAGE_EVERY == 0:
            self._update_average()
        error = (predicted.detach().float() / batch.depth - 1).abs().mean()
        key = "AbsRel without depth" if depth is None else "AbsRel with depth"
        if depth is not None and len(depth.views) < batch.images.shape[1]:
            key = "AbsRel with some depth"
        return {key: float(error)} | {name: loss.item() for name, loss in losses.items()}

    def save(self, folder: Path) -> None:
        """Writes the averaged weights in fp16 and the state of training."""
        text = json.dumps(asdict(CONFIGURATION))
        half = {key: value.half().cpu().contiguous() for key, value in self.average.items()}
        save_file(half, folder / "partial", {"configuration": text, "training": self.record()})
        (folder / "partial").replace(folder / WEIGHTS_FILE)
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "counts": [self.steps, self.samples, self.views],
            "seconds": self.seconds,
            "machines": self.machines,
        }
        torch.save(state, folder / "partial")
        (folder / "partial").replace(folder / STATE_FILE)

    def resume(self, folder: Path) -> None:
        """Goes on from a state that ``save`` wrote."""
        state = torch.load(folder / STATE_FILE, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps, self.samples, self.views = state["counts"]
        self.seconds, self.machines = state["seconds"], state["machines"]

    def record(self) -> str:
        """What the weights were trained with, as JSON."""
        return json.dumps(
            {
                "steps": self.steps,
                "samples": self.samples,
                "views": self.views,
                "minutes": round(self.seconds / 60, 1),
                "machines": sorted(set(self.machines)),
            }
        )

    def _update_average(self) -> None:
        updates = self.steps // AVERAGE_EVERY
        decay = min(AVERAGE_DECAY, updates / (10 + updates))
        for key, value in self.model.state_dict().items():
            self.average[key].lerp_(value, 1 - decay)


def _modalities(
    batch: Batch, random: np.random.Generator
) -> tuple[KnownCameras | None, KnownDepth | None]:
    """Draws which views have a camera (a prefix) and depth (any subset), as the paper does.

    All views with depth, what an RGB-D camera gives, is drawn more often than by chance.
    """
    views = batch.images.shape[1]
    cameras = depth = None
    if random.random() >= WITHOUT_CAMERAS:
        listed = range(int(random.integers(1, views + 1)))
        size = (batch.images.shape[-2], batch.images.shape[-1])
        cameras = known_cameras(batch.camera_from_world, batch.intrinsics, listed, size)
    draw = random.random()
    if draw >= WITHOUT_DEPTH:
        some = draw < 1 - DEPTH_IN_ALL
        count = random.integers(1, views + 1) if some else views
        chosen = sorted(random.permutation(views)[:count].tolist())
        depth = known_depth(batch.measured[..., None], None, chosen)
    return cameras, depth


def train(
    store: ViewStore, trainer: Trainer, folder: Path, minutes: float, peak: float, seed: int
) -> None:
    """Trains for a time; the learning rate rises, then falls to zero along a cosine."""
    random = np.random.default_rng((seed, trainer.steps))
    begin = last = saved = time.monotonic()
    before = trainer.seconds
    first_step = trainer.steps
    recent: dict[str, list[float]] = {}
    while (elapsed := time.monotonic() - begin) < 60 * minutes:
        warm = min(1.0, (trainer.steps - first_step + 1) / WARM_UP_STEPS)
        rate = peak * warm * 0.5 * (1 + math.cos(math.pi * elapsed / (60 * minutes)))
        views = int(random.choice(VIEWS_PER_SAMPLE, p=VIEWS_CHANCE))
        batch = store.draw(VIEWS_PER_STEP // views, views, random)
        batch = Batch(*(getattr(batch, name).to(trainer.device) for name in _FIELDS))
        for key, value in trainer.step(batch, rate, random).items():
            recent.setdefault(key, []).append(value)
        trainer.seconds = before + time.monotonic() - begin
        if trainer.steps % 100 == 0:
            means = ", ".join(f"{key} {np.mean(recent[key]):.4f}" for key in sorted(recent))
            now = time.monotonic()
            _say(f"{trainer.steps} {elapsed / 60:.1f} min {(now - last) / 100:.2f} s/step {means}")
            recent, last = {}, now
        if time.monotonic() - saved > SAVE_EVERY_S:
            trainer.save(folder)
            store.refresh()
            saved = time.monotonic()
    trainer.save(folder)
    _say(f"done: {trainer.record()}")


_FIELDS = ("images", "depth", "measured", "camera_from_world", "intrinsics")


def machine(device: torch.device) -> str:
    """Names what computes."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{name}, {torch.get_num_threads()} thread(s)"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Train, or go on training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("views", type=Path, help="folder of render_views.py")
    parser.add_argument("--run", type=Path, required=True, help="folder of weights and state")
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(device)
    arguments.run.mkdir(parents=True, exist_ok=True)
    if (arguments.run / STATE_FILE).exists():
        trainer.resume(arguments.run)
    trainer.machines.append(machine(device))
    store = ViewStore(arguments.views)
    _say(f"{len(store)} rooms, {sum(p.numel() for p in trainer.model.parameters())} parameters")
    train(store, trainer, arguments.run, arguments.minutes, arguments.rate, arguments.seed)


if __name__ == "__main__":
    main()
