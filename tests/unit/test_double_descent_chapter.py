"""The programs of the chapter on double descent, against direct solutions, PyTorch, and the chapter's own records."""

import re
from itertools import islice

import nbformat
import numpy as np
import pytest
import torch
import xarray as xr
from notebooks import ROOT, functions_of

from weightdecay import sweep
from weightdecay.theory import best_ridge, min_norm_risk


@pytest.fixture(scope="module")
def chapter():
    return functions_of("double-descent")


def record(name):
    return xr.load_dataset(ROOT / "book/records" / f"double-descent-{name}.nc")


def text(name):
    return (ROOT / "book" / name).read_text(encoding="utf-8")


def cells(kind):
    notebook = nbformat.read(ROOT / "book/double-descent.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


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


@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_the_best_lambda_is_exact_for_four_weights(chapter, n):
    """Against β* turned at random and least squares on the augmented system; then each data set by itself."""
    rng, best = np.random.default_rng(n), best_ridge(4, chapter["sigma"])
    X = rng.normal(size=(n, 4))
    s = np.pad(np.linalg.svd(X, compute_uv=False), (0, max(4 - n, 0)))
    missed = []
    for _ in range(4000):
        beta = rng.normal(size=4)
        beta /= np.linalg.norm(beta)
        y = np.append(X @ beta + chapter["sigma"] * rng.normal(size=n), np.zeros(4))
        rows = np.vstack([X, np.sqrt(best) * np.eye(4)])
        missed.append(((np.linalg.lstsq(rows, y, rcond=None)[0] - beta) ** 2).sum())
    error = np.std(missed, ddof=1) / np.sqrt(len(missed))
    assert abs(np.mean(missed) - chapter["risk_by_directions"](s, best, 4)) <= 3.5 * error
    around = [chapter["risk_by_directions"](s, best * factor, 4) for factor in (0.5, 0.98, 1, 1.02, 2)]
    assert np.argmin(around) == 2


def test_inputs_of_two_sizes_peak_without_noise(chapter):
    sizes, signal = np.r_[np.ones(70), np.full(10, 0.001**0.5)], np.r_[np.full(70, 70**-0.5), np.full(10, 10.0)]
    risk = {n: chapter["risk_of_two_scales"](n, 0, sizes, signal)[0] for n in (10, 70, 85)}
    assert risk[70] > 10 * risk[10] > 10
    assert risk[85] < 1e-12
    same = np.full(80, 80**-0.5)
    isotropic = [chapter["risk_of_two_scales"](n, 0, np.ones(80), same)[0] for n in (10, 40, 70, 78)]
    np.testing.assert_allclose(isotropic, 1 - np.array([10, 40, 70, 78]) / 80, atol=0.02)


def test_the_effective_number_is_what_the_factors_of_the_targets_add_up_to(chapter):
    p, n, seed, lambd = 45, 100, 1, 0.3
    Z = chapter["features"](chapter["digits"](seed)[0], p, seed)
    factors = np.linalg.solve(Z[:n].T @ Z[:n] + lambd * np.eye(p), Z[:n].T).T @ Z[400:].T  # (training, unseen)
    expected = n * (factors**2).sum(axis=0).mean()
    assert chapter["effective_number"](p, lambd, seed, n) == pytest.approx(expected, rel=1e-9)


def test_a_negative_lambda_solves_its_equations(chapter):
    p, n, seed = 150, 100, 0
    Z = chapter["features"](chapter["digits"](seed)[0], p, seed)
    given = np.eye(10)[chapter["labels"](0, seed)] - 0.1
    K = Z[:n] @ Z[:n].T
    A = Z[:n].T @ np.linalg.solve(K - 0.5 * np.linalg.eigvalsh(K)[0] * np.eye(n), given[:n])
    expected = ((Z[400:797] @ A - given[400:797]) ** 2).sum(axis=1).mean()
    assert chapter["validation_loss"](-0.5, seed, p, n) == pytest.approx(expected, rel=1e-6)


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


def test_what_holds_for_isotropic_inputs_is_said_of_no_others():
    rule = re.compile(
        r"same for every n|set by the noise|exact for every n|\*\*exactly, for every|Put σ = 0 into|No noise, no"
    )
    parts = [line for page in ("reproduction.md", "classroom.md", "glossary.md") for line in text(page).split("\n* ")]
    parts += [line for source in cells("markdown") for line in source.replace("$", "").split("\n")]
    claims = [part for part in parts if rule.search(part)]
    assert len(claims) >= 6
    assert [claim for claim in claims if "isotropic" not in claim] == []


def test_a_standard_error_divides_by_one_less():
    found = [call for source in cells("code") for call in re.findall(r"\.std\([^)]*\)", source)]
    assert len(found) >= 5
    assert [call for call in found if "ddof=1" not in call] == []
    assert any("standard error" in source and "bars" in source for source in cells("markdown"))


def test_each_change_of_convention_and_letters_has_its_line():
    boxes = [line for source in cells("markdown") for line in source.split("\n") if line.startswith("> **")]
    assert sum("Which λ" in box for box in boxes) == 3
    assert any("$d$" in box and "$p$" in box and "σ" in box for box in boxes)
    assert not [source for source in cells("code") if re.search(r"noise=0\.7|\+ noise \*|noise=sigma", source)]


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("double descent", "peak"),
        ("interpolation threshold", "as many weights as points"),
        ("excess risk", "noise"),
        ("random features", "drawn at random"),
        ("singular value", "stretches"),
        ("degrees of freedom", "trace"),
        ("capacity", "degrees of freedom"),
        ("momentum", "sum of the past gradients"),
        ("edge of stability", "From 1/η on a step overshoots"),
    ],
)
def test_the_glossary_has_the_chapters_words(term, said):
    entries = dict(re.findall(r"^(\S.*)\n  (.*)", text("glossary.md"), re.MULTILINE))
    assert said in entries[term]


