"""The claims of the derivation chapter, in double precision, on settings that are not its own."""

import math

import numpy as np
import pytest
import torch
from notebooks import functions_of


@pytest.fixture(scope="module")
def chapter():
    return functions_of("l2-derivation")  # its constants choose double precision and one thread


@pytest.fixture
def data(chapter):
    """31 samples of 7 inputs with unequal spread, targets, and a point w."""
    rng = torch.Generator().manual_seed(11)
    X = torch.randn(31, 7, generator=rng) * torch.logspace(1, -1, 7)
    return X, torch.randn(31, generator=rng), torch.randn(7, generator=rng)


def penalised(chapter, w, X, y, factor):
    return chapter["step_on"](lambda w: chapter["mean_loss"](w, X, y) + factor * (w @ w), w)


@pytest.mark.parametrize("lambd", [0, 0.01, 2.0])
def test_the_formula_takes_the_step_of_autograd(chapter, data, lambd):
    X, y, w = data
    step = chapter["update"](w, X, y, decay=1 - 0.003 * lambd)
    torch.testing.assert_close(penalised(chapter, w, X, y, lambd / 2), step, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("factor", "decay", "wrong"),
    [
        (0.7 / (2 * 31), 1 - 0.003 * 0.7 / 31, 1 - 31 * 0.7 / 6),  # λ/(2n), and n printed for η
        (0.7 / (2 * 31), 1 - 0.003 * 0.7 / 31, 1 - 0.003 * 0.7 / 6),  # λ/(2n), and |B| for n
        (0.7, 1 - 2 * 0.003 * 0.7, 1 - 0.003 * 0.7),  # λ without ½
    ],
)
def test_each_objective_has_its_own_decay(chapter, data, factor, decay, wrong):
    X, y, w = data
    stepped = penalised(chapter, w, X[:6], y[:6], factor)
    torch.testing.assert_close(stepped, chapter["update"](w, X[:6], y[:6], decay), rtol=0, atol=1e-13)
    assert (stepped - chapter["update"](w, X[:6], y[:6], wrong)).norm() > 1e-4 * w.norm()


def test_the_gradient_vanishes_at_the_fit(chapter, data):
    X, y, _ = data
    w = chapter["fit"](X, y, 0.3)
    assert (X.T @ (X @ w - y) / 31 + 0.3 * w).abs().max() < 1e-12


def test_several_targets_are_fitted_one_by_one(chapter, data):
    X, y, _ = data
    both = chapter["fit"](X, torch.stack([y, 2 * y], dim=1), 0.3)
    one = chapter["fit"](X, y, 0.3)
    torch.testing.assert_close(both, torch.stack([one, 2 * one], dim=1), rtol=1e-10, atol=1e-12)


def test_no_change_of_the_input_breaks_the_bounds(chapter):
    rng = torch.Generator().manual_seed(5)
    for rows, columns in ((1, 9), (6, 13), (40, 3)):
        W = torch.randn(rows, columns, generator=rng)
        stretched = chapter["stretch"](W, torch.randn(columns, 1000, generator=rng))
        spectral = torch.linalg.matrix_norm(W, 2)
        assert (stretched <= spectral * (1 + 1e-12)).all()
        assert spectral <= W.norm() * (1 + 1e-12)
        top = torch.linalg.svd(W).Vh[:1].T
        assert chapter["stretch"](W, top).item() == pytest.approx(spectral.item(), rel=1e-12)


def test_the_frobenius_norm_is_exact_on_average(chapter):
    rng = torch.Generator().manual_seed(5)
    W, Delta = torch.randn(4, 6, generator=rng), 0.3 * torch.randn(6, 400_000, generator=rng)
    average = (W @ Delta).square().sum(dim=0).mean()
    assert average.item() == pytest.approx(0.09 * W.norm().item() ** 2, rel=0.01)


@pytest.mark.parametrize(("sigma", "lambd"), [(0.1, 2.0), (0.5, 0.03), (3.0, 1e-4)])
def test_the_minimiser_is_the_posterior_mean(chapter, data, sigma, lambd):
    X, y, _ = data
    tau_sq = sigma**2 / (31 * lambd)
    w = chapter["fit"](X, y, lambd)
    m, S = chapter["posterior"](X, y, sigma, math.sqrt(tau_sq))
    torch.testing.assert_close(m, w, rtol=1e-8, atol=1e-9)
    jointly = tau_sq * X.T @ torch.linalg.solve(tau_sq * X @ X.T + sigma**2 * torch.eye(31), y)
    torch.testing.assert_close(jointly, w, rtol=1e-8, atol=1e-9)
    covariance = sigma**2 * torch.linalg.inv(X.T @ X + 31 * lambd * torch.eye(7))
    torch.testing.assert_close(S, covariance, rtol=1e-7, atol=1e-9)


