"""The plane of η and λ: many small networks learn digits at once, and where in what they measure the best λ lies.

The task: 500 handwritten digits of 8 × 8 pixels to train on, a fifth of the labels drawn at random, so that there is
something to overfit; 400 others for validation and the rest for the test, with right labels. The network: 64 inputs,
64 hidden units (with LayerNorm if asked), ReLU, 10 outputs, cross-entropy. Matrices are decayed; biases, gains and
shifts are not. K such networks stand side by side, every parameter with a leading axis of length K, so that one
batched product serves them all, and η and λ are columns of K numbers.
"""

import math

import joblib
import numpy as np
import torch
import xarray as xr
from sklearn.datasets import load_digits
from torch.nn import functional as F

from weightdecay.device import pick_device
from weightdecay.tape import traced

N_TRAIN, N_VALIDATION, N_HIDDEN = 500, 400, 64
N_HELD_OUT = 1797 - N_TRAIN  # of all the digits there are
WRONG = 0.2  # the share of training labels that are drawn at random
BATCH_SIZE, NUM_EPOCHS = 50, 50


def digits(seed: int, n_train: int = N_TRAIN):
    """Draw images (1797, 64) and labels, the training part first with a fifth of its labels random; and the generator.

    The training part is the first `n_train` of the `N_TRAIN` set aside for it; the parts for validation and test are
    the same for each `n_train`.
    """
    X, y = load_digits(return_X_y=True)
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=rng)
    X, y = torch.tensor(X / 16, dtype=torch.float32)[order], torch.tensor(y)[order]
    spoilt = torch.rand(N_TRAIN, generator=rng) < WRONG
    y[:N_TRAIN][spoilt] = torch.randint(10, (int(spoilt.sum()),), generator=rng)
    kept = torch.cat([torch.arange(n_train), torch.arange(N_TRAIN, len(y))])
    device = pick_device()
    return X[kept].to(device), y[kept].to(device), rng


def stack(K: int, rng: torch.Generator, norm: bool = False) -> list[torch.Tensor]:
    """Return K equal networks: W₁ (K, 64, 64), b₁ (K, 1, 64), W₂ (K, 64, 10), b₂ (K, 1, 10).

    With `norm` the gain and the shift of LayerNorm follow, (K, 1, 64) each.
    """
    W1 = math.sqrt(2 / 64) * torch.randn(64, N_HIDDEN, generator=rng)
    W2 = math.sqrt(1 / N_HIDDEN) * torch.randn(N_HIDDEN, 10, generator=rng)
    one = (W1, torch.zeros(1, N_HIDDEN), W2, torch.zeros(1, 10))
    one += (torch.ones(1, N_HIDDEN), torch.zeros(1, N_HIDDEN)) if norm else ()
    return [p.to(pick_device()).repeat(K, 1, 1).requires_grad_() for p in one]


def outputs(params, X: torch.Tensor) -> torch.Tensor:
    """Return what K networks say to the same images: (images, 64) in, (K, images, 10) out."""
    W1, b1, W2, b2, *norm = params
    hidden = torch.baddbmm(b1, X.expand(len(W1), -1, -1), W1)
    if norm:
        hidden = F.layer_norm(hidden, hidden.shape[-1:]) * norm[0] + norm[1]
    return torch.baddbmm(b2, hidden.relu(), W2)


def gradients(params, X, y):
    """Return the gradients of each network's mean cross-entropy: those of a sum, since none sees another."""
    out = outputs(params, X)
    loss = F.cross_entropy(out.flatten(0, 1), y.repeat(len(out)), reduction="sum") / len(y)
    return torch.autograd.grad(loss, params)


@traced
@torch.no_grad()
def report(params, X, y):
    """Return the accuracies of K networks (of training with the spoilt labels), and the norm of their matrices."""
    right = (outputs(params, X).argmax(dim=2) == y).float()
    sizes = [len(y) - N_HELD_OUT, N_VALIDATION, N_HELD_OUT - N_VALIDATION]
    parts = [part.mean(dim=1) for part in right.split(sizes, dim=1)]
    w_norm = (params[0].square().sum((1, 2)) + params[2].square().sum((1, 2))).sqrt()
    return dict(zip(("train", "validation", "test", "w norm"), [*parts, w_norm], strict=True))


@traced
def train_step(params, states, X, y, batch, lr, share, l2, decay, step):
    """One step of K networks with that share of η; their new parameters and states."""
    params = [p.clone().requires_grad_() for p in params]
    states = [{name: value.clone() for name, value in state.items()} for state in states]
    grads = gradients(params, X[batch], y[batch])
    for i, (p, g, state) in enumerate(zip(params, grads, states, strict=True)):
        is_weight = i in (0, 2)
        step(p, g, state, lr * share, l2 * is_weight, decay * is_weight)
    return [p.detach() for p in params], states


def constant(progress: float) -> float:
    """The schedule in which the learning rate stays."""
    return 1.0


def column(values) -> torch.Tensor:
    """Return K numbers in the shape that multiplies weights; a tensor is in it already."""
    if isinstance(values, torch.Tensor):
        return values
    return torch.as_tensor(np.reshape(values, (-1, 1, 1)), dtype=torch.float32, device=pick_device())


