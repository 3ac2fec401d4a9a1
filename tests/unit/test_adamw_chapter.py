"""The AdamW chapter: its steps against PyTorch, its records against fresh training."""

import numpy as np
import pytest
import torch
import xarray as xr
from notebooks import ROOT, functions_of
from test_plane import bumps

from weightdecay import sweep


@pytest.fixture(scope="module")
def chapter():
    return functions_of("adamw")


@pytest.fixture(scope="module")
def planes():
    return xr.load_dataset(ROOT / "book/records/adamw.nc")


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


@pytest.mark.parametrize("name", ["adamw", "adamw-layernorm"])
def test_a_record_is_whole_and_says_where_it_comes_from(name):
    record = xr.load_dataset(ROOT / f"book/records/{name}.nc")
    assert {"command", "device", "seconds", "created", "versions", "fixed"} <= record.attrs.keys()
    assert record.to_array().notnull().all()


def test_points_with_layernorm_train_to_what_is_recorded(chapter):
    kept = xr.load_dataset(ROOT / "book/records/adamw-layernorm.nc").isel(norm=1, seed=3)
    for lr, lambd in ((kept.lr[2], kept.lambd[18]), (kept.lr[8], kept.lambd[12])):
        *_, (_, end) = chapter["train_both"](lambd.item(), lr.item(), seed=int(kept.seed), norm=True)
        off = [abs(end[name].item() - kept[name].sel(lr=lr, lambd=lambd).item()) for name in kept]
        assert max(off) < 0.04


def test_a_weight_without_a_gradient_tells_the_optimisers_apart(chapter):
    left = chapter["lone_weight"]
    assert left(torch.optim.AdamW, 0.1) == pytest.approx((1 - 0.001 * 0.1) ** 100)
    for kind in (torch.optim.Adam, torch.optim.Adagrad, torch.optim.RMSprop):
        assert left(kind, 0.01) == pytest.approx(left(kind, 1), abs=1e-4)  # λ is divided out


def test_the_gain_of_adamw_follows_who_chooses(chapter):
    """Made so that one point for all favours Adam + L2, and each seed's own point AdamW."""
    dims = {"seed": [0, 1, 2], "lr": [0.1], "lambd": [0.1, 1.0]}
    own = np.array([[[0.9, 0.1]], [[0.1, 0.9]], [[0.9, 0.1]]])  # each seed has a λ of its own
    level = np.full((3, 1, 2), 0.8)
    planes = xr.Dataset(
        {f"{part}, {form}": (tuple(dims), values)
         for part in ("validation", "test") for form, values in (("AdamW", own), ("Adam + L2", level))},
        coords=dims,
    )  # fmt: skip
    one, each, others = (gain.mean() for gain in chapter["gains"](planes).values())
    assert each == pytest.approx(0.1)
    assert one == pytest.approx((0.9 + 0.1 + 0.9) / 3 - 0.8)
    assert others == pytest.approx(one)  # seeds 0 and 2 choose for seed 1, against it


def test_the_noise_level_is_that_of_a_random_walk(chapter):
    assert chapter["noise_level"](0.003) == pytest.approx((0.003 / 2) ** 0.5, rel=0.1)


def test_the_planes_are_large_enough(planes):
    assert planes.sizes["lr"] * planes.sizes["lambd"] >= 100
    assert planes.sizes["seed"] >= 3


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


def test_keeping_lambda_costs_nothing_where_the_best_is_level(chapter):
    assert chapter["cost_of_keeping"](bumps([-1] * 5)) < 1e-3
    assert chapter["cost_of_keeping"](bumps([0, -0.5, -1, -1.5, -2])) > 0.1


def test_a_sweep_of_both_optimisers_equals_the_bare_loop(chapter):
    swept = sweep(chapter["train_both"], broadcast=True, dim="epoch", lambd=[0.01, 0.3], lr=[0.003, 0.01], num_epochs=2)
    *_, (_, bare) = chapter["train_both"](0.3, 0.003, num_epochs=2)
    point = swept.sel(lambd=0.3, lr=0.003).isel(epoch=-1)
    for form in ("Adam + L2", "AdamW"):
        assert bare[f"w norm, {form}"].item() == pytest.approx(point[f"w norm, {form}"].item(), rel=1e-4)


def test_no_lambda_makes_adam_with_l2_into_adamw(chapter):
    """Adam without any decay is nearer to AdamW than Adam + L2 with any λ that is more than rounding."""
    by_hand, step, apart = chapter["by_hand"], chapter["adam_step"], chapter["apart"]
    adamw = by_hand(step, lr=0.01, decay=0.1)
    without, *others = (apart(by_hand(step, lr=0.01, l2=lambd), adamw) for lambd in (0, 1e-7, 1e-4, 1e-2, 0.3))
    assert min(others) > 1.5 * without