def test_another_prior_has_another_mean(chapter, data):
    X, y, _ = data
    m, _ = chapter["posterior"](X, y, 0.5, 0.5 / math.sqrt(0.03))  # forgets the n of σ²/(nλ)
    assert (m - chapter["fit"](X, y, 0.03)).norm() > 0.01 * m.norm()


def test_ridge_keeps_its_share_of_every_direction(chapter, data):
    X, y, _ = data
    _, s, Vt = torch.linalg.svd(X, full_matrices=False)
    share = (Vt @ chapter["fit"](X, y, 0.2)) / (Vt @ chapter["fit"](X, y, 0))
    torch.testing.assert_close(share, chapter["shrink_factors"](s, 0.2, n=31), rtol=1e-9, atol=0)


@pytest.mark.parametrize("lambd", [0, 0.02, 5.0])
def test_degrees_of_freedom_are_the_trace_of_the_hat_matrix(chapter, data, lambd):
    X, _, _ = data
    hat = X @ torch.linalg.solve(X.T @ X + 31 * lambd * torch.eye(7), X.T)
    df = chapter["degrees_of_freedom"](torch.linalg.svdvals(X), lambd, n=31)
    assert df.item() == pytest.approx(hat.trace().item(), rel=1e-9)


def test_the_best_lambda_is_that_of_the_prior(chapter):
    s, tau, sigma, n = torch.tensor([9.0, 2.0, 0.3]), 0.8, 1.7, chapter["n"]
    errors = [chapter["expected_error"](off * sigma**2 / (n * tau**2), tau, s, sigma) for off in (0.95, 1, 1.05)]
    assert errors[1] < min(errors[0], errors[2])


def test_training_on_digits_comes_to_rest_at_the_closed_form(chapter):
    X, Y, *_ = chapter["digits"]()
    *_, (_, last) = chapter["train_digits"](1.0)
    W = chapter["fit"](X, Y, 1.0).T
    for name, value in chapter["sensitivity"](W).items():
        np.testing.assert_allclose(last[name], value, rtol=1e-6)


def test_the_closed_form_is_where_the_loop_of_the_digits_ends(chapter):
    *_, (_, last) = chapter["train_digits"](0.2)
    for name, value in chapter["sensitivity"](chapter["end_of"](0.2)).items():
        np.testing.assert_allclose(last[name], value, rtol=1e-9)


def test_roughness_is_the_second_derivative(chapter):
    assert chapter["roughness"](torch.tensor([3.0, 0.5])) == pytest.approx(1)  # 3x + x²/2
    cubic = torch.tensor([0.0, 0.0, 1.0])  # (6x)² is 12 on average
    assert chapter["roughness"](cubic, points=200_001) == pytest.approx(math.sqrt(12), rel=1e-4)


def test_l1_leaves_no_more_gradient_than_lambda(chapter, data):
    X, y, _ = data
    w = chapter["lasso"](X, y, 0.05)
    gradient = X.T @ (X @ w - y) / 31
    torch.testing.assert_close(gradient[w != 0], -0.05 * w[w != 0].sign(), rtol=0, atol=1e-6)
    assert (gradient.abs() <= 0.05 + 1e-6).all()
    assert 0 < (w == 0).sum() < 7


@pytest.mark.parametrize(("lambd", "rank"), [(0.03, 5), (0.35, 3), (0.7, 2)])
def test_two_factors_lose_lambda_of_each_singular_value(chapter, lambd, rank):
    rng = torch.Generator().manual_seed(3)
    T = torch.diag(torch.tensor([2.0, 1.0, 0.5, 0.25, 0.125]))
    A, C = (0.2 * torch.randn(5, 8, generator=rng) for _ in range(2))  # wider than they need be
    for _ in range(4000):
        A, C = chapter["move"](A, C, T, lambd, 0.07)
    soft = torch.diag((T.diagonal() - lambd).clamp(min=0))
    torch.testing.assert_close(A @ C.T, soft, rtol=0, atol=1e-4)
    assert torch.linalg.matrix_rank(A @ C.T, tol=1e-3) == rank
    penalty = lambd / 2 * (A.square().sum() + C.square().sum())
    assert penalty.item() == pytest.approx(lambd * torch.linalg.matrix_norm(A @ C.T, "nuc").item(), rel=1e-3)
