"""The AdamW chapter: its steps against PyTorch, its records against fresh training, its statistics on known data."""

import numpy as np
import pytest
import torch
import xarray as xr
from notebooks import ROOT, functions_of

from weightdecay import sweep
from weightdecay.convert import convert


@pytest.fixture(scope="module")
def chapter():
    return functions_of("adamw")


@pytest.fixture(scope="module")
def planes():
    return xr.load_dataset(ROOT / "book/records/adamw.nc")


@pytest.fixture(scope="module")
def trials():
    return xr.load_dataset(ROOT / "book/records/adamw-rule.nc")


def test_plain_sgd_with_l2_is_sgdw_and_with_momentum_it_is_not(chapter):
    by_hand, step, apart = chapter["by_hand"], chapter["sgd_step"], chapter["apart"]
    assert apart(by_hand(step, lr=0.2, l2=0.05), by_hand(step, lr=0.2, decay=0.05)) < 1e-6
    assert apart(by_hand(step, lr=0.2, mu=0.9, l2=0.05), by_hand(step, lr=0.2, mu=0.9, decay=0.05)) > 0.1


@pytest.mark.parametrize("mu", [0, 0.9])
def test_the_sgd_of_pytorch_is_the_l2_form(chapter, mu):
    ours = chapter["by_hand"](chapter["sgd_step"], lr=0.05, mu=mu, l2=0.2)
    theirs = chapter["by_torch"](torch.optim.SGD, lr=0.05, momentum=mu, weight_decay=0.2)
    assert chapter["apart"](theirs, ours) < 1e-6


@pytest.mark.parametrize("way", [{"foreach": False}, {"foreach": True}, {"fused": True}], ids=str)
@pytest.mark.parametrize(("optimizer", "form"), [(torch.optim.Adam, "l2"), (torch.optim.AdamW, "decay")])
def test_the_adam_of_pytorch_takes_the_visible_steps(chapter, optimizer, form, way):
    ours = chapter["by_hand"](chapter["adam_step"], n_steps=100, lr=0.003, **{form: 0.3})
    theirs = chapter["by_torch"](optimizer, n_steps=100, lr=0.003, weight_decay=0.3, **way)
    assert chapter["apart"](theirs, ours) < 1e-6


def test_adam_with_l2_is_not_adamw(chapter):
    coupled, decoupled = (chapter["by_hand"](chapter["adam_step"], lr=0.01, **{form: 0.1}) for form in ("l2", "decay"))
    assert chapter["apart"](coupled, decoupled) > 0.1


@pytest.mark.parametrize("lambd", [0.003, 0.3])
def test_the_pull_of_the_penalty_in_both_limits(chapter, lambd):
    theta = torch.tensor([0.5, -2.0]).double()
    silent = chapter["pull"](theta, 0 * theta, n_steps=100, n_pairs=1, l2=lambd)
    torch.testing.assert_close(silent, theta.sign(), rtol=0.01, atol=0)  # η·sign(θ), whatever λ
    loud = torch.tensor([20.0, 5.0]).double()
    torch.testing.assert_close(chapter["pull"](theta, loud, l2=lambd), lambd * theta / loud, rtol=0.1, atol=0)
    torch.testing.assert_close(chapter["pull"](theta, loud, decay=lambd), lambd * theta, rtol=0.01, atol=0)


def test_stacked_networks_train_as_each_alone(chapter):
    rows = {"lr": [0.003, 0.01], "l2": [0.01, 0], "decay": [0, 0.3]}
    *_, (_, together) = chapter["train_stack"](**rows, num_epochs=3)
    for i in range(2):
        *_, (_, alone) = chapter["train_stack"](**{name: [row[i]] for name, row in rows.items()}, num_epochs=3)
        torch.testing.assert_close(together["w norm"][i : i + 1], alone["w norm"], rtol=1e-4, atol=0)


def test_biases_are_not_decayed(chapter):
    stayed = []

    def watch(theta, g, state, lr, l2, decay):
        stayed.append((theta.shape[1] == 1, bool((l2 == 0).all() and (decay == 0).all())))

    next(chapter["train_stack"]([0.1], [1.0], [1.0], step=watch))
    assert all(bias == undecayed for bias, undecayed in stayed)
    assert {bias for bias, _ in stayed} == {True, False}


def test_the_planes_are_large_enough(planes):
    assert planes.sizes["lr"] * planes.sizes["lambd"] >= 100
    assert planes.sizes["seed"] >= 3


@pytest.mark.parametrize("name", ["adamw", "adamw-rule", "adamw-schedules", "adamw-cautious"])
def test_a_record_is_whole_and_says_where_it_comes_from(name):
    record = xr.load_dataset(ROOT / f"book/records/{name}.nc")
    assert {"command", "device", "seconds", "created", "versions", "fixed"} <= record.attrs.keys()
    assert record.to_array().notnull().all()


def test_ten_points_of_the_planes_train_to_what_is_recorded(chapter, planes):
    """A stack of another size rounds differently and chaos makes the most of it: 0.04 a point, 0.015 on average."""
    rng = np.random.default_rng()  # other points at every run
    off = []
    for _ in range(10):
        point = {dim: rng.choice(planes[dim]).item() for dim in ("lr", "lambd", "seed")}
        *_, (_, end) = chapter["train_both"](**point)
        off += [abs(end[name].item() - planes[name].sel(point).item()) for name in planes]
    assert max(off) < 0.04
    assert np.mean(off) < 0.015


