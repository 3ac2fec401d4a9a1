"""Layers of K networks side by side: one stack trains K models in the time of far fewer, on a GPU above all.

Features come first: values have the shape (K, features, batch), so that the channels of a BatchNorm lie in one row.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import batch_norm


class Linear(nn.Module):
    """K linear layers: (K, n_in, batch) → (K, n_out, batch), weight (K, n_out, n_in), bias (K, n_out, 1).

    Network k's start is drawn with `rngs[k]`, uniform in ±1/√n_in as in `torch.nn.Linear`, so that equal seeds
    give equal networks whatever stands beside them in the stack.
    """

    def __init__(self, n_in: int, n_out: int, rngs: Sequence[torch.Generator]):
        super().__init__()
        drawn = [
            [(2 * torch.rand(shape, generator=rng) - 1) / math.sqrt(n_in) for shape in ((n_out, n_in), (n_out, 1))]
            for rng in rngs
        ]
        self.weight, self.bias = (nn.Parameter(torch.stack(parts)) for parts in zip(*drawn, strict=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias, self.weight, x)


class BatchNorm(nn.Module):
    """BatchNorm over the batch for K × n_features channels, gains and shifts (K, n_features, 1).

    As `torch.nn.BatchNorm1d` in each network: batch statistics in training, running ones (momentum 0.1) in `eval`.
    Set `momentum` to 1 for one pass to replace the running statistics by those of its data. Where `eps` is a tensor it
    is a buffer, which a page can set.
    """

    def __init__(self, n_features: int, copies: int, eps: float = 1e-5):
        super().__init__()
        self.momentum = 0.1
        if isinstance(eps, torch.Tensor):
            self.register_buffer("eps", eps)
        else:
            self.eps = eps
        self.weight = nn.Parameter(torch.ones(copies, n_features, 1))
        self.bias = nn.Parameter(torch.zeros(copies, n_features, 1))
        self.register_buffer("running_mean", torch.zeros(copies * n_features))
        self.register_buffer("running_var", torch.ones(copies * n_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        statistics, affine = (self.running_mean, self.running_var), (self.weight.flatten(), self.bias.flatten())
        channels = x.reshape(1, -1, x.shape[-1])
        if isinstance(self.eps, torch.Tensor):
            return self._normed(x.flatten(0, 1)).view(x.shape) * self.weight + self.bias
        normed = batch_norm(channels, *statistics, *affine, self.training, self.momentum, self.eps)
        return normed.view(x.shape)

    def _normed(self, x):
        """As `batch_norm`, which takes no tensor for ε."""
        mean, var = self.running_mean, self.running_var
        if self.training:
            var, mean = torch.var_mean(x, dim=1, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * x.shape[1] / (x.shape[1] - 1), self.momentum)
        return (x - mean[:, None]) / (var + self.eps).sqrt()[:, None]
