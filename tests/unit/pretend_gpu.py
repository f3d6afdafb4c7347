"""A GPU for machines without one: tensors that compute on the CPU and refuse what a GPU refuses.

Within ``pretend_gpu()`` torch says that it sees a GPU. What is moved or made there reports the
device "cuda:0" and holds its numbers in the CPU's memory. As on a real GPU an operation on tensors
of both devices is an error, and so is NumPy on a tensor that was not brought back. Kernels, speed
and memory are not those of a GPU: it shows that code keeps its tensors together, nothing else.
"""

import contextlib
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

GPU = torch.device("cuda", 0)
# What torch's own code is told, see OnGpu.
_GPU_TYPES = ("cuda", "meta")
aten = torch.ops.aten
# The only operations that read one device and write another.
_BETWEEN = {aten.copy_, aten._copy_from}
# A GPU takes indices from the CPU as well, not the other way round.
_INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class OnGpu(torch.Tensor):
    """A tensor that says it is on the GPU."""

    @staticmethod
    def __new__(cls, real):
        return torch.Tensor._make_wrapper_subclass(
            cls, real.size(), strides=real.stride(), storage_offset=real.storage_offset(),
            dtype=real.dtype, layout=real.layout, device="meta", requires_grad=False,
        )  # fmt: skip

    def __init__(self, real):
        self.in_cpu_memory = real

    # For torch's own code it lies on the device "meta", which every build of torch knows.
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    def __repr__(self):
        return f"OnGpu({self.in_cpu_memory})"

    def new_tensor(self, data, *, dtype=None, device=GPU):
        return torch.tensor(data, dtype=dtype or self.dtype, device=device)

    def __getitem__(self, index):
        return super().__getitem__(_without_lists(index))

    def __setitem__(self, index, value):
        super().__setitem__(_without_lists(index), value)

    def tolist(self):
        return self.in_cpu_memory.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, _types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _without_lists(index):
    """Torch would make tensors of lists where no mode sees it."""
    if isinstance(index, tuple):
        return tuple(_without_lists(part) for part in index)
    return torch.tensor(index) if isinstance(index, list) else index


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, _types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _CpuGenerator(torch.Generator):
    """Random numbers of any device."""

    def __new__(cls, _device=None):
        return super().__new__(cls)


class _FirstGpu(TorchFunctionMode):
    """Makes "cuda" the first GPU; torch would ask the driver which one is meant."""

    def __torch_function__(self, func, _types, args=(), kwargs=None):
        if func is torch._has_compatible_shallow_copy_type:
            return False  # a module that moves or changes its dtype gets new parameters
        if func is torch.Tensor.cuda:
            return args[0].to(GPU)
        args = tuple(_first_gpu(value) for value in args)
        kwargs = {name: _first_gpu(value) for name, value in (kwargs or {}).items()}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == GPU:
            # Torch fills what it makes of numbers where no mode sees it.
            del kwargs["device"]
            return func(*args, **kwargs).to(GPU)
        return func(*args, **kwargs)


def _first_gpu(value):
    if isinstance(value, str | torch.device) and value in ("cuda", torch.device("cuda")):
        return GPU
    return value


def _run(func, args, kwargs):
    packet = func.overloadpacket
    if packet is aten._fused_sdp_choice:
        return 0  # the plain formula: the fused kernels of a GPU do not exist here
    leaves, spec = tree_flatten((args, kwargs))
    _check_devices(func, packet, args, leaves)
    given = {id(leaf.in_cpu_memory): leaf for leaf in leaves if _is_gpu(leaf)}
    real_args, real_kwargs = tree_unflatten([_real(leaf) for leaf in leaves], spec)
    asked = kwargs.get("device") or next((a for a in args if isinstance(a, torch.device)), None)
    if asked is not None:
        to_gpu = torch.device(asked).type in _GPU_TYPES
    elif packet in _BETWEEN or packet in _INDEXED:
        to_gpu = _is_gpu(args[0])
    else:
        to_gpu = bool(given)
    if real_kwargs.get("pin_memory"):
        real_kwargs["pin_memory"] = False
    result = func(*real_args, **real_kwargs)
    if not to_gpu:
        return result

    def wrapped(part):
        if not isinstance(part, torch.Tensor):
            return part
        if id(part) in given:
            return given[id(part)]
        # A view of an ordinary tensor is one, also where inference mode has begun meanwhile.
        with torch.inference_mode(False):
            return OnGpu(part)

    return tree_map(wrapped, result)


def _check_devices(func, packet, args, leaves):
    if packet in _BETWEEN:
        return
    if packet in _INDEXED:
        if not _is_gpu(args[0]) and any(_is_gpu(leaf) for leaf in leaves):
            raise RuntimeError(f"{func}: a tensor on the CPU is indexed by one on the GPU")
        return
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    # A number in a tensor may stay on the CPU.
    on_gpu = [tensor for tensor in tensors if _is_gpu(tensor)]
    on_cpu = [tensor for tensor in tensors if not _is_gpu(tensor) and tensor.ndim > 0]
    if on_gpu and on_cpu:
        raise RuntimeError(
            f"{func}: expected all tensors to be on the same device, found cuda:0 and cpu, shapes "
            f"{[tuple(t.shape) for t in on_gpu]} and {[tuple(t.shape) for t in on_cpu]}"
        )


def _is_gpu(leaf):
    return isinstance(leaf, OnGpu)


def _real(leaf):
    if isinstance(leaf, OnGpu):
        return leaf.in_cpu_memory
    if isinstance(leaf, torch.device) and leaf.type in _GPU_TYPES:
        return torch.device("cpu")
    return leaf


@contextlib.contextmanager
def pretend_gpu():
    """Within it torch has a GPU; of the calling thread only."""
    nothing = {"_lazy_init", "empty_cache", "synchronize"}
    values = {"is_available": True, "max_memory_allocated": 0, "is_bf16_supported": True}
    with contextlib.ExitStack() as stack:
        for name in nothing:
            stack.enter_context(mock.patch.object(torch.cuda, name, lambda *_, **__: None))
        for name, value in values.items():
            returns = mock.Mock(return_value=value)
            stack.enter_context(mock.patch.object(torch.cuda, name, returns))
        stack.enter_context(mock.patch.object(torch, "Generator", _CpuGenerator))
        stack.enter_context(_Mode())
        stack.enter_context(_FirstGpu())
        yield GPU
