"""Which device computes: a GPU when there is one and it is wanted, else the CPU."""

from __future__ import annotations

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
