"""K networks in one stack are K networks: the same start, the same outputs, the same weights after training."""

import pytest
import torch
from adder import PlainAdder, train_plain
from notebooks import functions_of
from torch import nn

from weightdecay import binary_addition
from weightdecay.stack import BatchNorm, Linear


@pytest.fixture(scope="module")
def chapter():
    return functions_of("binary-addition")


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_layer_starts_as_pytorch_draws_it():
    torch.manual_seed(3)
    theirs = nn.Linear(64, 256)
    ours = Linear(64, 256, [torch.Generator().manual_seed(seed) for seed in (2, 3)])
    torch.testing.assert_close(ours.weight[1], theirs.weight, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(ours.bias[1, :, 0], theirs.bias, rtol=1e-6, atol=1e-7)
    assert not torch.equal(ours.weight[0], ours.weight[1])


def test_what_stands_beside_a_network_does_not_change_its_start():
    def start(*seeds):
        return Linear(5, 4, [torch.Generator().manual_seed(seed) for seed in seeds])

    assert torch.equal(start(1, 2, 7).weight[2], start(7).weight[0])


@pytest.mark.parametrize("eps", [1e-2, torch.tensor(1e-2)])
@pytest.mark.parametrize("training", [True, False])
def test_batchnorm_treats_each_network_as_pytorch_treats_one(training, eps):
    torch.manual_seed(0)
    x = torch.randn(3, 8, 40) * torch.tensor([0.1, 1, 5])[:, None, None]  # (K, features, batch)
    ours, theirs = BatchNorm(8, 3, eps=eps), [nn.BatchNorm1d(8, eps=1e-2) for _ in range(3)]
    for k, norm in enumerate(theirs):
        nn.init.normal_(norm.weight)
        with torch.no_grad():
            ours.weight[k, :, 0], ours.bias[k, :, 0] = norm.weight, norm.bias
        norm(x[k].T)  # moves the running statistics
        norm.train(training)
    ours(x)
    ours.train(training)
    for k, norm in enumerate(theirs):
        torch.testing.assert_close(ours(x)[k].T, norm(x[k].T), rtol=1e-5, atol=1e-6)


def plain_optimizer(net, form, lambd, settings):
    """What the chapter's three forms of decay are in PyTorch."""
    matrices = [w for w in net.parameters() if w.ndim > 1]
    groups = [{"params": matrices}, {"params": [w for w in net.parameters() if w.ndim == 1], "weight_decay": 0}]
    kind = torch.optim.Adam if form == "coupled" else torch.optim.AdamW
    return kind(groups if form == "matrices" else net.parameters(), **settings, weight_decay=lambd)


@pytest.mark.parametrize(
    ("form", "lambdas", "width"),
    [("AdamW", [0, 0.1, 0.8], 256), ("coupled", [0, 1e-4, 1e-3], 64), ("matrices", [0, 0.1, 0.8], 64)],
)
def test_training_in_a_stack_equals_training_one_by_one(chapter, double, monkeypatch, form, lambdas, width):
    """After 200 steps the weights agree: three λ, three seeds, three data sets.

    In double precision, since in single precision the last digit soon decides on which side of its kink a ReLU
    is, and two orders of the same sums part by thousandths in 200 steps, stacked or not.
    """
    built, Adder = [], chapter["Adder"]
    monkeypatch.setitem(chapter, "Adder", lambda *given, **named: built.append(Adder(*given, **named)) or built[-1])
    list(chapter["train"](lambdas, seed=[0, 1, 2], num_steps=200, width=width, form=form))
    settings = {"lr": chapter["lr"], "betas": chapter["betas"], "eps": chapter["adam_eps"]}
    for k, lambd in enumerate(lambdas):
        alone = PlainAdder(width, 1e-2).copy_from(Adder([0, 1, 2], width, 1e-2), k)
        start = [w.detach().clone() for w in alone.parameters()]
        data = binary_addition(seed=k)
        train_plain(alone, plain_optimizer(alone, form, lambd, settings), data.X_train, data.y_train, 200)
        for before, ours, theirs in zip(start, built[0].parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(ours[k].reshape(theirs.shape), theirs, rtol=0, atol=1e-9)
            assert theirs.ndim == 1 or (theirs - before).abs().max() > 1e-3
