"""A pretended GPU: its tensors live in main memory and carry a mark, and are refused what a GPU refuses.

It is there for the thread that made it. It does not know the operators that a GPU lacks, its rounding, its random
numbers or its generators, nor what those functions of PyTorch that are themselves written in Python do inside.
"""

import contextlib
import os
from types import SimpleNamespace
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

from weightdecay import device as choice

CROSSING = {"copy_", "_foreach_copy_", "data", "_has_compatible_shallow_copy_type", "expand_as", "view_as", "tensor"}
JOINING = {"cat", "concat", "stack", "hstack", "vstack"}  # take no CPU tensor without dimensions either
MIXED = "Expected all tensors to be on the same device, but found at least two devices, {} and cpu!"
GRADIENT = "attempting to assign a gradient to a tensor that is on another device (of {} and cpu)"
INDEX = "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
NUMPY = "can't convert {} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
GENERATOR = "Expected a '{}' device type for generator but found 'cpu'"
DOUBLE = "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."


@contextlib.contextmanager
def pretended_gpu(kind="cuda"):
    """Pretend that this machine has one ("cuda" or "mps"), which the book therefore chooses; gives the mode."""
    cuda, mps = (SimpleNamespace(is_available=lambda name=name: name == kind) for name in ("cuda", "mps"))
    machine = SimpleNamespace(device=torch.device, cuda=cuda, backends=SimpleNamespace(mps=mps))
    parse = torch._C._nn._parse_to  # by which Module.to reads its arguments, a tensor among them, past any mode

    def parse_to(*args, **kwargs):
        device, *others = parse(*args, **kwargs)
        like = [*map(on_gpu, tensors_in((args, *kwargs.values())))]
        return (mode.gpu if like == [True] else device, *others)

    machines = mock.patch.object(choice, "torch", machine), mock.patch.object(torch._C._nn, "_parse_to", parse_to)
    with mock.patch.dict(os.environ), machines[0], machines[1], PretendedGPU(kind) as mode:
        os.environ.pop("WEIGHTDECAY_DEVICE", None)
        yield mode


class PretendedGPU(TorchFunctionMode):
    """Marks memory, so that views, parameters and all else that shares it are marked too."""

    def __init__(self, kind):
        super().__init__()
        self.gpu, self.count = torch.device(kind, 0), 0  # of operations on marked tensors
        self.answers = {"device": self.gpu, "is_cpu": False, "get_device": 0, f"is_{kind}": True}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), func.__name__
        if name in ("__get__", "__set__"):
            name = getattr(func.__self__, "__name__", name)  # of the attribute
        inputs = [*tensors_in((args, *kwargs.values()))]
        here = [on_gpu(tensor) for tensor in inputs]
        self.count += any(here)
        if name in self.answers and here[:1] == [True]:
            return self.answers[name]
        if name in ("numpy", "__array__") and here == [True] and not kwargs.get("force"):
            raise TypeError(NUMPY.format(self.gpu))
        if name in ("to", "cpu", "cuda"):
            return self.moved(func, args, kwargs, here)
        if func is torch.autograd.grad:  # each gradient is where its input is
            leaves = tensors_in(args[1] if len(args) > 1 else kwargs["inputs"])
            return tuple(self.mark(g) if on_gpu(p) else g for p, g in zip(leaves, func(*args, **kwargs), strict=True))
        self.refuse_mixtures(name, args, inputs, here)
        goal = any(here) and not (name in ("tensor", "as_tensor") and not isinstance(args[0], torch.Tensor))
        if kwargs.get("device") is not None:
            goal = self.is_mine(kwargs["device"])
            kwargs["device"] = "cpu" if goal else kwargs["device"]
        if goal and kwargs.get("generator") is not None:
            raise RuntimeError(GENERATOR.format(self.gpu.type))
        out = func(*args, **kwargs)
        if name == "as_tensor" and goal != any(here):
            out = out.clone()
        elsewhere = [tensor for tensor, there in zip(inputs, here, strict=True) if not there]
        return self.mark(out, elsewhere) if goal else out

    def refuse_mixtures(self, name, args, inputs, here):
        """Raise what PyTorch raises where tensors on both devices meet, but for CPU tensors without dimensions."""
        if name in ("__getitem__", "__setitem__"):
            index = [i for i in tensors_in(args[1]) if i.dim() or i.dtype == torch.bool]
            if not here[0] and any(map(on_gpu, index)):
                raise RuntimeError(INDEX)
            values = [value for value in tensors_in(args[2:]) if index and value.dim()]  # without an index, a copy
            inputs, here = [args[0], *values], [here[0], *map(on_gpu, values)]
        alone = any(t.dim() or name in JOINING for t, there in zip(inputs, here, strict=True) if not there)
        in_place = name.endswith("_") and not name.endswith("__")
        if name not in CROSSING and any(here) and (alone or (in_place and not here[0])):
            raise RuntimeError((GRADIENT if name == "grad" else MIXED).format(self.gpu))

    def moved(self, func, args, kwargs, here):
        """What tensor.to, .cpu or .cuda gives: a copy where it goes to the other side."""
        goal = {"cpu": False, "cuda": self.is_mine("cuda")}.get(func.__name__, here[-1])  # to(other): where that is
        out = args[0]
        if func.__name__ == "to":
            given = [*args, *kwargs.values()]
            devices = [a for a in given if isinstance(a, (str, torch.device))]
            goal = self.is_mine(devices[0]) if devices else goal
            given = ["cpu" if goal and isinstance(a, (str, torch.device)) else a for a in given]
            out = func(*given[: len(args)], **dict(zip(kwargs, given[len(args) :], strict=True)))
        if goal != here[0] and memory(out)._cdata == memory(args[0])._cdata:
            out = out.clone()
        return self.mark(out) if goal else out

    def mark(self, out, elsewhere=()):
        """Mark the tensors in `out`, but for those that share memory with a tensor that is elsewhere."""
        kept = {memory(tensor)._cdata for tensor in elsewhere}
        for tensor in tensors_in(out):
            if memory(tensor)._cdata not in kept:
                if self.gpu.type == "mps" and tensor.dtype == torch.double:
                    raise TypeError(DOUBLE)
                memory(tensor).on_pretended_gpu = True
        return out

    def is_mine(self, device) -> bool:
        return torch.device(device).type == self.gpu.type


def on_gpu(tensor) -> bool:
    return hasattr(memory(tensor), "on_pretended_gpu")


def memory(tensor) -> torch.UntypedStorage:
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor.untyped_storage()


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
