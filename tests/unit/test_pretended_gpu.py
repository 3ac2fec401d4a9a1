"""What a GPU refuses and keeps, on one that is only pretended; then the demos of every chapter on it."""

import copy
import itertools
import os
import subprocess
import sys

import demos
import numpy as np
import pytest
import torch
from demos import CHAPTERS, demos_of
from notebooks import ROOT, cells_of
from pretended_gpu import GRADIENT, pretended_gpu

from weightdecay import pick_device
from weightdecay.mxnet import mx

GPU = torch.device("cuda", 0)
ON_GPU = "Expected all tensors to be on the same device"
INDICES = "indices should be either on cpu or on the same device"


@pytest.fixture
def gpu():
    with pretended_gpu():
        yield pick_device()


def test_the_book_chooses_it(gpu, monkeypatch):
    assert gpu == torch.device("cuda")
    monkeypatch.setenv("WEIGHTDECAY_DEVICE", "cpu")
    assert pick_device() == torch.device("cpu")


def test_afterwards_there_is_none():
    chosen = pick_device()
    with pretended_gpu():
        x = torch.ones(2, device="cuda")
    assert x.device == torch.device("cpu")
    assert pick_device() == chosen


MIXTURES = {
    "a sum": lambda x, y: x + y,
    "a sum, turned round": lambda x, y: y + x,
    "a product of matrices": lambda x, y: x[:, None] @ y[None],
    "in place": lambda x, y: x.add_(y),
    "into a CPU tensor": lambda x, y: y.sum().add_(x.sum()),
    "a choice": lambda x, y: torch.where(x > 0, x, y),
    "a comparison": lambda x, y: torch.equal(x, y),
    "a list": lambda x, y: torch.cat([x, y]),
    "a list with a number": lambda x, y: torch.stack([x.sum(), y.sum()]),
    "a loss": lambda x, y: torch.nn.functional.mse_loss(x, y),
    "a layer": lambda x, y: torch.nn.Linear(3, 1)(x),
    "gathering": lambda x, y: x.gather(0, y.long()),
    "an optimiser's lists": lambda x, y: torch._foreach_add_([x], [y]),
    "putting at indices": lambda x, y: x.__setitem__(torch.tensor([0, 1, 2]), y),
}


@pytest.mark.parametrize("mix", MIXTURES.values(), ids=MIXTURES)
def test_devices_do_not_mix(gpu, mix):
    with pytest.raises(RuntimeError, match=ON_GPU):
        mix(torch.ones(3, device=gpu), torch.ones(3))


def test_a_cpu_number_may_take_part(gpu):
    x, number = torch.ones(3, device=gpu), torch.tensor(2.0)
    assert (x * number).device == (number + x).device == GPU
    assert torch.where(x > 0, x, number).device == GPU
    assert number.device == torch.device("cpu")


def test_a_number_on_the_gpu_does_not_come_to_a_cpu_tensor(gpu):
    with pytest.raises(RuntimeError, match=ON_GPU):
        torch.ones(3) * torch.tensor(2.0, device=gpu)


def test_a_cpu_tensor_takes_no_index_from_the_gpu(gpu):
    index, mask = torch.tensor([0, 2], device=gpu), torch.ones(3, device=gpu) > 0
    for at in (index, mask, (slice(None), index)):
        with pytest.raises(RuntimeError, match=INDICES):
            torch.ones(3, 3)[at]
    with pytest.raises(RuntimeError, match=INDICES):
        torch.ones(3)[mask] = 0


def test_the_gpu_takes_indices_from_both(gpu):
    x = torch.arange(3.0, device=gpu)
    for device in (gpu, "cpu"):
        assert x[torch.tensor([0, 2], device=device)].device == GPU
    x[torch.tensor([0, 1])] = 5
    x[:2] = torch.ones(2)  # a copy, which may come from anywhere
    assert x.tolist() == [1, 1, 2]
    assert torch.arange(3)[torch.tensor(1, device=gpu)] == 1  # a lone integer is read back


@pytest.mark.parametrize("convert", [torch.Tensor.numpy, np.asarray, np.cos, lambda x: np.array([x.sum(), 1.0])])
def test_numpy_gets_nothing_from_the_gpu(gpu, convert):
    with pytest.raises(TypeError, match=r"can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu\(\)"):
        convert(torch.ones(3, device=gpu))


def test_a_cpu_generator_does_not_draw_on_the_gpu(gpu):
    rng = torch.Generator().manual_seed(0)
    for draw in (
        lambda: torch.randn(3, generator=rng, device=gpu),
        lambda: torch.randperm(3, generator=rng, device=gpu),
        lambda: torch.ones(3, device=gpu).normal_(generator=rng),
        lambda: torch.bernoulli(torch.ones(3, device=gpu), generator=rng),
    ):
        with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator but found 'cpu'"):
            draw()
    assert torch.randn(3, generator=rng).to(gpu).device == GPU