def train_stack(
    step, lr, l2, decay, *, seed=0, batch_size=BATCH_SIZE, num_epochs=NUM_EPOCHS, n_train=N_TRAIN, schedule=constant,
    every=1, report=report, norm=False,
):  # fmt: skip
    """Train K networks by `step(theta, g, state, lr, l2, decay)`, an optimiser's step in place; yield (epoch, report).

    lr, l2, decay: K numbers each: η, and λ as a penalty in the gradient or as decay beside it. schedule: share of η in
    use, from the share of training that is done. every: epochs between two reports. norm: with LayerNorm or without.
    A state starts with zero averages "m" and "v" and the number of steps "t".
    """
    torch.set_flush_denormal(True)  # numbers below 1e-38 only slow a processor down
    X, y, rng = digits(seed, n_train)
    lr, l2, decay = (column(values) for values in (lr, l2, decay))
    params, t, start = stack(len(lr), rng, norm), 0, torch.tensor(0.0, dtype=torch.double)
    states = [{"m": torch.zeros_like(p), "v": torch.zeros_like(p), "t": start} for p in params]
    for epoch in range(1, num_epochs + 1):
        for batch in torch.randperm(n_train, generator=rng).to(X.device).split(batch_size):
            share = torch.tensor(schedule(t * batch_size / (n_train * num_epochs)))
            params, states = train_step(params, states, X, y, batch, lr, share, l2, decay, step)
            t += 1
        if epoch % every == 0:
            yield epoch, report(params, X, y)


def joined(parts, dim) -> xr.Dataset:
    """Return results side by side along a dimension, with the time that they took together."""
    seconds = round(sum(part.attrs["seconds"] for part in parts))
    return xr.concat(parts, dim, combine_attrs="override").assign_attrs(seconds=seconds)


def for_every_seed(experiment, seeds) -> xr.Dataset:
    """Return what `experiment(seed)` measures on data held out, for every seed, on two processes, to be recorded."""
    parts = joblib.Parallel(n_jobs=2)(joblib.delayed(experiment)(seed) for seed in seeds)
    made = joined(parts, xr.DataArray(list(seeds), dims="seed", name="seed"))
    made = made[[name for name in made if name.startswith(("validation", "test", "loss"))]]
    return made.drop_vars("diverged", errors="ignore").assign_attrs(fixed=f"seeds {seeds[0]} to {seeds[-1]}")


def counts(accuracy: xr.DataArray) -> xr.DataArray:
    """Return where training works and decay matters, by the mean of validation accuracies (seed, ..., lambd).

    Works: at its best λ within 0.02 of the best of all. Matters: at least 0.01 above the smallest λ.
    """
    mean = accuracy.mean("seed")
    best = mean.max("lambd")
    return (best >= mean.max() - 0.02) & (best >= mean.isel(lambd=0) + 0.01)


def resampled(accuracy: xr.DataArray, n_draws: int = 2000) -> np.ndarray:
    """Return mean accuracies (1 + n_draws, ..., λ): of all seeds first, then of seeds drawn with replacement."""
    rng, n_seeds = np.random.default_rng(0), accuracy.sizes["seed"]
    draws = np.vstack([np.arange(n_seeds), rng.integers(n_seeds, size=(n_draws, n_seeds))])
    return accuracy.transpose("seed", ..., "lambd").values[draws].mean(axis=1)


def best_log_lambda(accuracy: xr.DataArray, n_draws: int = 2000, around: int = 0) -> np.ndarray:
    """Return log₁₀ of the best λ (1 + n_draws, ...), from all seeds in row 0, then from seeds drawn with replacement.

    around: how many points of the grid to either side of the best one a parabola is fitted to, whose top is the answer;
    with 0 it is the best point itself, which can jump by a step of the grid for nothing.
    """
    mean, logs = resampled(accuracy, n_draws), np.log10(accuracy.lambd.values)
    at = mean.argmax(axis=-1)
    if not around:
        return logs[at]
    at = at.clip(around, len(logs) - 1 - around)
    offsets = np.arange(-around, around + 1)
    values = np.stack([np.take_along_axis(mean, at[..., None] + i, -1)[..., 0] for i in offsets], axis=-1)
    square, slope, _ = np.moveaxis(values @ np.linalg.pinv(np.vander(offsets.astype(float), 3)).T, -1, 0)
    top = np.divide(-slope, 2 * square, out=np.sign(slope) * around, where=square < 0)
    return logs[at] + top.clip(-around, around) * (logs[1] - logs[0])


def with_interval(values: np.ndarray):
    """Return the value from all seeds, and the middle 95 % of those from seeds drawn with replacement."""
    return values[0], *np.quantile(values[1:], [0.025, 0.975])


def compare(a: np.ndarray, b: np.ndarray) -> str:
    """Say which of two bootstrapped numbers is the smaller, if that can be told."""
    _, low, high = with_interval(a - b)
    return "smaller" if high < 0 else "larger" if low > 0 else "not told apart"
