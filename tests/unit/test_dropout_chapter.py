"""The programs of the dropout chapter against PyTorch and against closed forms, on settings that are not its own."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from notebooks import ROOT, functions_of

from weightdecay.data import FASHION_MNIST_FOLDERS, Images
from weightdecay.tape import check, record


@pytest.fixture(scope="module")
def chapter():
    space = functions_of("dropout")  # its constants choose one thread
    space["X"], space["y"] = space["load"]("digits")
    return space


@pytest.mark.parametrize("p", [0.05, 0.4, 0.8])
def test_dropout_is_that_of_pytorch_given_the_mask(chapter, p):
    h = torch.randn(30, 40, generator=torch.Generator().manual_seed(3))
    theirs, ours = chapter["like_pytorch"](h, p, seed=11)
    torch.testing.assert_close(ours, theirs)
    assert 0.5 * p < (theirs == 0).float().mean() < min(1.5 * p, 0.95)  # something was dropped, not everything


@pytest.mark.parametrize("p", [0.2, 0.6])
def test_mean_and_variance_over_10_000_masks(chapter, p):
    h = torch.linspace(0.5, 3, 6, dtype=torch.double)
    draws, rng = 10_000, torch.Generator().manual_seed(5)
    dropped = chapter["dropout"](h, chapter["draw_mask"]((draws, 6), p, rng), p)
    error = (p / (1 - p) * h**2 / draws).sqrt()
    assert ((dropped.mean(dim=0) - h).abs() < 4 * error).all()
    torch.testing.assert_close(dropped.var(dim=0), p / (1 - p) * h**2, rtol=0.06, atol=0)
    naive = chapter["drop_naive"](h, chapter["draw_mask"]((draws, 6), p, rng)).mean(dim=0)
    assert ((naive - h).abs() > 4 * error).all()


@pytest.mark.parametrize("p", [0.15, 0.4, 0.6])
def test_dropout_trained_regression_meets_its_closed_form(chapter, p):
    chapter["n_samples"], chapter["n_features"], chapter["true_w"] = 60, 5, torch.tensor([2.0, -1.0, 1.0, 0.5, 0.0])
    *_, (_, trained) = chapter["train_linear"](p, seed=8)
    exact = chapter["closed_form"](*chapter["linear_data"](), p)
    trained = torch.stack(list(trained.values()))
    assert (trained - exact).norm() < 0.02 * exact.norm()
    plain = chapter["closed_form"](*chapter["linear_data"](), 0.0)
    assert (trained - plain).norm() > 0.1 * exact.norm()


def test_the_generators_behind_the_masks_are_fair_and_independent(chapter):
    states = torch.randint(2**31, (2000,), generator=torch.Generator().manual_seed(4))
    drawn = []
    for _ in range(300):
        states, uniform = chapter["draw"](states)
        drawn.append(uniform)
    drawn = torch.stack(drawn)  # (step, stream): each entry has a standard error of 1 in 775 of the whole
    assert ((drawn < 0.3).double().mean() - 0.3).abs() < 0.002
    in_time, across = torch.corrcoef(drawn[:, :40].T), torch.corrcoef(drawn[:40])
    for correlations in (in_time, across):
        assert (correlations - torch.eye(40)).abs().max() < 0.3
    assert np.corrcoef(drawn[1:].flatten(), drawn[:-1].flatten())[0, 1] == pytest.approx(0, abs=0.005)


def test_a_share_that_makes_no_sense_is_refused(chapter):
    for p in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="p must be at least 0 and below 1"):
            next(chapter["train_linear"](p))


def test_the_expected_loss_is_the_loss_and_the_penalty(chapter):
    rng = torch.Generator().manual_seed(1)
    A, t, w = (torch.randn(size, generator=rng, dtype=torch.double) for size in ((9, 4), (9,), (4,)))
    masks = torch.tensor(np.indices((2,) * 4).reshape(4, -1).T, dtype=torch.double)  # all 16 of them
    p = 0.35
    chance = p ** (1 - masks).sum(dim=1) * (1 - p) ** masks.sum(dim=1)
    losses = torch.stack([((t - chapter["dropout"](A, mask, p) @ w) ** 2).mean() / 2 for mask in masks])
    penalty = p / (1 - p) / 2 * (A**2).mean(dim=0) @ w**2
    torch.testing.assert_close(chance @ losses, ((t - A @ w) ** 2).mean() / 2 + penalty, rtol=1e-12, atol=0)


@pytest.mark.parametrize("lambd", [0.0, 5.0])
def test_a_stack_takes_the_steps_of_adamw(chapter, lambd):
    """With p = 0 the stack is the network of modules, trained by AdamW with spared biases, batch for batch."""
    train, *_ = chapter["images_of"]([4, 7], [0.1, 0.1])
    net = chapter["start"]([4, 7], (64, 256, 128, 10))
    module = chapter["as_module"](net, 1, p1=0.0, p2=0.0)
    weights, biases = ([p for p in module.parameters() if p.dim() == dim] for dim in (2, 1))
    groups = [{"params": weights, "weight_decay": lambd}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    rng = torch.Generator().manual_seed(1)
    for _ in range(2):
        for batch in torch.randperm(500, generator=rng).split(128):
            optimizer.zero_grad()
            F.cross_entropy(module(chapter["X"][train[0][1, batch]]), train[1][1, batch]).backward()
            optimizer.step()
    settings = ([0.0, 0.0], [0.0, 0.0]), [0.3, lambd]  # the other network's λ does not matter
    for _ in chapter["fit"](net, *settings, *train, lambda net: None, num_epochs=2, every=1):
        pass
    for own, stacked in zip(module.parameters(), net, strict=True):
        torch.testing.assert_close(stacked[1].T.reshape(own.shape), own, rtol=1e-3, atol=1e-5)


def test_a_stack_drops_and_scales_each_network_by_its_own_p(chapter):
    p = chapter["column"]([0.0, 0.25, 0.75])
    x = torch.rand(1, 400, 8, generator=torch.Generator().manual_seed(2)).to(p)
    identity = [torch.eye(8).repeat(3, 1, 1).to(p), torch.zeros(3, 1, 8).to(p)] * 2
    z = chapter["forward"](identity, x, [p], torch.Generator().manual_seed(2), streams=1)
    torch.testing.assert_close(z[0], x[0])
    for k in (1, 2):
        dropped = z[k] == 0
        assert dropped.float().mean().item() == pytest.approx(p[k].item(), abs=0.03)
        torch.testing.assert_close(z[k][~dropped], (x[0] / (1 - p[k]))[~dropped])
    assert ((z[1] == 0) <= (z[2] == 0)).all()  # one stream: what falls at 0.25 falls at 0.75 too


def test_without_p_nothing_is_drawn(chapter):
    net = chapter["start"]([0], (64, 256, 128, 10))
    x = chapter["X"][:5]
    torch.testing.assert_close(chapter["forward"](net, x)[0], chapter["as_module"](net, 0).eval()(x))


def test_the_parts_are_disjoint_and_only_given_labels_are_wrong(chapter):
    train, valid, test = chapter["images_of"]([3], [0.2])
    rows = torch.cat([part[0][0] for part in (train, valid, test)])
    assert rows.sort().values.equal(torch.arange(1797))
    y = chapter["y"]
    assert 0.12 < (train[1] != y[train[0]]).float().mean() < 0.24  # one in ten of the replaced is right by chance
    assert 0.12 < (valid[1] != y[valid[0]]).float().mean() < 0.24
    assert torch.equal(test[1], y[test[0]])


def test_one_network_of_the_sweep_is_the_one_that_the_slider_trains(chapter):
    together = next(chapter["train_all"]([[0.0], [0.5]], [[1.0], [3.0]]))
    alone = next(chapter["train_all"](0.5, 3.0))
    assert alone[0] == together[0]
    for name in ("train accuracy", "test accuracy"):
        assert alone[1][name].item() == pytest.approx(together[1][name][1].item(), abs=0.01)


@pytest.mark.parametrize(
    ("mean", "error", "says"), [(3, 1, "better"), (-3, 1, "worse"), (2.5, 1, "no clear difference")]
)
def test_the_verdict_asks_for_95_per_cent(chapter, mean, error, says):
    assert chapter["verdict"](mean, error) == says


def test_fashion_mnist_fits_the_chapter(chapter, monkeypatch):
    """The larger data set is split where its publishers split it; here with small stand-ins."""
    sizes = {"n_train": 55, "n_valid": 5, "DATA": "fashion-mnist", "y": torch.arange(70) % 10}
    small = [torch.rand(60, 784), torch.arange(60) % 10, torch.rand(10, 784), torch.arange(10)]
    monkeypatch.setitem(chapter, "fashion_mnist", lambda device: Images(*small))
    for name, value in (sizes | {"X": torch.zeros(70, 784)}).items():
        monkeypatch.setitem(chapter, name, value)
    X, y = chapter["load"]("fashion-mnist")
    torch.testing.assert_close(X[60:], 2 * small[2] - 1)
    assert torch.equal(y[60:], small[3])
    assert [part.tolist() for part in chapter["split"](3)] == [
        list(range(55)),
        list(range(55, 60)),
        list(range(60, 70)),
    ]


def test_another_data_set_is_refused_in_one_sentence(chapter):
    with pytest.raises(ValueError, match="DATA must be 'digits' or 'fashion-mnist', but it is 'cifar'"):
        chapter["load"]("cifar")


def test_the_plain_program_drops_in_training_and_in_training_alone(chapter):
    torch.manual_seed(2)
    model = chapter["make_net"](64, p1=0.9).double()
    X, y = chapter["X"][:256], chapter["y"][:256]
    seen = []
    model[2].register_forward_hook(lambda layer, given, out: seen.append((len(out), (out == 0).double().mean().item())))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    chapter["train_epoch"](model, X, y, optimizer)
    accuracy, loss = chapter["evaluate"](model, X, y)
    assert [n for n, _ in seen] == [128, 128, 256]
    assert min(zeros for _, zeros in seen[:2]) > 0.9 > seen[2][1]
    assert chapter["evaluate"](model, X, y) == (accuracy, loss)
    assert accuracy == (model(X).argmax(dim=1) == y).double().mean().item()


def test_an_epoch_is_one_pass_in_a_new_order(chapter):
    torch.manual_seed(3)
    model = torch.nn.Linear(64, 10).double()
    seen = []
    model.register_forward_hook(lambda layer, given, out: seen.append(given[0]))
    for _ in range(2):
        chapter["train_epoch"](model, chapter["X"][:300], chapter["y"][:300], torch.optim.SGD(model.parameters()))
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    assert not torch.equal(first, second)
    for order in (first, second):
        torch.testing.assert_close(order.sum(dim=0), chapter["X"][:300].sum(dim=0))


@pytest.mark.skipif(not any(Path(folder).expanduser().exists() for folder in FASHION_MNIST_FOLDERS), reason="no data")
@pytest.mark.parametrize("point", [(0, 0.0, True, 0.1), (2, 0.4, False, 0.0)])
def test_points_on_fashion_mnist_train_to_what_is_recorded(chapter, point):
    clothes = xr.load_dataset(ROOT / "book/records/dropout-fashion.nc")
    seed, wrong, drop, lambd = point
    then = clothes.sel({"images": 3000, "seed": seed, "wrong": wrong, "drop": drop, "lambd": lambd})
    with torch.random.fork_rng():
        begun = list(itertools.islice(chapter["train_fashion"](seed, 3000, wrong, drop, lambd), 3))
    for epoch, values in begun:
        for name, value in values.items():
            assert value == pytest.approx(then[name].sel(epoch=epoch).item(), abs=0.01)


def test_a_gain_is_paired_seed_by_seed(chapter, monkeypatch):
    kinds = {"neither": {"drop": False, "lambd": 0}, "dropout": {"drop": True, "lambd": 0}}
    monkeypatch.setitem(chapter, "kinds", kinds)
    values = np.array([[[80.0], [81.0]], [[70.0], [71.5]], [[60.0], [62.0]]])
    case = xr.DataArray(
        values, dims=("seed", "drop", "lambd"), coords={"seed": range(3), "drop": [False, True], "lambd": [0]}
    )
    found = chapter["versus"](case, "dropout")
    assert found["level"] == pytest.approx(71.5)
    assert found["gain"] == pytest.approx(1.5)
    assert found["error"] == pytest.approx(0.5 / 3**0.5)


@pytest.fixture
def curve(chapter, monkeypatch):
    """The chapter with a small and short curve."""
    for name, value in {"n_points": 9, "width": 8, "curve_lr": 0.01, "curve_steps": 30, "seed": 0}.items():
        monkeypatch.setitem(chapter, name, value)
    return chapter


def test_a_curve_takes_the_steps_of_adamw(curve):
    """With p = 0, λ on the weights alone, and a learning rate that falls along a line."""
    x, y = curve["noisy_sine"](5)
    lambd = torch.tensor(2.0)
    net = curve["fit_curve"](x, y, torch.tensor(0.0), lambd, [5])
    own = [w[0].detach().double().requires_grad_() for w in curve["start"]([5], (1, 8, 8, 1))]
    groups = [{"params": own[::2], "weight_decay": 2.0}, {"params": own[1::2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01, eps=1e-3)
    for step in range(1, 31):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - step / 31)
        optimizer.zero_grad()
        (((curve["curve_of"](own, x) - y) ** 2).mean() / 2).backward()
        optimizer.step()
    for one, theirs in zip(net, own, strict=True):
        torch.testing.assert_close(one[0], theirs.detach().reshape(one[0].shape), rtol=1e-6, atol=1e-9)


def test_a_page_can_train_the_curve(curve, monkeypatch):
    places = torch.linspace(-3, 3, 9, dtype=torch.double)
    monkeypatch.setitem(curve, "places", places)
    monkeypatch.setitem(curve, "data_at", {i: 0.5 * i for i in range(9)})
    program = record(curve["train_curve"], {"p": 0.0, "lambd": 0.0}).program()
    check(program, curve["train_curve"], {"p": 0.3, "lambd": 0.7})
    shown = [values for _, values in curve["train_curve"](0.1, 0.3)]
    assert [values["data"].item() for values in shown] == [0.5 * i for i in range(9)]


def test_bumps_are_changes_of_slope(curve, monkeypatch):
    """Of a wave that is drawn finely enough, from -3 to 3: 2(1 − cos 3)."""
    line = torch.linspace(-3, 3, 601, dtype=torch.double).view(-1, 1)
    monkeypatch.setitem(curve, "line", line)
    monkeypatch.setitem(curve, "fit_curve", lambda *given: None)
    monkeypatch.setitem(curve, "curve_of", lambda net, x: x.sin()[None] + 0.1)
    bumps, error = curve["bumps_and_error"](0.0, 0.0, seeds=[1])
    assert bumps.item() == pytest.approx(2 * (1 - np.cos(3)), rel=0.01)
    assert error.item() == pytest.approx(0.1)


def test_the_networks_of_the_sliders_can_go_on_for_longer(chapter):
    path = list(chapter["train_all"]([0.2, 0.6], [0, 2], epochs=2 * chapter["every"]))
    short = list(chapter["train_all"]([0.2, 0.6], [0, 2], epochs=chapter["every"]))
    assert [epoch for epoch, _ in path] == [chapter["every"], 2 * chapter["every"]]
    torch.testing.assert_close(path[0][1]["test accuracy"], short[0][1]["test accuracy"])
