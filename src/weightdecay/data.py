"""Data sets of the chapters."""

from typing import NamedTuple

import torch


class Regression(NamedTuple):
    """Training and test data of a linear regression: inputs (n, d), targets (n, 1)."""

    X_train: torch.Tensor
    y_train: torch.Tensor
    X_test: torch.Tensor
    y_test: torch.Tensor


def high_dim_regression(
    n_train: int = 20,
    n_test: int = 100,
    n_inputs: int = 200,
    *,
    weight: float = 0.01,
    bias: float = 0.05,
    noise: float = 0.01,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Regression:
    """Draw y = bias + Σ weight·x_j + ε with x_j ~ N(0, 1) and ε ~ N(0, noise²).

    `dtype` is PyTorch's default one if not given; the numbers drawn are the same in each.
    Far more inputs than training points, so that a linear model can fit the noise. After Zhang et al.,
    *Dive into Deep Learning*, section 3.7 ("Weight Decay").
    """
    if min(n_train, n_test, n_inputs) < 1:
        raise ValueError(f"n_train, n_test and n_inputs must be at least 1, got {n_train}, {n_test}, {n_inputs}.")
    rng = torch.Generator().manual_seed(seed)
    X = torch.randn(n_train + n_test, n_inputs, generator=rng, dtype=torch.float64)
    noise_drawn = noise * torch.randn(n_train + n_test, 1, generator=rng, dtype=torch.float64)
    y = X.sum(dim=1, keepdim=True) * weight + bias + noise_drawn
    dtype = dtype or torch.get_default_dtype()
    X, y = X.to(device, dtype), y.to(device, dtype)
    return Regression(X[:n_train], y[:n_train], X[n_train:], y[n_train:])
