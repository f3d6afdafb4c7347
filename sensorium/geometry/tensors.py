"""From NumPy arrays to torch tensors on a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return a tensor of the array on a device; read it only, its memory may be the array's.

    Arrays that view a received message are read-only, which torch cannot express: it warns on
    every one. Those are copied.
    """
    contiguous = np.ascontiguousarray(array)
    if not contiguous.flags.writeable:
        contiguous = contiguous.copy()
    return torch.as_tensor(contiguous, device=device)