@pytest.mark.parametrize(("experiment", "record"), [("scheduled", "schedules"), ("cautious", "cautious")])
def test_a_seed_trains_to_what_is_recorded(chapter, experiment, record):
    kept = xr.load_dataset(ROOT / f"book/records/adamw-{record}.nc")
    fresh = chapter[experiment](int(kept.seed[2]))
    for name in ("validation", "test"):
        assert abs(fresh[name] - kept[name].sel(seed=kept.seed[2])).max() < 0.04


def test_points_of_the_rule_train_to_what_is_recorded(chapter, trials):
    fresh = chapter["setting_of"](int(trials.seed[1]), b=250, T=90)
    kept = trials.sel(seed=trials.seed[1], b=250, T=90)
    assert abs(fresh["validation"].squeeze() - kept["validation"]).max() < 0.04


def bumps(best):
    """Accuracies of four seeds with a best log₁₀ λ that is known for each learning rate."""
    lambd, lr = np.geomspace(1e-3, 10, 17), np.geomspace(1e-3, 1e-1, len(best))
    height = 0.9 - 0.1 * (np.log10(lambd) - np.array(best)[:, None]) ** 2
    noise = 1e-4 * np.random.default_rng(0).normal(size=(4, *height.shape))
    return xr.DataArray(height + noise, dims=("seed", "lr", "lambd"), coords={"lr": lr, "lambd": lambd})


def test_the_best_lambda_and_its_spread_are_found_where_they_are(chapter):
    for best in ([-1, -1, -1, -1, -1], [0, -0.5, -1, -1.5, -2]):
        found = chapter["best_log_lambda"](bumps(best), n_draws=50)
        assert found.shape == (51, 5)
        np.testing.assert_allclose(found, np.broadcast_to(best, (51, 5)), atol=1e-9)


def test_the_verdict_follows_the_data(chapter):
    level, slanted = (
        chapter["best_log_lambda"](bumps(best)).std(axis=1, ddof=1) for best in ([-1] * 5, [0, -0.5, -1, -1.5, -2])
    )
    assert chapter["compare"](level, slanted) == "smaller"
    assert chapter["compare"](slanted, level) == "larger"
    assert chapter["compare"](level, level) == "not told apart"


def test_keeping_lambda_costs_nothing_where_the_best_is_level(chapter):
    assert chapter["cost_of_keeping"](bumps([-1] * 5)) < 1e-3
    assert chapter["cost_of_keeping"](bumps([0, -0.5, -1, -1.5, -2])) > 0.1


def test_a_learning_rate_counts_where_training_works_and_decay_matters(chapter):
    accuracy = bumps([-1] * 4)
    accuracy[:, 0] -= 0.05  # does not work
    accuracy[:, 1] = accuracy[:, 1].mean()  # decay does not matter
    accuracy[:, 1] += 0.9 - accuracy[:, 1].mean()
    assert chapter["counts"](accuracy).values.tolist() == [False, False, True, True]


@pytest.mark.parametrize("annealed", [False, True])
def test_the_shares_are_those_of_a_moving_average(chapter, annealed):
    n = 1000
    etas = 0.01 * (chapter["cosine"](np.arange(n) / n) if annealed else np.ones(n))
    k, start = chapter["shares"](etas, 0.5)
    theta = 1.0
    for eta, step in zip(etas, np.arange(n), strict=True):
        theta = (1 - eta * 0.5) * theta - eta * np.sin(step)
    assert theta == pytest.approx(start - (k / 0.5 * np.sin(np.arange(n))).sum(), rel=1e-9)
    assert k.sum() + start == pytest.approx(1)


@pytest.mark.parametrize(("lr", "n", "b", "T"), [(0.001, 5000, 64, 5000), (0.03, 500, 10, 90)])
def test_a_normalised_lambda_is_what_the_converter_makes_of_it(chapter, lr, n, b, T):
    known = {"lr": lr, "n": n, "batch_size": b, "epochs": T}
    for lambd, form in zip(chapter["from_norm"](0.05, b, n, T, lr), ("paper", "torch-adamw"), strict=True):
        assert lambd == pytest.approx(convert(0.05, "lambda-norm", form, **known).lambd)


def test_cautious_decay_spares_what_moves_away_from_zero(chapter):
    g = torch.tensor([[1.0, -1.0]])
    ends = []
    for step, way in (("cautious_step", {"decay": 1.0}), ("adam_step", {"decay": 1.0}), ("adam_step", {})):
        theta = torch.tensor([[2.0, 2.0]])
        chapter[step](theta, g, {}, lr=0.1, **way)
        ends.append(theta)
    cautious, adamw, adam = ends
    torch.testing.assert_close(cautious[0, 0], adamw[0, 0])  # the update goes towards zero: decayed
    torch.testing.assert_close(cautious[0, 1], adam[0, 1])  # away from it: spared


def test_a_sweep_of_both_optimisers_equals_the_bare_loop(chapter):
    swept = sweep(chapter["train_both"], broadcast=True, dim="epoch", lambd=[0.01, 0.3], lr=[0.003, 0.01], num_epochs=2)
    *_, (_, bare) = chapter["train_both"](0.3, 0.003, num_epochs=2)
    point = swept.sel(lambd=0.3, lr=0.003).isel(epoch=-1)
    for form in ("Adam + L2", "AdamW"):
        assert bare[f"w norm, {form}"].item() == pytest.approx(point[f"w norm, {form}"].item(), rel=1e-4)
