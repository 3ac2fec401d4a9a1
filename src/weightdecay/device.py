"""The one place where the device is chosen."""

import os

import torch


def pick_device(name: str | None = None) -> torch.device:
    """Return the device to train on: CUDA where there is one, else Apple's MPS, else the CPU.

    `name`, or else the environment variable ``WEIGHTDECAY_DEVICE``, overrides the choice
    ("cpu", "mps", "cuda", "cuda:1"). Raises RuntimeError where this PyTorch cannot use that device.

    Random numbers differ between devices even with one seed. The chapters therefore draw on the CPU,
    with a seeded ``torch.Generator``, and move the result.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = name or os.environ.get("WEIGHTDECAY_DEVICE") or next(kind for kind, here in available.items() if here)
    if not available.get(name.split(":")[0], False):
        usable = ", ".join(kind for kind, here in available.items() if here)
        raise RuntimeError(f"This PyTorch cannot train on {name!r} here; choose one of: {usable}.")
    return torch.device(name)