def test_the_edge_of_stability_is_where_the_glossary_puts_it():
    for curvature, overshoots, grows in (
        (0.9, False, False),
        (1.1, True, False),
        (1.9, True, False),
        (2.1, True, True),
    ):
        x = 1 - curvature  # one step on ½cx² from 1, with η = 1
        assert ((x < 0), (abs(x) > 1)) == (overshoots, grows)


def test_the_momentum_of_pytorch_is_the_sum_that_the_glossary_says():
    w = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1, momentum=0.9)
    for gradient in (1.0, 2.0, 3.0):
        before, w.grad = w.item(), torch.tensor([gradient])
        optimizer.step()
    assert before - w.item() == pytest.approx(3 + 0.9 * 2 + 0.81 * 1)


def test_the_cheat_sheet_says_which_penalty_has_no_half():
    (row,) = [line for line in text("cheat-sheet.md").splitlines() if "l2(λ)" in line]
    assert "mean loss + λ‖w‖²" in row
    assert "| 2ηλ |" in row


def test_without_noise_validation_chooses_no_decay_at_the_points_that_the_chapter_names():
    loss = record("features")["validation loss"].sel(noise=0, n=100, features=slice(1000, None))
    assert (loss.idxmin("lambd") == 0).all()
    assert loss.sizes["features"] == 4


@pytest.mark.parametrize(
    "link", ["2007.10099", "1906.11300", "2310.18988", "2006.03509", "v21/19-844", "0305-4470/25/5/020", "paper/3182"]
)
def test_what_the_chapter_leans_on_is_named_where_it_is_used_and_among_the_sources(link):
    body, sources = "\n".join(cells("markdown")).split("## Sources")
    assert link in body
    assert link in sources


def test_seeds_and_widths_are_not_counted_together():
    said = "\n".join([*cells("markdown"), *cells("code"), text("reproduction.md")])
    assert "eight runs" not in said
    assert "with each of the {seeds_4:d} seeds" in re.sub(r'"\s+"', "", said)


def test_the_second_peak_of_the_exercise_is_not_given_a_height():
    code = "\n".join(cells("code"))
    assert "near n = 120" not in code
    assert "np.nan  # the mean is infinite there" in code
