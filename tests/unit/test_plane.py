"""The plane of η and λ: its networks against single ones, its statistics on data whose answer is known."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn import functional as F

from weightdecay.plane import (
    N_HELD_OUT,
    N_TRAIN,
    best_log_lambda,
    compare,
    counts,
    digits,
    gradients,
    outputs,
    stack,
    train_stack,
)


@torch.no_grad()
def adamw_step(theta, g, state, lr, l2, decay):
    t = state["t"] = state["t"] + 1
    m, v = state["m"].lerp_(g, 0.1), state["v"].lerp_(g * g, 0.001)
    theta.mul_(1 - lr * decay).sub_(lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8))


def test_a_fifth_of_the_training_labels_is_random_and_the_others_are_right():
    X, y, _ = digits(3)
    again, _, _ = digits(3)
    assert torch.equal(X, again)
    assert X.shape == (1797, 64)
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(3))
    from sklearn.datasets import load_digits

    true = torch.tensor(load_digits(return_X_y=True)[1])[order]
    assert (y[N_TRAIN:] == true[N_TRAIN:]).all()
    assert 0.1 < (y[:N_TRAIN] != true[:N_TRAIN]).float().mean() < 0.25


def test_fewer_training_points_leave_the_other_parts_as_they_are():
    (X, y, _), (few, labels, _) = digits(0), digits(0, n_train=60)
    assert torch.equal(few[:60], X[:60])
    assert torch.equal(few[60:], X[N_TRAIN:])
    assert torch.equal(labels[60:], y[N_TRAIN:])
    assert len(few) == 60 + N_HELD_OUT


@pytest.mark.parametrize("norm", [False, True])
def test_a_network_of_the_stack_is_the_one_that_pytorch_makes(norm):
    params = stack(2, torch.Generator().manual_seed(0), norm)
    layers = [nn.Linear(64, 64), *([nn.LayerNorm(64)] if norm else []), nn.ReLU(), nn.Linear(64, 10)]
    net = nn.Sequential(*layers)
    with torch.no_grad():
        for layer, (weight, bias) in ((net[0], params[:2]), (net[-1], params[2:4])):
            layer.weight.copy_(weight[1].T)
            layer.bias.copy_(bias[1, 0])
    X, y, _ = digits(0)
    X, y = X[:30].cpu(), y[:30].cpu()
    params = [p.detach().cpu().requires_grad_() for p in params]
    torch.testing.assert_close(outputs(params, X)[1], net(X))
    F.cross_entropy(net(X), y).backward()
    torch.testing.assert_close(gradients(params, X, y)[0][1], net[0].weight.grad.T)


def test_stacked_networks_train_as_each_alone():
    rows = {"lr": [0.003, 0.01], "l2": [0, 0], "decay": [0.1, 0.3]}
    *_, (_, together) = train_stack(adamw_step, **rows, num_epochs=3)
    for i in range(2):
        *_, (_, alone) = train_stack(adamw_step, **{name: [row[i]] for name, row in rows.items()}, num_epochs=3)
        torch.testing.assert_close(together["w norm"][i : i + 1], alone["w norm"], rtol=1e-4, atol=0)


def test_biases_are_not_decayed():
    stayed = []

    def watch(theta, g, state, lr, l2, decay):
        stayed.append((theta.shape[1] == 1, bool((l2 == 0).all() and (decay == 0).all())))

    next(train_stack(watch, [0.1], [1.0], [1.0]))
    assert all(bias == undecayed for bias, undecayed in stayed)
    assert {bias for bias, _ in stayed} == {True, False}


def test_gains_and_shifts_are_not_decayed_either():
    decayed = []

    def watch(theta, g, state, lr, l2, decay):
        decayed.append(bool((decay != 0).all()))

    next(train_stack(watch, [0.1], [1.0], [1.0], norm=True))
    assert decayed[:6] == [True, False, True, False, False, False]


def bumps(best):
    """Accuracies of four seeds with a best log₁₀ λ that is known for each learning rate."""
    lambd, lr = np.geomspace(1e-3, 10, 17), np.geomspace(1e-3, 1e-1, len(best))
    height = 0.9 - 0.1 * (np.log10(lambd) - np.array(best)[:, None]) ** 2
    noise = 1e-4 * np.random.default_rng(0).normal(size=(4, *height.shape))
    return xr.DataArray(height + noise, dims=("seed", "lr", "lambd"), coords={"lr": lr, "lambd": lambd})


def test_the_best_lambda_and_its_spread_are_found_where_they_are():
    for best in ([-1, -1, -1, -1, -1], [0, -0.5, -1, -1.5, -2]):
        found = best_log_lambda(bumps(best), n_draws=50)
        assert found.shape == (51, 5)
        np.testing.assert_allclose(found, np.broadcast_to(best, (51, 5)), atol=1e-9)


def test_the_verdict_follows_the_data():
    level, slanted = (best_log_lambda(bumps(best)).std(axis=1, ddof=1) for best in ([-1] * 5, [0, -0.5, -1, -1.5, -2]))
    assert compare(level, slanted) == "smaller"
    assert compare(slanted, level) == "larger"
    assert compare(level, level) == "not told apart"


@pytest.mark.parametrize("around", [1, 2, 3])
def test_a_parabola_finds_a_best_lambda_between_the_points_of_the_grid(around):
    found = best_log_lambda(bumps([-1.1, -0.4, 0.13]), n_draws=20, around=around)
    np.testing.assert_allclose(found, np.broadcast_to([-1.1, -0.4, 0.13], (21, 3)), atol=0.01)


def test_a_best_lambda_at_the_end_of_the_grid_is_not_carried_far_beyond_it():
    rising = xr.DataArray(np.tile(np.linspace(0.5, 0.9, 9), (3, 1)), dims=("seed", "lambd"))
    rising = rising.assign_coords(lambd=np.geomspace(1e-3, 1e1, 9))
    assert best_log_lambda(rising, n_draws=5) == pytest.approx(1)
    assert best_log_lambda(rising, n_draws=5, around=2) == pytest.approx(1)


def test_a_learning_rate_counts_where_training_works_and_decay_matters():
    accuracy = bumps([-1] * 4)
    accuracy[:, 0] -= 0.05  # does not work
    accuracy[:, 1] = accuracy[:, 1].mean()  # decay does not matter
    accuracy[:, 1] += 0.9 - accuracy[:, 1].mean()
    assert counts(accuracy).values.tolist() == [False, False, True, True]
