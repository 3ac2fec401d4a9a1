"""The chapter on choosing λ: its averages against a loop, its records against fresh training."""

import numpy as np
import pytest
import torch
import xarray as xr
from notebooks import ROOT, functions_of

from weightdecay.convert import convert

RECORDS = ["rule", "schedules", "size", "stream", "cautious"]


@pytest.fixture(scope="module")
def chapter():
    return functions_of("choosing-lambda")


@pytest.fixture(scope="module", params=RECORDS)
def record(request):
    return xr.load_dataset(ROOT / f"book/records/choosing-lambda-{request.param}.nc")


def of(name):
    return xr.load_dataset(ROOT / f"book/records/choosing-lambda-{name}.nc")


def test_a_record_is_whole_and_says_where_it_comes_from(record):
    assert {"command", "device", "seconds", "created", "versions", "fixed"} <= record.attrs.keys()
    assert record.attrs["command"] == "make recompute CHAPTER=choosing-lambda"
    assert record.to_array().notnull().all()


def test_the_step_is_that_of_adamw(chapter):
    rng = torch.Generator().manual_seed(0)
    ours = torch.randn(50, generator=rng, dtype=torch.double)
    theirs = ours.clone().requires_grad_()
    optimizer = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.5)
    state = {"m": torch.zeros_like(ours), "v": torch.zeros_like(ours), "t": 0}
    for _ in range(20):
        g = torch.randn(50, generator=rng, dtype=torch.double)
        chapter["adamw_step"](ours, g, state, lr=0.01, decay=0.5)
        theirs.grad = g
        optimizer.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-12, atol=1e-15)  # one may be next to 0


@pytest.mark.parametrize(("experiment", "name"), [("scheduled", "schedules"), ("cautious", "cautious")])
def test_a_seed_trains_to_what_is_recorded(chapter, experiment, name):
    kept = of(name)
    fresh = chapter[experiment](int(kept.seed[2]))
    for part in ("validation", "test"):
        assert abs(fresh[part] - kept[part].sel(seed=kept.seed[2])).max() < 0.04


def test_points_of_the_rule_train_to_what_is_recorded(chapter):
    trials = of("rule")
    fresh = chapter["setting_of"](int(trials.seed[1]), b=250, T=90)
    kept = trials.sel(seed=trials.seed[1], b=250, T=90)
    assert abs(fresh["validation"].squeeze() - kept["validation"]).max() < 0.04


def test_points_of_the_sizes_train_to_what_is_recorded(chapter):
    kept = of("size").isel(seed=4)
    fresh = chapter["sized"](int(kept.seed), 100, 100)
    assert abs(fresh["validation"].squeeze() - kept["validation"].sel(n=100).isel(same=0)).max() < 0.04


def test_a_stream_trains_to_what_is_recorded(chapter):
    kept = of("stream")["loss"].isel(seed=1)
    lr, lambd = kept.lr[2].item(), kept.lambd.values[:4].copy()
    *_, (_, end) = chapter["stream"](lambd, lr, schedule=chapter["cosine"], seed=int(kept.seed))
    np.testing.assert_allclose(end["loss"], kept.isel(schedule=1, lr=2)[:4], atol=0.03)


def test_a_stream_never_shows_a_sample_twice(chapter):
    rng = torch.Generator().manual_seed(0)
    teacher = chapter["stack"](1, rng)
    first, second = (chapter["fresh_samples"](teacher, 64, rng)[0] for _ in range(2))
    assert not (first[:, None] == second).all(dim=2).any()


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
    for step, way in (("cautious_step", {"decay": 1.0}), ("adamw_step", {"decay": 1.0}), ("adamw_step", {})):
        theta = torch.tensor([[2.0, 2.0]])
        state = {"m": torch.zeros(1, 2), "v": torch.zeros(1, 2), "t": 0}
        chapter[step](theta, g, state, lr=0.1, **way)
        ends.append(theta)
    cautious, adamw, adam = ends
    torch.testing.assert_close(cautious[0, 0], adamw[0, 0])  # the update goes towards zero: decayed
    torch.testing.assert_close(cautious[0, 1], adam[0, 1])  # away from it: spared


def test_the_seeds_that_choose_are_the_others(chapter):
    validation = np.array([[1.0, 0.0], [0.0, 0.6], [0.0, 0.3]])  # the first seed alone prefers the first λ
    runs = xr.Dataset(
        {"validation": (("seed", "lambd"), validation), "test": (("seed", "lambd"), [[1.0, 2.0]] * 3)},
        coords={"lambd": [0.1, 1.0]},
    )
    assert chapter["chosen_by_others"](runs).values.tolist() == [2.0, 1.0, 1.0]
