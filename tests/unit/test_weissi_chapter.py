"""The WEISSI chapter: shifts, penalties and attacks against known answers, its records against fresh training."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from notebooks import ROOT, functions_of
from torch import nn

from weightdecay.data import Images


@pytest.fixture(scope="module")
def chapter():
    space = functions_of("weissi")  # its constants choose one thread
    space["X"], space["y"], space["pool"], space["test"] = space["load"]("digits")
    space |= {"sizes": (64, 64, 64, 64, 10), "level": 0.05, "smallest": 1.0}
    return space


@pytest.fixture(scope="module")
def tuning():
    return xr.load_dataset(ROOT / "book/records/weissi.nc")


@pytest.fixture(scope="module")
def final():
    return xr.load_dataset(ROOT / "book/records/weissi-final.nc")


def draw(chapter, *sizes, seeds=(5,), dtype=torch.float32):
    """A network with biases that matter, as plain tensors."""
    return [(W.detach(), b.detach() + 0.3) for W, b in chapter["make_net"](sizes, seeds, dtype=dtype)]


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 6])
def test_a_shift_with_product_1_leaves_the_outputs_and_the_printed_rule_does_not(chapter, depth):
    assert chapter["off_by"](chapter["shift"], depth, draws=30).max() < 1e-5
    assert np.median(chapter["off_by"](chapter["shift_each_bias_by_its_own"], depth, draws=30)) > 0.1


def test_the_printed_rule_holds_without_biases(chapter):
    net = [(W, 0 * b) for W, b in draw(chapter, 7, 16, 16, 3)]
    x = torch.randn(7, 20, generator=torch.Generator().manual_seed(0))
    moved = chapter["shift_each_bias_by_its_own"](net, (0.2, 10, 0.5))
    torch.testing.assert_close(chapter["forward"](moved, x), chapter["forward"](net, x))


def test_every_hidden_layer_is_scaled_by_the_product_below(chapter):
    net, gammas = draw(chapter, 4, 8, 8, 2, dtype=torch.double), (3.0, 0.25, 5.0)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).double()
    moved = chapter["forward"](chapter["shift"](net, gammas), x)
    torch.testing.assert_close(moved, math.prod(gammas) * chapter["forward"](net, x))


@pytest.mark.parametrize("scale", [0.001, 0.5, 20.0])
def test_only_homogeneous_activations_have_no_defect(chapter, scale, monkeypatch):
    monkeypatch.setitem(chapter, "u", torch.linspace(-6, 6, 2001).double())
    monkeypatch.setitem(chapter, "density", torch.exp(-(chapter["u"] ** 2) / 2))
    for phi in (torch.relu, lambda z: F.leaky_relu(z, 0.2), lambda z: z):
        assert chapter["defect"](phi, scale, gamma=3) < 1e-12
    assert chapter["defect"](F.softplus, scale, gamma=3) > 1e-3


def test_balancing_reaches_the_least_sum_without_changing_the_function(chapter):
    net = chapter["shift"](draw(chapter, 10, 20, 30, 5, dtype=torch.double), (7, 0.1, 3))
    least = chapter["least_l2"](net).item()
    gammas = (least / len(net)) ** 0.5 / chapter["norms"](net)
    balanced = chapter["shift"](net, gammas[:, :, None, None])
    sizes = chapter["norms"](balanced).flatten()
    torch.testing.assert_close(sizes, sizes.mean().expand(3))
    assert sizes.square().sum().item() == pytest.approx(least, rel=1e-12)
    x = torch.randn(10, 8, generator=torch.Generator().manual_seed(2)).double()
    torch.testing.assert_close(chapter["forward"](balanced, x), chapter["forward"](net, x))
    rng = torch.Generator().manual_seed(3)
    for _ in range(100):
        other = chapter["shift"](net, chapter["random_gammas"](3, rng).double())
        assert chapter["norms"](other).square().sum() >= least


@pytest.mark.parametrize("uneven", [(4, 0.5, 0.5), (0.2, 5, 1), (1, 1, 1)])
def test_descent_on_gamma_meets_the_mean_of_products(chapter, uneven):
    net = chapter["shift"](draw(chapter, 10, 20, 30, 5, dtype=torch.double), uneven)
    reached, gammas = chapter["descend_on_gamma"](chapter["norms"](net).flatten(), steps=4000)
    assert reached.item() == pytest.approx(chapter["least_l2"](net).item(), rel=1e-6)
    assert gammas.prod().item() == pytest.approx(1, rel=1e-9)


def test_units_can_be_balanced_too_and_come_lower_than_layers(chapter):
    rng = torch.Generator().manual_seed(4)
    net = chapter["shift_units"](draw(chapter, 10, 20, 30, 5, dtype=torch.double), rng)
    balanced = chapter["balance_units"](net, rounds=300)
    x = torch.randn(10, 8, generator=rng).double()
    torch.testing.assert_close(chapter["forward"](balanced, x), chapter["forward"](net, x))
    for (W, _), (V, _) in pairwise(balanced):
        torch.testing.assert_close(W.norm(dim=-1), V.norm(dim=-2), rtol=1e-4, atol=0)
    assert chapter["norms"](balanced).square().sum() < chapter["least_l2"](net)
    quick = chapter["balance_units"](net)  # as many rounds as the chapter takes
    torch.testing.assert_close(chapter["norms"](quick), chapter["norms"](balanced), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("lambd1", "lambd2"), [(0.3, 0), (0, 0.1), (1.2, 0.04)])
def test_the_gradient_is_that_of_autograd_and_does_not_notice_scale(chapter, lambd1, lambd2):
    W = torch.randn(12, 9, generator=torch.Generator().manual_seed(6)).double()
    closed = chapter["weissi_gradient"](W, lambd1, lambd2)
    for gamma in (1e-3, 1, 40):
        scaled = chapter["by_autograd"](lambda V, s=gamma: chapter["weissi_layer"](s * V, lambd1, lambd2), W)
        torch.testing.assert_close(scaled, closed, rtol=1e-10, atol=1e-14)
    turning = chapter["weissi_gradient"](W, 0, lambd2)
    assert (turning * W).sum().abs() < 1e-12  # the L1 part only turns


def test_one_penalty_for_a_module_and_for_a_stack(chapter):
    modules = [nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double() for _ in range(2)]
    net = [(torch.stack([m[i].weight for m in modules]), None) for i in (0, 2)]
    stacked = chapter["penalty"](net, 0.0, 0.3, 0.02)
    alone = [chapter["weissi"](m.parameters(), 0.3, 0.02) for m in modules]
    torch.testing.assert_close(stacked, torch.stack(alone))


def test_training_takes_the_steps_of_a_module_with_sgd(chapter, monkeypatch):
    """A stack of two with different penalties, against nn.Sequential and torch.optim.SGD for the second."""
    monkeypatch.setitem(chapter, "num_steps", 12)
    (x, labels), _ = chapter["images_of"]([3, 8])
    net = chapter["make_net"](chapter["sizes"], [3, 8])
    layers = []
    for W, b in net:
        layer = nn.Linear(W.shape[2], W.shape[1])
        layer.weight.data, layer.bias.data = W[1].detach().clone(), b[1, :, 0].detach().clone()
        layers += [layer, nn.ReLU()]
    module = nn.Sequential(*layers[:-1])
    given = [chapter["column"](v) for v in ([0.02, 0.01], [0, 0.3], [0, 0.005])]
    for _, net in chapter["fit"](net, chapter["penalty"], given, x, labels, every=12, begin=4):  # noqa: B020
        pass
    optimizer, rng = torch.optim.SGD(module.parameters(), 0.05, 0.9), torch.Generator().manual_seed(1)
    for step in range(1, 13):
        batch = torch.randint(0, 200, (50,), generator=rng)
        loss = F.cross_entropy(module(x[1][:, batch].T), labels[1, batch])
        if step > 4:
            loss = loss + chapter["weissi"](module.parameters(), 0.3, 0.005)
            loss = loss + 0.01 / 2 * sum(p.square().sum() for p in module.parameters() if p.ndim == 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for (W, b), layer in zip(net, module[::2], strict=True):
        torch.testing.assert_close(W[1], layer.weight, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(b[1, :, 0], layer.bias, rtol=1e-3, atol=1e-5)


def hold(f, labels):
    """The mean of the product of e_y − p with the outputs f (classes, n): how strongly labels hold a scale."""
    given = f.gather(0, labels[None])[0] - (f.softmax(dim=0) * f).sum(dim=0)
    return given.mean().item()


@pytest.mark.parametrize("lambd", [0.004, 0.02])
def test_at_rest_the_penalty_pulls_as_strongly_as_the_data_hold(chapter, lambd):
    x, labels = chapter["X"][:, :40].double(), chapter["y"][:40]
    net = chapter["rest"](lambd, x[None], labels[None])
    sizes = chapter["norms"](net).flatten().detach()
    with torch.no_grad():
        f = chapter["forward"](net, x, phi=lambda z: z)[0]
    assert hold(f, labels) == pytest.approx(lambd * sizes.square().mean().item(), rel=1e-4)


def test_no_outputs_hold_more_than_one_label_above_nine_that_are_alike(chapter):
    rng, labels = torch.Generator().manual_seed(8), torch.zeros(50_000, dtype=torch.long)
    a = torch.linspace(0, 10, 10_001)
    ceiling = (9 * a / (a.exp() + 9)).max().item()
    f = 3 * torch.randn(10, 50_000, generator=rng)
    f[0] += 6 * torch.rand(50_000, generator=rng)
    each = f[0] - (f.softmax(dim=0) * f).sum(dim=0)
    assert 0.8 * ceiling < each.max() <= ceiling
    alike = torch.zeros(10, 1)
    alike[0] = a[(9 * a / (a.exp() + 9)).argmax()]
    assert hold(alike, labels[:1]) == pytest.approx(ceiling, rel=1e-5)


def test_at_the_matched_rate_nothing_collapses_and_at_half_as_much_again_all_does(chapter):
    seeds = np.random.default_rng().choice(10, 2, replace=False)  # others at every run
    seeds = [*seeds.tolist()] * 2
    none, lambd = np.zeros(4), np.array([0.02, 0.02, 0.04, 0.04])
    m_sq = chapter["least_l2"](chapter["train_to_end"]((lambd, none, none), seeds)).numpy() / 4
    assert ((lambd * m_sq > 0.3) & (lambd * m_sq < 0.45)).all()
    right = {}
    for name, lambd1 in {"matched": lambd * m_sq, "pit": none + 0.6}.items():
        net = chapter["train_to_end"]((none, lambd1, none), seeds)
        right[name] = chapter["accuracy"](net, chapter["X"][:, chapter["test"]], chapter["y"][chapter["test"]])
    assert right["matched"].min() > 0.6
    assert right["pit"].max() < 0.2


def test_l2_takes_a_network_to_zero_too_and_sooner_from_the_first_step(chapter):
    seeds = np.random.default_rng().choice(10, 2, replace=False).tolist()  # others at every run
    for lambd, begin, dead in ((0.02, 0, False), (0.05, 0, True), (0.05, 150, False), (0.2, 150, True)):
        net = chapter["train_to_end"](([lambd] * 2, [0] * 2, [0] * 2), seeds, begin=begin)
        right = chapter["accuracy"](net, chapter["X"][:, chapter["test"]], chapter["y"][chapter["test"]])
        assert (right.max() < 0.2) if dead else (right.min() > 0.4)


def test_each_slider_of_the_comparison_is_for_its_own_network(chapter):
    given = chapter["both_strengths"](0.02, 0.35)
    torch.testing.assert_close(torch.stack(given), torch.tensor([[0.02, 0], [0, 0.35], [0, 0]]))
    given = chapter["both_strengths"](np.array([[0.1], [0.2]]), np.array([[0.3], [0.4]]))
    torch.testing.assert_close(given[0], torch.tensor([0.1, 0.2, 0, 0]))
    torch.testing.assert_close(given[1], torch.tensor([0, 0, 0.3, 0.4]))


def test_l2_balances_and_the_logarithm_does_not(chapter):
    rates = {"none": (chapter["l2"], 0), "L2": (chapter["l2"], 0.1), "log": (chapter["log_norms"], 0.1)}
    left = {}
    for name, rate in rates.items():
        D = [value for _, value in chapter["flow"](*rate, num_steps=200)]
        left[name] = D[-1] / D[0]
    assert left["none"] == pytest.approx(1, rel=5e-3)
    assert left["log"] == pytest.approx(1, rel=5e-3)
    assert left["L2"] == pytest.approx(math.exp(-2 * 0.03 * 0.1 * 200), rel=0.02)


def test_the_logarithm_without_epsilon_throws_the_weights_out(chapter):
    alone = chapter["norm_without_data"]
    np.testing.assert_allclose(alone(0, lambd1=0.2, num_steps=20) ** 2, 1 - 0.02 * np.arange(1, 21), rtol=0.02)
    assert alone(0, num_steps=3000)[200:].max() > 0.3
    assert alone(0.01, num_steps=3000)[200:].max() < 1e-6
    assert alone(0.002, num_steps=3000)[200:].max() > 1e-2  # ηλ₁/ε is 2.5: not stable


@pytest.mark.parametrize("radius", [0.01, 0.2])
def test_attacks_reach_the_worst_case_of_a_linear_model(chapter, radius):
    net = draw(chapter, 64, 2, dtype=torch.double)
    x, labels = chapter["X"][:, chapter["test"][:50]].double(), chapter["y"][chapter["test"][:50]] % 2
    exact = chapter["worst_margins"](net, x, labels, radius)
    for method in ("fgsm", "attack"):
        hostile = chapter[method](net, x[None], labels[None], radius)[0]
        assert (hostile - x).abs().max() <= radius + 1e-12
        assert 0 <= hostile.min() <= hostile.max() <= 1
        torch.testing.assert_close(chapter["margins"](net, hostile, labels), exact, rtol=0, atol=1e-12)
    luck = torch.rand(200, *x.shape, generator=torch.Generator().manual_seed(7)).double()
    low, high = chapter["box"](x, radius)
    for u in luck:
        assert (chapter["margins"](net, low + u * (high - low), labels) >= exact).all()


def test_pgd_finds_no_less_than_fgsm_and_the_bound_holds(chapter, monkeypatch):
    monkeypatch.setitem(chapter, "num_steps", 200)
    trained, valid = chapter["images_of"]([1, 2])
    net = chapter["make_net"](chapter["sizes"], [1, 2])
    for _, net in chapter["fit"](net, chapter["l2"], [0.01], *trained, every=200):  # noqa: B020
        pass
    measured = chapter["judge"](net, trained, valid)
    assert (measured["PGD"] <= measured["FGSM"] + 0.01).all()
    assert (measured["FGSM"] < measured["clean"] - 0.05).all()
    assert (measured["steepest"] <= measured["bound"]).all()


def test_holm_is_what_it_is_in_a_worked_example(chapter):
    np.testing.assert_allclose(chapter["holm"]([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(chapter["holm"]([0.6, 0.7]), [1, 1])


@pytest.mark.parametrize(
    ("mean", "half", "p", "says"),
    [
        (2, 1, 0.01, "better"),
        (-2, 1, 0.01, "worse"),
        (0.5, 0.2, 1e-5, "no difference worth naming"),
        (0.8, 0.5, 0.01, "a difference too small to name"),
        (2, 3, 0.3, "not told apart"),
        (0.2, 0.5, 0.8, "no difference worth naming"),
    ],
)
def test_the_verdict_asks_for_a_test_and_for_a_size(chapter, mean, half, p, says):
    assert chapter["verdict"](mean, half, p) == says


def test_an_interval_covers_the_mean_95_times_in_100(chapter):
    rng = np.random.default_rng(0)
    draws = rng.normal(3, 2, size=(600, 30))
    covered = np.mean([abs(mean - 3) < half for mean, half in map(chapter["interval"], draws)])
    assert covered == pytest.approx(0.95, abs=0.03)


def test_training_validation_and_test_images_are_apart_and_only_given_labels_are_wrong(chapter):
    (x, labels), (x_valid, _) = chapter["images_of"]([4, 9])
    assert x.shape == (2, 64, 200)
    assert x_valid.shape == (2, 64, 300)
    assert set(chapter["pool"].tolist()).isdisjoint(chapter["test"].tolist())
    rows = chapter["pool"][torch.randperm(1000, generator=torch.Generator().manual_seed(104))[:200]]
    torch.testing.assert_close(x[0], chapter["X"][:, rows])
    assert 0.1 < (labels[0] != chapter["y"][rows]).float().mean() < 0.26  # one in ten random ones is right


def test_the_records_are_large_enough_and_say_where_they_come_from(tuning, final):
    assert final.sizes["seed"] >= 10
    assert set(tuning.seed.values).isdisjoint(final.seed.values)
    assert final.method.values.tolist() == ["none", "L2", "WEISSI", "WEISSI + L1"]
    for record in (tuning, final):
        assert {"command", "device", "seconds", "created", "versions", "data"} <= record.attrs.keys()
        assert record.to_array().notnull().all()


def test_points_of_the_record_train_to_what_is_kept(chapter, final, monkeypatch):
    """Another stack rounds differently, which flips some images: 6 points each, 2.5 on average."""
    candidates = list(zip(*(final[name].values for name in ("method", "lambd", "lambd1", "lambd2")), strict=True))
    monkeypatch.setitem(chapter, "candidates", candidates)
    seed = int(np.random.default_rng().choice(final.seed))  # another one at every run
    ((_, fresh),) = chapter["train_candidates"](np.arange(4), np.array([seed]))
    kept = final.sel(seed=seed)
    off = np.stack([fresh[name].numpy() - kept[name].values for name in ("clean", "FGSM", "PGD")])
    assert abs(off).max() < 0.06
    assert abs(off).mean() < 0.025


def test_fashion_mnist_fits_the_chapter(chapter, monkeypatch):
    small = [torch.rand(60, 784), torch.arange(60) % 10, torch.rand(1000, 784), torch.arange(1000) % 10]
    monkeypatch.setitem(chapter, "fashion_mnist", lambda device: Images(*small))
    X, y, *_ = chapter["load"]("fashion-mnist")
    assert X.shape == (784, 1060)
    torch.testing.assert_close(X[:, 60:], small[2].T)
    assert torch.equal(y[60:], small[3])
    here = {"X": X, "y": y, "pool": torch.arange(60), "test": torch.arange(60, 70), "sizes": (784, 9, 10)}
    for name, value in (here | {"n_train": 40, "n_valid": 20, "num_steps": 3, "begin": 0}).items():
        monkeypatch.setitem(chapter, name, value)
    monkeypatch.setitem(chapter, "candidates", [("L2", 0.01, 0, 0), ("WEISSI + L1", 0, 0.1, 0.01)])
    ((step, measured),) = chapter["train_candidates"](np.array([[0], [1]]), np.array([5]))
    assert step == 3
    assert all(values.shape == (2,) and values.isfinite().all() for values in measured.values())


def test_another_data_set_is_refused_in_one_sentence(chapter):
    with pytest.raises(ValueError, match="DATA must be 'digits' or 'fashion-mnist', but it is 'cifar'"):
        chapter["load"]("cifar")
