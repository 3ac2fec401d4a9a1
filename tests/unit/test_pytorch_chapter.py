"""The programs of the PyTorch chapter against one another, in double precision, on settings that are not its own."""

import numpy as np
import pytest
import torch
from notebooks import functions_of

from weightdecay import sweep


@pytest.fixture(scope="module")
def chapter():
    torch.set_default_dtype(torch.double)
    return functions_of("pytorch")


def test_broadcasting_256_values_equals_looping(chapter):
    lambdas = [0, *np.geomspace(0.01, 10, 255)]
    together = sweep(chapter["train_all"], broadcast=True, lambd=lambdas)
    looped = sweep(chapter["train"], lambd=lambdas[::17])
    for name in ("train loss", "test loss", "w norm"):
        np.testing.assert_allclose(together[name][::17], looped[name], rtol=1e-5, atol=1e-8)


def test_the_optimiser_takes_the_steps_of_the_visible_loop(chapter):
    concise, scratch = (sweep(chapter[name], lambd=[0.7], seed=[5]) for name in ("train_concise", "train"))
    np.testing.assert_allclose(concise["w norm"], scratch["w norm"], rtol=1e-12)


def test_every_step_shrinks_what_no_data_touch(chapter):
    _, first = next(chapter["train"](0, report=chapter["norms"], num_epochs=1, seed=2, batch_size=7))
    *_, (_, last) = chapter["train"](2.0, report=chapter["norms"], num_epochs=10, seed=2, batch_size=7)
    steps = 10 * 3  # batches of 7, 7 and 6: the short one decays as much
    assert last["w unseen"].item() == pytest.approx(first["w unseen"].item() * (1 - 0.003 * 2.0) ** steps, rel=1e-12)


def test_a_short_batch_decays_less_where_the_penalty_is_broadcast(chapter):
    shrink = chapter["shrink_by_broadcasting"]
    assert shrink(3, 8, lambd=0.5) == pytest.approx(0.003 * 0.5 * 3 / 8, rel=1e-9)


def test_ridge_is_where_gradient_descent_comes_to_rest(chapter):
    X, y = chapter["data"].X_train, chapter["data"].y_train
    w, b = chapter["ridge"](X, y, lambd=0.5)
    residual = X @ w + b - y
    assert (X.T @ residual / len(X) + 0.5 * w).abs().max() < 1e-12
    assert residual.mean().abs() < 1e-12


def test_the_closed_form_in_time_equals_the_loop(chapter):
    s, _, X, y, *_ = chapter["directions"](3)
    w = np.zeros(len(s))
    exactly = dict(chapter["train_exactly"](0.02, seed=3))
    for step in range(1, 1001):
        w -= 0.003 * (X.T @ (X @ w - y) / len(y) + 0.02 * w)
        if step in exactly:
            assert exactly[step]["train loss"] == pytest.approx(np.mean((X @ w - y) ** 2) / 2, rel=1e-9)


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_the_bare_loop_refuses_a_lambda_in_one_sentence(chapter, wrong):
    with pytest.raises(ValueError, match=f"λ must be a finite number that is not negative, but it is {wrong}"):
        next(chapter["train"](wrong))
