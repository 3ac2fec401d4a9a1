"""The closed forms of linear regression against simulation and against one another."""

import numpy as np
import pytest

from weightdecay.theory import best_ridge, min_norm_risk, min_norm_square, ridge_risk


def simulate(n, d, lambd, noise, signal, size, seed=0):
    """Excess risks and ‖β̂‖² of `size` draws, by NumPy's least squares on the augmented system."""
    rng = np.random.default_rng(seed)
    risks, squares = np.empty(size), np.empty(size)
    for i in range(size):
        X, beta = rng.normal(size=(n, d)), rng.normal(size=d)
        beta *= signal / np.linalg.norm(beta)
        y = X @ beta + noise * rng.normal(size=n)
        rows = np.vstack([X, np.sqrt(lambd) * np.eye(d)])[: n if lambd == 0 else None]
        found = np.linalg.lstsq(rows, np.pad(y, (0, len(rows) - n)), rcond=None)[0]
        risks[i], squares[i] = ((found - beta) ** 2).sum(), (found**2).sum()
    return risks, squares


@pytest.mark.parametrize(("n", "d"), [(10, 25), (19, 25), (33, 25), (60, 25)])
def test_the_exact_risk_and_norm_are_the_means_of_draws(n, d):
    risks, squares = simulate(n, d, 0, noise=0.7, signal=1.5, size=600)
    for drawn, exact in ((risks, min_norm_risk(n, d, 0.7, 1.5)), (squares, min_norm_square(n, d, 0.7, 1.5))):
        assert abs(drawn.mean() - exact) <= 3.5 * drawn.std() / np.sqrt(len(drawn)) <= 0.3 * exact


@pytest.mark.parametrize("n", [60, 120, 240])
def test_the_asymptotic_risk_is_near_at_moderate_size(n):
    risks, _ = simulate(n, 120, 40.0, noise=0.7, signal=1.5, size=40)
    exact = ridge_risk(n, 120, 40.0, 0.7, 1.5)
    assert abs(risks.mean() - exact) <= max(3 * risks.std() / np.sqrt(len(risks)), 0.02 * exact)


def test_the_ridge_risk_tends_to_the_interpolating_one():
    n = np.array([1e6, 3e6, 0.2e6])
    small = ridge_risk(n, 1.5e6, 1e-3, 0.5)
    np.testing.assert_allclose(small, min_norm_risk(n, 1.5e6, 0.5), rtol=1e-4)
    assert ridge_risk(100, 100, 1e-6, 0.5) > 100  # the peak


def test_the_ridge_risk_of_endless_decay_is_the_signal():
    np.testing.assert_allclose(ridge_risk(np.array([50, 100, 400]), 100, 1e9, 0.5, 1.5), 1.5**2, rtol=1e-4)


@pytest.mark.parametrize("n", [7, 40, 41, 300])
def test_the_best_lambda_is_the_same_for_every_n(n):
    best = best_ridge(40, 0.6, 1.2)
    around = ridge_risk(n, 40, best * np.array([0.9, 1, 1.1]), 0.6, 1.2)
    assert around.argmin() == 1


@pytest.mark.parametrize("n", [9, 10, 11])
def test_at_the_threshold_the_mean_is_infinite(n):
    assert min_norm_risk(n, 10, 0.1) == min_norm_square(n, 10, 0.1) == np.inf


@pytest.mark.parametrize("lambd", [0, -1, [1, 0]])
def test_the_asymptotic_risk_refuses_a_lambda_that_is_not_positive(lambd):
    with pytest.raises(ValueError, match="needs λ > 0"):
        ridge_risk(10, 10, lambd, 0.5)
