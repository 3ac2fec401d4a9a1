"""The programs of the chapter on double descent, against direct solutions, PyTorch, and the chapter's own records."""

from itertools import islice

import numpy as np
import pytest
import torch
import xarray as xr
from notebooks import ROOT, functions_of

from weightdecay import sweep
from weightdecay.theory import min_norm_risk


@pytest.fixture(scope="module")
def chapter():
    return functions_of("double-descent")


def record(name):
    return xr.load_dataset(ROOT / "book/records" / f"double-descent-{name}.nc")


@pytest.mark.parametrize("n", [6, 10, 17])
@pytest.mark.parametrize("lambd", [0, 0.3])
def test_ridge_is_the_least_squares_solution_of_least_norm(chapter, n, lambd):
    X, y, _ = chapter["draw"](n, 10, size=2)
    for one, target, found in zip(X, y, chapter["ridge"](X, y, lambd), strict=True):
        rows = np.vstack([one, np.sqrt(lambd) * np.eye(10)]) if lambd else one
        expected = np.linalg.lstsq(rows, np.pad(target, ((0, len(rows) - n), (0, 0))), rcond=None)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_the_risk_on_the_singular_directions_has_its_known_limits(chapter):
    endless = dict(chapter["train_linear"](1e12, sigma=1))
    np.testing.assert_allclose([values["measured"] for values in endless.values()], 1, rtol=1e-6)
    noiseless = dict(chapter["train_linear"](0, sigma=0.0))
    assert noiseless[100]["measured"] < 1e-12
    assert noiseless[30 + 2]["measured"] == pytest.approx(min_norm_risk(32, 60, 0), rel=0.1)


@pytest.mark.parametrize("p", [45, 110])
def test_one_decomposition_gives_the_ridge_solution(chapter, p):
    n, seed, lambd = 100, 1, 0.05
    Z = chapter["features"](chapter["digits"](seed)[0], p, seed)
    T = np.eye(10)[chapter["labels"](0.1, seed)] - 0.1
    A = np.linalg.solve(Z[:n].T @ Z[:n] + lambd * np.eye(p), Z[:n].T @ T[:n])
    found = next(values for at, values in chapter["train_features"](lambd, 0.1, n, seed) if at == p)
    validation, truth = slice(400, 797), chapter["digits"](seed)[1][797:]
    assert found["A norm"] == pytest.approx(np.linalg.norm(A), rel=1e-9)
    loss = ((Z[validation] @ A - T[validation]) ** 2).sum(axis=1).mean()
    assert found["validation loss"] == pytest.approx(loss, rel=1e-9)
    assert found["test error"] == pytest.approx(((Z[797:] @ A).argmax(axis=1) != truth).mean(), abs=1e-12)


def test_the_share_of_wrong_labels_is_the_one_asked_for(chapter):
    classes = chapter["digits"](0)[1]
    assert (chapter["labels"](0, 0) == classes).all()
    assert (chapter["labels"](0.2, 0) != classes).mean() == pytest.approx(0.2, abs=0.03)


def test_a_rise_is_counted_in_standard_errors(chapter):
    falling = xr.DataArray([[3.0, 2, 1], [3.2, 2.1, 0.9]], dims=("seed", "features"))
    assert chapter["rises"](falling).max() <= 0
    bump = xr.DataArray([[1.0, 1.9, 1], [1.0, 2.1, 1]], dims=("seed", "features"))
    assert chapter["rises"](bump).max() == pytest.approx(1 / 0.1)


def test_a_stack_of_networks_learns_what_each_learns_alone(chapter):
    train = chapter["train_networks"]
    points = {"width": [5], "lambd": [0, 3.0], "seed": [0, 1]}
    first = lambda **point: islice(train(**point), 20)  # noqa: E731
    first.__qualname__ = "first"
    together, alone = sweep(first, broadcast=True, **points), sweep(first, **points)
    for name in together.data_vars:
        np.testing.assert_allclose(together[name], alone[name], atol=1e-4, rtol=1e-4)


def test_the_visible_step_is_adamw(chapter):
    data, lambd, lr = chapter["images"](2), 2.0, chapter["net_lr"]
    parameters = [p.requires_grad_() for p in chapter["start"](4, 2)]
    groups = [{"params": parameters[:2], "weight_decay": lambd}, {"params": parameters[2:], "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    expected = dict(islice(chapter["train_networks"](4, lambd, 2), 20))
    for step in range(1, max(expected) + 1):
        optimizer.zero_grad()
        loss = (chapter["predict"](*parameters, data[0]) - data[1]).square().mean() / 2
        loss.backward()
        optimizer.step()
    loss = (chapter["predict"](*parameters, data[0]) - data[1]).square().mean() / 2
    assert loss.item() == pytest.approx(expected[step]["train loss"].item(), rel=1e-4)


@pytest.mark.parametrize("lambd", [0, 25])
def test_the_recorded_risks_come_out_again(chapter, lambd):
    stored = record("linear").sel(lambd=lambd)
    for n, values in chapter["measure"](lambd, 100, [0.2, 0.96, 1.75], size=300, steep_size=1000):
        assert values["risk"] == pytest.approx(stored.risk.sel(n=n).item(), rel=1e-4)


def test_the_recorded_digits_come_out_again(chapter):
    stored = record("features").sel(n=100, seed=3, noise=0.1, lambd=0.1)
    for p, values in islice(chapter["train_features"](0.1, 0.1, 100, 3), 10):
        assert values["test error"] == pytest.approx(stored["test error"].sel(features=p).item(), abs=0.0025)
        assert values["A norm"] == pytest.approx(stored["A norm"].sel(features=p).item(), rel=1e-3)


def test_the_recorded_networks_come_out_again(chapter):
    stored = record("network").sel(width=6, lambd=[0, 3], seed=2)
    fresh = chapter["train_networks"](6, np.array([[0], [3]]), np.array([[2], [2]]))
    for step, values in islice(fresh, 25):
        np.testing.assert_allclose(values["train loss"], stored["train loss"].sel(step=step), rtol=0.01)
        np.testing.assert_allclose(values["test error"], stored["test error"].sel(step=step), atol=0.01)


@pytest.mark.parametrize("name", ["linear", "large", "features", "network"])
def test_a_record_says_where_it_comes_from(name):
    stored = record(name)
    assert stored.attrs["command"] == "make recompute CHAPTER=double-descent"
    assert {"seconds", "created", "versions", "device"} <= stored.attrs.keys()
    assert (ROOT / "book/records" / f"double-descent-{name}.nc").stat().st_size < 2e6
