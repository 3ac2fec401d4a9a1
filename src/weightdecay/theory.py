"""Closed forms for linear regression with Gaussian inputs, to be laid over measurements.

The setting throughout: n rows x ~ N(0, I_d), targets y = xᵀβ* + ε with ε ~ N(0, σ²), and the estimate that minimises
‖Xβ − y‖² + λ‖β‖²; the limit λ → 0 is the interpolating solution of minimum norm. λ stands beside a *sum* of squares: in
terms of a mean of ½(ŷ − y)² with the penalty ½λ'‖β‖² it is nλ'. All risks are excess risks E‖β̂ − β*‖², in units of
β*²; the squared error on a fresh noisy target is larger by σ². Arguments may be arrays and broadcast to NumPy arrays.
"""

import numpy as np


def min_norm_risk(n, d, noise, signal=1.0):
    """Exact excess risk of minimum-norm least squares (λ → 0), for `noise` = σ and `signal` = ‖β*‖.

    σ²d/(n − d − 1) for n > d + 1, by the mean of the inverse Wishart distribution;
    ‖β*‖²(1 − n/d) + σ²n/(d − n − 1) for n < d − 1; infinite where |n − d| ≤ 1.
    Its estimate from draws has an infinite variance where |n − d| ≤ 3. Source: Hastie, Montanari, Rosset,
    Tibshirani, arXiv 1903.08560; and Breiman and Freedman,
    "How many variables should be entered in a regression equation?", 1983.
    """
    n, d = np.asarray(n, float), np.asarray(d, float)
    bias = signal**2 * np.clip(1 - n / d, 0, None)
    return bias + noise**2 * _noise_factor(n, d)


def min_norm_square(n, d, noise, signal=1.0):
    """Exact E‖β̂‖² of minimum-norm least squares; arguments, validity and source as for `min_norm_risk`."""
    n, d = np.asarray(n, float), np.asarray(d, float)
    return signal**2 * np.clip(n / d, None, 1) + noise**2 * _noise_factor(n, d)


def _noise_factor(n, d):
    """E tr (XᵀX)⁺: the smaller of n and d over their distance less one."""
    distance = np.abs(n - d) - 1
    return np.where(distance > 0, np.minimum(n, d) / np.where(distance > 0, distance, 1), np.inf)


def ridge_risk(n, d, lambd, noise, signal=1.0):
    """Asymptotic excess risk of ridge regression for λ = `lambd` > 0, n and d large at a fixed ratio.

    With γ = d/n, ℓ = λ/n and m the Stieltjes transform of the Marchenko-Pastur law at −ℓ:
    ‖β*‖²ℓ²m' + σ²γ(m − ℓm'). Source: Dobriban and Wager, arXiv 1507.03003; Hastie et al., arXiv 1903.08560.
    Raises ValueError where λ is not positive: use `min_norm_risk` there. Of a tensor λ it is a tensor, NaN at 0.
    """
    if not hasattr(lambd, "detach"):
        n, d, lambd = (np.asarray(a, float) for a in (n, d, lambd))
        if not (lambd > 0).all():
            raise ValueError("ridge_risk needs λ > 0; min_norm_risk is its limit at 0.")
    gamma, ell = d / n, lambd / n
    b = 1 - gamma + ell
    root = (b**2 + 4 * gamma * ell) ** 0.5
    size = abs(b) + root  # m solves γℓm² + bm − 1 = 0: take the form that does not cancel
    m = (b > 0) * (2 / size) + (b <= 0) * (size / (2 * gamma * ell))
    slope = (gamma * m**2 + m) / root
    return signal**2 * ell**2 * slope + noise**2 * gamma * (m - ell * slope)


def best_ridge(d, noise, signal=1.0):
    """The λ of the least risk, dσ²/‖β*‖²: for inputs of N(0, I_d) exact for every n and d. Source: arXiv 2003.01897."""
    return d * noise**2 / signal**2
