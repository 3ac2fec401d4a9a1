"""The programs of the chapter on MC dropout against PyTorch and against closed forms, on settings of its own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from notebooks import functions_of

from weightdecay.tape import check, record


@pytest.fixture(scope="module")
def chapter():
    space = functions_of("mc-dropout")
    space["uniform"] = torch.rand(2, 200, 1, 1, 32, generator=torch.Generator().manual_seed(3))
    yield space
    torch.set_default_dtype(torch.float32)  # the chapter chooses another


@pytest.fixture
def short(chapter, monkeypatch):
    monkeypatch.setitem(chapter, "num_steps", 40)
    return chapter


@pytest.mark.parametrize("lambd", [0.0, 0.01])
def test_ten_steps_are_those_of_adam_on_the_objective(chapter, lambd):
    net = chapter["start"]([4])
    x, error = chapter["inputs"](4, n=12)
    y = x.sin() + error
    own = [w[0].clone().requires_grad_() for w in net]
    optimizer = torch.optim.Adam(own, lr=5e-3)
    for _ in range(10):
        optimizer.zero_grad()
        loss = F.mse_loss(chapter["forward"](own, x, (1, 1)), y) / 2
        (loss + lambd / 2 * sum((w**2).sum() for w in own[::2])).backward()
        optimizer.step()
    zeros = [torch.zeros_like(w) for w in net]
    states = torch.zeros(2, 1, 12, 32, dtype=torch.int64)
    p, lambd = torch.tensor(0.0), torch.tensor(lambd)  # with p = 0 no mask is 0
    bias = 1 - torch.tensor([[0.9], [0.999]]) ** torch.arange(1, 11)
    stepped, *_ = chapter["ten_steps"](net, zeros, zeros, states, bias, x[None], y[None], p, lambd)
    for one, theirs in zip(stepped, own, strict=True):
        torch.testing.assert_close(one[0], theirs.detach(), rtol=1e-6, atol=1e-8)


def test_each_network_of_a_stack_is_the_one_trained_alone(short):
    x, error = map(torch.stack, zip(*(short["inputs"](s) for s in (1, 5)), strict=True))
    together = short["fit"](x, x + error, [1, 5], torch.tensor([0.1, 0.4]))
    alone = short["fit"](x[1:], (x + error)[1:], [5], 0.4)
    for stacked, single in zip(together, alone, strict=True):
        torch.testing.assert_close(stacked[1], single[0])
        assert not torch.equal(stacked[0], single[0])


@pytest.mark.parametrize("gap", [0.0, 0.3, 0.6])
def test_the_inputs_leave_the_gap_and_nothing_else(chapter, gap):
    x, error = chapter["inputs"](7, n=4000, gap=gap)
    assert gap < x.abs().min() < gap + 0.01
    assert 0.99 < x.abs().max() < 1
    assert error.std().item() == pytest.approx(0.1, rel=0.05)


def test_the_spread_of_one_hidden_layer_is_its_formula_and_convex(chapter):
    net = chapter["start"]([2, 3], (1, 32, 1))
    x = torch.linspace(-3, 3, 41).view(-1, 1)
    exact = chapter["exact_variance"](net, x, p=0.3)
    assert (exact.diff(dim=1, n=2) > -1e-12).all()
    masks = torch.rand(1, 20_000, 1, 1, 32, generator=torch.Generator().manual_seed(1))
    for k in range(2):
        one = [w[[k]] for w in net]
        _, std = chapter["answers"](one, x, torch.tensor(0.3), masks)
        torch.testing.assert_close(std[0] ** 2, exact[k], rtol=0.05, atol=1e-6)


def test_the_noise_of_the_formula_is_that_of_a_bayesian_up_to_the_share_kept(chapter):
    """Without dropout λ = σ²/(nτ²) is the penalty that belongs to noise σ and a prior of τ."""
    sigma, tau = 0.7, 2.0
    lambd = sigma**2 / (chapter["n"] * tau**2)
    assert chapter["formula"](lambd, p=0.0, tau=tau) == pytest.approx(sigma)
    assert chapter["formula"](lambd, p=0.75, tau=tau) == pytest.approx(2 * sigma)


def test_the_band_opens_for_one_curve_and_is_calmly_wrong_for_another(chapter):
    """What the chapter says of its seeds, on others."""
    grid, seeds = torch.linspace(-0.2, 0.2, 9).view(-1, 1), range(50, 56)
    found = {}
    for name, curve in {"sin": lambda x: torch.sin(4 * x), "cos": lambda x: torch.cos(4 * x)}.items():
        for gap in (0.3, 0.0):
            net, *_ = chapter["networks"](curve, gap, seeds=seeds)
            mean, std = chapter["ask"](net, grid)
            found[name, gap] = std.mean(axis=1), np.abs(mean - curve(grid).numpy().T) < 2 * std
    opens = {name: (found[name, 0.3][0] > found[name, 0.0][0]).sum() for name in ("sin", "cos")}
    assert opens["sin"] >= 5
    assert opens["cos"] <= 4
    assert found["cos", 0.3][1].mean() < 0.2 < 0.9 < found["cos", 0.0][1].mean()


def test_a_page_can_train_the_band(short):
    short["demo_x"], short["demo_noise"] = short["inputs"](3)
    grid = torch.linspace(-1, 1, 5).view(-1, 1)
    short["places"], order = torch.cat([grid, short["demo_x"]]).ravel().sort()
    short["row"] = {i: k - 5 for i, k in enumerate(order.tolist()) if k >= 5}
    program = record(short["train_band"], {"phase": 0.0, "p": 0.1}).program()
    check(program, short["train_band"], {"phase": 70.0, "p": 0.3})
    shown = [values for _, values in short["train_band"](90.0, 0.1)]
    assert sum(values["data"] is not None for values in shown) == 40
