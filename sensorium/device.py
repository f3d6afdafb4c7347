"""What computes: a GPU when there is one and it is wanted, else the CPU; and what it is good at."""

from __future__ import annotations

from pathlib import Path

import torch

DEVICES = ("auto", "cpu", "cuda")


def chosen_device(name: str) -> str:
    """Return the torch device for the parameter value "auto", "cpu" or "cuda".

    Raises:
        ValueError: an unknown name, or "cuda" where torch sees no GPU.
    """
    if name not in DEVICES:
        raise ValueError(f"device '{name}' is not one of {', '.join(DEVICES)}")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError(
            "device is 'cuda' but torch sees no GPU: install a CUDA build of torch and the driver, "
            "or set device to 'auto' or 'cpu'"
        )
    return "cuda" if available and name != "cpu" else "cpu"


def multiplies_bfloat16(device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """True where products of bfloat16 matrices are far faster than those of float32.

    Args:
        device: a GPU since NVIDIA's Ampere (Jetson: Orin); a CPU when it has Intel's AMX (Linux
            says so).
        cpuinfo: what Linux says of the CPU.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True
    try:
        return "amx_bf16" in cpuinfo.read_text(encoding="utf-8").split()
    except OSError:
        return False
