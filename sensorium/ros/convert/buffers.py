"""Arrays and tensors in and out of message fields without needless copies.

Published timings (ROS_PYTHON_CHECK_FIELDS on or off): assigning an ndarray or bytes to
``message.data`` costs 50 to 500 ms per image, filling the message's own ``array.array`` costs
0.03 ms, reading it through the buffer protocol costs microseconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(data: Any, name: str) -> NDArray[Any]:  # noqa: ANN401 - arrays and tensors alike
    """Return an ndarray that shares memory with an array or a CPU tensor.

    Tensors on another device are copied to the CPU; bfloat16, which NumPy lacks, becomes float32.

    Raises:
        TypeError: `data` is neither an ndarray nor a tensor.
    """
    if isinstance(data, np.ndarray):
        return data
    if not hasattr(data, "detach"):
        raise TypeError(f"{name} is a {type(data).__name__}; give a numpy array or a torch tensor")
    tensor = data.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    array: NDArray[Any] = tensor.numpy()
    return array


def append_bytes(field: Any, array: NDArray[Any]) -> None:  # noqa: ANN401 - array.array of a message
    """Append the bytes of `array` to the empty ``uint8[]`` field of a fresh message."""
    field.frombytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def bytes_of(field: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - array.array, bytes or ndarray
    """Return a ``uint8[]`` field as (N,) uint8, sharing its memory."""
    return np.frombuffer(field, dtype=np.uint8)