def test_a_gradient_comes_from_the_same_device(gpu):
    w = torch.ones(3, device=gpu, requires_grad=True)
    with pytest.raises(RuntimeError) as raised:
        w.grad = torch.ones(3)
    assert str(raised.value) == GRADIENT.format(GPU)


MADE = {
    "tensor": lambda d: torch.tensor([1.0, 2.0], device=d),
    "as_tensor of an array": lambda d: torch.as_tensor(np.ones(2), dtype=torch.float32, device=d),
    "as_tensor of a tensor": lambda d: torch.as_tensor(torch.ones(2), device=d),
    "zeros": lambda d: torch.zeros(2, device="cuda"),
    "by its number": lambda d: torch.arange(2, device="cuda:0"),
    "a layer": lambda d: torch.nn.Linear(2, 2, device=d).weight,
    "to": lambda d: torch.ones(2).to(d),
    "to, with a type": lambda d: torch.ones(2).to(d, torch.double),
    "to, by name": lambda d: torch.ones(2).to(device=d),
    "to, like another": lambda d: torch.ones(2).to(torch.zeros(1, device=d)),
    "cuda": lambda d: torch.ones(2).cuda(),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_tensors_are_made_there(gpu, make):
    x = make(gpu)
    assert x.device == GPU
    assert x.is_cuda
    assert not x.is_cpu
    assert x.get_device() == 0


DERIVED = {
    "a view": lambda x: x[1:],
    "its parts": lambda x: next(iter(x)),
    "transposed": lambda x: x[None].mT,
    "a copy": lambda x: x.clone(),
    "a deep copy": copy.deepcopy,
    "another type": lambda x: x.double(),
    "its own device": lambda x: torch.zeros(3, device=x.device),
    "one like it": torch.zeros_like,
    "a new one": lambda x: x.new_zeros(5),
    "a list": lambda x: torch.stack([x, x]),
    "the largest": lambda x: x.max(dim=0).values,
    "of a power": lambda x: 2.0**x,
    "a function of PyTorch in Python": lambda x: torch.nn.functional.softmax(x, dim=0),
    "its data": lambda x: torch.nn.Parameter(x).data,
    "a copied parameter": lambda x: copy.deepcopy(torch.nn.Parameter(x)),
    "its gradient": lambda x: torch.autograd.grad((x.requires_grad_() ** 2).sum(), x)[0],
    "a Jacobian": lambda x: torch.func.jacrev(lambda z: z**2)(x),
    "mapped": lambda x: torch.func.vmap(lambda z: z + 1)(x),
}


@pytest.mark.parametrize("derive", DERIVED.values(), ids=DERIVED)
def test_what_comes_of_it_is_there_too(gpu, derive):
    assert derive(torch.ones(3, device=gpu)).device == GPU


def test_the_way_back(gpu):
    x = torch.ones(2, device=gpu)
    for back in (x.cpu(), x.to("cpu"), x.to(torch.device("cpu"), torch.double), x.to(torch.zeros(1))):
        assert back.device == torch.device("cpu")
    assert torch.zeros_like(x, device="cpu").device == torch.as_tensor(x, device="cpu").device == torch.device("cpu")
    assert x.device == x.to(torch.double).device == GPU
    assert x.to(gpu) is x
    assert (x.tolist(), x.sum().item(), float(x[0]), int(x[0]), bool(x[0])) == ([1, 1], 2, 1, 1, True)
    assert x.numpy(force=True).tolist() == x.cpu().numpy().tolist() == [1, 1]
    assert torch.tensor([x[0], x[1]]).device == torch.device("cpu")  # of numbers that were read back


def test_a_copy_crosses_and_stays_where_it_went(gpu):
    here, there = torch.zeros(2), torch.ones(2, device=gpu)
    assert here.copy_(there).device == torch.device("cpu")
    assert here.tolist() == [1, 1]
    assert there.copy_(torch.zeros(2)).device == GPU


def test_two_sides_share_no_memory(gpu):
    array, x = np.zeros(2), torch.zeros(2)
    for there in (torch.as_tensor(array, device=gpu), torch.as_tensor(x, device=gpu), x.to(gpu)):
        there += 1
    assert array.sum() == x.sum() == 0
    assert x.device == torch.device("cpu")


def test_memory_that_is_used_again_has_no_mark(gpu):
    for _ in range(100):
        torch.ones(1000, device=gpu)
        assert torch.ones(1000).device == torch.device("cpu")


WAYS = {"for-loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_a_network_its_gradients_and_its_optimiser_stay_there(gpu, options):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    assert net.to(gpu) is net
    adam = torch.optim.AdamW(net.parameters(), lr=0.1, **options)
    for _ in range(2):
        adam.zero_grad()
        net(torch.ones(5, 3, device=gpu)).square().mean().backward()
        adam.step()
    gradients = [w.grad for w in net.parameters()]
    net, adam = copy.deepcopy((net, adam))
    moments = [state["exp_avg"] for state in adam.state.values()]
    for tensor in [*net.parameters(), *net.buffers(), *gradients, *moments]:
        assert tensor.device == GPU
    with pytest.raises(RuntimeError, match=ON_GPU):
        net(torch.ones(5, 3))
    assert net.cpu()(torch.ones(5, 3)).device == torch.device("cpu")


def test_a_network_goes_where_a_tensor_is(gpu):
    net = torch.nn.Linear(2, 1)
    assert net.to(torch.ones(1, device=gpu)).weight.device == GPU
    assert net.to(torch.double).weight.device == GPU
    assert net.to(torch.ones(1)).weight.device == torch.device("cpu")


def test_apples_gpu_has_no_double_precision():
    with pretended_gpu("mps"):
        x = torch.ones(2, device=pick_device())
        assert x.device == torch.device("mps", 0)
        for double in (
            lambda: x.double(),
            lambda: torch.zeros(2, dtype=torch.double, device="mps"),
            lambda: torch.tensor(np.ones(2), device="mps"),
            lambda: torch.ones(2).double().to("mps"),
        ):
            with pytest.raises(TypeError, match="the MPS framework doesn't support float64"):
                double()
        assert x.cpu().double().dtype == torch.double
        assert torch.as_tensor(np.ones(2), dtype=torch.float32, device="mps").device == x.device


def test_a_leaf_on_the_cpu_has_its_gradient_there(gpu):
    w = torch.ones(2, requires_grad=True)
    loss = (w.to(gpu) ** 2).sum()
    assert torch.autograd.grad(loss, w, retain_graph=True)[0].device == torch.device("cpu")
    loss.backward()
    assert w.grad.device == torch.device("cpu")


def test_numbers_are_those_of_the_cpu(gpu):
    start = torch.nn.Linear(3, 1)
    there, x = copy.deepcopy(start).to(gpu), torch.randn(5, 3)
    assert torch.equal(there(x.to(gpu)).cpu(), start(x))


def test_cells_are_chosen_by_what_a_demo_needs():
    cells = ["a = 1", "b = a\nc = 2", "for a in range(3): print(a)", "def f(): return a + late", "late = 7", "b, f()"]
    assert demos.needed(cells, [1]) == [0, 1]
    assert demos.needed(cells, [5]) == [0, 1, 2, 3, 4, 5]
    assert demos.needed(["a = 1", "a = 2", "a = a + 1", "x = 5", "a"], [4]) == [1, 2, 4]


@pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")  # of MXNet
@pytest.mark.parametrize("kind", ["cuda", "mps"])
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_demo_trains_where_its_badge_says(chapter, kind):
    with pretended_gpu(kind) as mode:
        found = demos_of(chapter)
        for demo in found:
            before = mode.count
            assert len(list(itertools.islice(demo.run(), 2))) == 2
            assert (demo.device == kind) == (mode.count > before), f"{demo.title}: trained elsewhere"
    assert found or (chapter == "gluon" and mx is None)


# One move to the device left out, in each chapter that trains on it.
FAULTS = {
    "adamw": ("(column.to(device) for column in both(lambd, lr))", "both(lambd, lr)"),
    "batchnorm": ("net = Adder(seeds, eps=eps).to(device)", "net = Adder(seeds, eps=eps)"),
    "binary-addition": ("torch.zeros(2, len(lambd), device=device)", "torch.zeros(2, len(lambd))"),
    "double-descent": ("shrink = (1 - net_lr * lambd.float()).to(device)", "shrink = (1 - net_lr * lambd.float())"),
    "dropout": ("*h.shape[1:], generator=rng).to(device)", "*h.shape[1:], generator=rng)"),
    "in-practice": ("BertForSequenceClassification(config).to(device)", "BertForSequenceClassification(config)"),
    "pytorch": ("1, generator=rng)).to(device)", "1, generator=rng))"),
    "weissi": ("random_labels.to(device)", "random_labels"),
}


@pytest.mark.parametrize("chapter", FAULTS)
def test_a_forgotten_move_is_caught(chapter):
    right, wrong = FAULTS[chapter]
    cells = cells_of(chapter)
    assert sum(right in cell for cell in cells) == 1
    broken = [cell.replace(right, wrong) for cell in cells]
    with pretended_gpu(), pytest.raises(RuntimeError, match=f"{ON_GPU}|{INDICES}"):
        [next(demo.run()) for demo in demos_of(chapter, broken)]


@pytest.mark.parametrize("chapter", ["binary-addition", "weissi"])  # all of them in `make test-pretended-gpu`
def test_a_whole_chapter_runs_on_it(chapter):
    environment = os.environ | {"MPLBACKEND": "Agg"}
    subprocess.run([sys.executable, ROOT / "tests" / "demos.py", chapter], check=True, env=environment)
