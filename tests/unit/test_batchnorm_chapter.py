"""The programs of the BatchNorm chapter against PyTorch, closed forms and its records, on settings of their own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from notebooks import ROOT, functions_of
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn


@pytest.fixture(scope="module")
def chapter():
    return functions_of("batchnorm")  # its constants choose one thread


@pytest.fixture
def beginning(chapter):
    """Two networks, their Adam, and the data of the first: X and y in training, then in testing."""
    return *chapter["start"]([3, 5], eps=1e-5), *chapter["data"]([3, 5])


def one_epoch(chapter, net, adam, *data, epochs=1, **how):
    *_, (step, values) = chapter["run"](net, adam, [0.4, 0.1], *data, range(epochs), **how)
    return step, values


def test_the_first_1000_steps_meet_the_record(chapter):
    record = xr.load_dataset(ROOT / "book/records/batchnorm.nc").sel(eps=1e-5, lambd=0.1)
    for step, values in chapter["train"](0.1, 1e-5, num_epochs=13):
        at = record.sel(step=step)
        for name, tolerance in {"train loss": 0.02, "w norm": 1e-3}.items():
            assert values[name].item() == pytest.approx(at[name].item(), rel=tolerance), (step, name)
        assert values["test accuracy"].item() == pytest.approx(at["test accuracy"].item(), abs=0.02)
    assert step == 1014


def test_the_records_say_where_they_come_from():
    parts = ("", "-changes", "-watched", "-small", "-small-changes", "-l2", "-layernorm", "-edge")
    for name in (f"batchnorm{part}" for part in parts):
        record = xr.load_dataset(ROOT / f"book/records/{name}.nc")
        assert record.attrs["command"] == "make recompute CHAPTER=batchnorm"
        assert {"versions", "device", "seconds", "created", "fixed"} <= record.attrs.keys()
        assert (ROOT / f"book/records/{name}.nc").stat().st_size < 2e6
        assert np.isfinite(record.to_dataarray()).all()


def test_a_step_is_one_of_adamw(chapter, beginning):
    net, adam, X, y, *_ = beginning
    chapter["steps_an_epoch"] = 4
    try:
        one_epoch(chapter, net, adam, X, y, X[..., :9], y[..., :9])
    finally:
        chapter["steps_an_epoch"] = 78
    theirs, _ = chapter["start"]([3], eps=1e-5)
    adamw = torch.optim.AdamW(theirs.parameters(), 1e-3, (0.9, 0.98), 1e-3, weight_decay=0.4)
    for at in (slice(i, i + 64) for i in range(0, 256, 64)):
        adamw.zero_grad()
        ((theirs(X[:1, :, at]) - y[:1, :, at]) ** 2).mean().backward()
        adamw.step()
    for ours, reference in zip(net.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours[:1], reference, rtol=1e-4, atol=1e-6)


def test_the_update_is_what_adam_subtracted(chapter, beginning):
    net, adam, X, y, *_ = beginning
    for i in range(3):
        adam.zero_grad()
        ((net(X[..., 64 * i : 64 * i + 64]) - y[..., 64 * i : 64 * i + 64]) ** 2).mean().backward()
        before = [w.detach().clone() for w in chapter["before_norm"](net)]
        adam.step()
    for w, old in zip(chapter["before_norm"](net), before, strict=True):
        torch.testing.assert_close(chapter["update_of"](adam, w), old - w.detach(), rtol=1e-2, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ("none", []),
        ("spare matrices", ["blocks.1.3.weight"]),
        ("spare matrices + stream", ["blocks.1.3.weight", "blocks.0.4.bias", "first.weight"]),
        ("spare gains", ["blocks.0.1.weight"]),
        ("spare last", ["last.weight"]),
        ("spare all", ["blocks.1.3.weight", "blocks.0.4.bias", "first.weight", "blocks.0.1.weight", "last.weight"]),
    ],
)
def test_only_what_is_spared_does_not_decay(chapter, beginning, change, kept):
    net, adam, *_ = beginning
    how = chapter["apply"](change, net, adam)
    was = {name: p.detach().clone() for name, p in net.named_parameters()}
    with torch.no_grad():
        chapter["decay"](net, 0.5, how.get("spare", ()))
    now = dict(net.named_parameters())
    for name in ("blocks.1.3.weight", "blocks.0.4.bias", "first.weight", "blocks.0.1.weight", "last.weight"):
        torch.testing.assert_close(now[name].detach(), was[name] if name in kept else was[name] / 2)


def test_the_accounts_add_up_to_the_change_of_the_norm(chapter, beginning):
    net, adam, X, y, *_ = beginning
    chapter["steps_an_epoch"] = 5
    accounts, norms = chapter["Accounts"](net, adam), []
    try:
        data = (X, y, X[..., :9], y[..., :9])
        for _ in chapter["run"](net, adam, [0.1, 0.1], *data, range(3), look=lambda *_: {}, after=accounts):
            norms.append(sum((w.detach().double() ** 2).sum(dim=(1, 2)) for w in chapter["before_norm"](net)))
    finally:
        chapter["steps_an_epoch"] = 78
    shrink = 1 - (1 - 1e-3 * 0.1) ** 2
    change = sum(size + pull - shrink * rho_sq for rho_sq, size, pull, _ in accounts.steps[5:])
    torch.testing.assert_close(change, norms[2] - norms[0], rtol=1e-2, atol=1e-5)
    assert accounts.look().keys() == {"rho_sq", "size", "pull", "own"}
    assert accounts.steps == []


def test_norms_are_held_row_by_row(chapter, beginning):
    net, adam, X, y, *_ = beginning
    norms = [w.detach().norm(dim=2) for w in chapter["before_norm"](net)]
    chapter["steps_an_epoch"] = 2
    try:
        one_epoch(chapter, net, adam, X, y, X[..., :9], y[..., :9], **chapter["apply"]("norm held", net, adam))
    finally:
        chapter["steps_an_epoch"] = 78
    for w, norm in zip(chapter["before_norm"](net), norms, strict=True):
        torch.testing.assert_close(w.detach().norm(dim=2), norm)


def test_a_change_changes_one_number(chapter, beginning):
    net, adam, *_ = beginning
    chapter["apply"]("ε 1e-12", net, adam)
    assert {layer.eps for layer in chapter["norms_of"](net)} == {1e-12}
    chapter["apply"]("Adam 1e-8", net, adam)
    assert adam.param_groups[0]["eps"] == 1e-8


def test_fresh_statistics_are_those_of_the_data_and_leave_no_trace(chapter, beginning):
    net, _, X, y, *_ = beginning
    kept = [buffer.clone() for buffer in net.buffers()]
    chapter["test"](net, X[..., :200], X[..., :30], y[..., :30])
    assert all(torch.equal(old, new) for old, new in zip(kept, net.buffers(), strict=True))
    chapter["renew_statistics"](net, X[..., :200])
    z = net.blocks[0][0](net.first(X[..., :200]))
    first = chapter["norms_of"](net)[0]
    torch.testing.assert_close(first.running_mean.view(2, -1), z.mean(dim=2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.running_var.view(2, -1), z.var(dim=2), rtol=1e-4, atol=1e-5)
    assert {layer.momentum for layer in chapter["norms_of"](net)} == {0.1}


def test_a_collapse_is_a_fall_from_above(chapter):
    curve = [0.2, 0.5, 0.95, 0.6, 0.1, 0.5, 0.2, 0.91, 0.4, 0.92, 0.29, 0.1]
    assert chapter["collapses"](curve) == [4, 10]
    assert chapter["collapses"]([0.1, 0.8, 0.1]) == []


@pytest.mark.parametrize("eps", [0.0, 0.03])
def test_the_two_parameters_take_the_steps_of_autograd(chapter, eps):
    x = torch.ones(2, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.07, weight_decay=0.2)
    for step, values in chapter["train_two"](0.07, 0.2, eps, num_steps=40, every=1):
        optimizer.zero_grad()
        loss = x[0] ** 2 / (x @ x + eps)
        loss.backward()
        optimizer.step()
        assert values["loss F"] == pytest.approx(loss.item(), rel=1e-6)
        assert values["ρ²"] == pytest.approx((x @ x).item(), rel=1e-6)


@pytest.mark.parametrize(("lr", "eps"), [(0.2, 0.15), (0.05, 0.02)])
def test_two_parameters_rest_at_the_edge_of_stability(chapter, lr, eps):
    *_, (_, end) = chapter["train_two"](lr, 0.05, eps, num_steps=20_000)
    assert end["ρ²"] == pytest.approx(lr - eps, abs=1e-4)
    assert end["loss F"] == pytest.approx(lr * 0.05 / 2, rel=0.02)


def test_random_gradients_reach_the_equilibrium(chapter):
    lr, lambd, sigma = 0.2, 0.1, 0.7
    rho_sq, angle = chapter["walk"](lr, lambd, sigma, walks=5, d=30, seed=4)
    assert rho_sq == pytest.approx(sigma * np.sqrt(lr / (lambd * (2 - lr * lambd))), rel=0.05)
    assert angle == pytest.approx(np.sqrt(2 * lr * lambd), rel=0.05)


def test_the_small_network_is_one_of_modules(chapter):
    X, y, *_ = chapter["digits"]()
    stack = chapter["small_net"]([0, 0], 1e-3)
    layers = [nn.Linear(64, 64), nn.BatchNorm1d(64, eps=1e-3), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(64, 64), nn.BatchNorm1d(64, eps=1e-3), nn.ReLU(), nn.Linear(64, 10))
    for p, stacked in zip(net.parameters(), stack.parameters(), strict=True):
        p.data.copy_(stacked[1].detach().view(p.shape))
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0, weight_decay=0.05)
    worst = 0.0
    for _ in range(10):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(X[0].T.cpu()), y.cpu())
        loss.backward()
        optimizer.step()
        worst = max(worst, loss.item())
    _, values = next(chapter["train_small"]([[0.0], [0.05]], eps=1e-3))
    assert values["train loss"][1].item() == pytest.approx(worst, rel=1e-4)
    assert values["w norm"][1].item() == pytest.approx(net[0].weight.norm().item(), rel=1e-4)


def test_the_curvature_is_the_largest_eigenvalue_of_the_hessian(chapter):
    X, y, *_ = (part.cpu() for part in chapter["digits"]())
    stack = chapter["small_net"]([3], 1e-5).cpu()
    net = nn.Sequential(
        *(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()),
        nn.Linear(64, 10),
    )
    for ours, theirs in zip(stack.parameters(), net.parameters(), strict=True):
        theirs.data = ours.detach().reshape(theirs.shape).clone()
    slope = torch.autograd.grad(F.cross_entropy(net(X[0].T), y), [*net.parameters()], create_graph=True)
    sizes = [part.numel() for part in slope]

    def times_hessian(v):
        parts = torch.tensor(v.ravel(), dtype=torch.float32).split(sizes)
        parts = [part.view_as(one) for part, one in zip(parts, slope, strict=True)]
        product = torch.autograd.grad(slope, [*net.parameters()], parts, retain_graph=True)
        return torch.cat([part.flatten() for part in product]).numpy()

    hessian = LinearOperator((sum(sizes),) * 2, times_hessian, dtype=np.float32)
    (top,) = eigsh(hessian, k=1, which="LA", return_eigenvectors=False)
    state = {**dict(stack.named_parameters()), **dict(stack.named_buffers())}
    watched = chapter["edge_of"](state, X, y[None], stack, lr=0.5)["edge"].item()
    assert watched == pytest.approx(0.5 * top, rel=0.02)


def test_the_first_200_steps_meet_the_record_of_the_curvature(chapter):
    record = xr.load_dataset(ROOT / "book/records/batchnorm-edge.nc").sel(change="none", seed=1)
    for step, values in chapter["train_small"](0.003, 1e-5, seed=[1], num_steps=200, watch=chapter["edge_of"]):
        for name, tolerance in {"train loss": 0.01, "w norm": 1e-3, "edge": 0.05}.items():
            assert values[name].item() == pytest.approx(record[name].sel(step=step).item(), rel=tolerance), (step, name)


@pytest.mark.parametrize("way", ["everything", "nothing"])
def test_noisy_training_is_sgd(chapter, way):
    point = {"way": np.array([[way]]), "wrong": np.array([[0.3]]), "seed": np.array([[4]])}
    *_, (step, values) = chapter["train_noisy"](**point, lambd=0.5, num_steps=100)
    X, y, *_ = chapter["noisy_digits"]([4], 0.3)
    net, rng = chapter["small_net"]([4], 1e-5), torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.003, weight_decay=0.5 if way == "everything" else 0)
    for _ in range(100):
        at = torch.randint(500, (50,), generator=rng)
        optimizer.zero_grad()
        F.cross_entropy(net(X[:, :, at])[0].T, y[0, at]).backward()
        optimizer.step()
    assert step == 100
    assert values["w norm"].item() == pytest.approx(net[0].weight.norm().item(), rel=1e-4)
    chapter["renew_statistics"](net, X)
    assert values["train loss"].item() == pytest.approx(F.cross_entropy(net.eval()(X)[0].T, y[0]).item(), rel=1e-3)


def test_a_share_of_the_labels_is_random_and_the_test_is_not(chapter):
    right, mixed = (chapter["noisy_digits"]([1, 2], wrong) for wrong in (0.0, 0.4))
    assert 0.3 < (right[1] != mixed[1]).float().mean() < 0.42
    assert torch.equal(right[3], mixed[3])
    assert not torch.equal(right[3][0], right[3][1])


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_a_normalisation_is_pytorchs(chapter, eps):
    z = torch.randn(7, 5, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    torch.testing.assert_close(chapter["standardise"](z, 1, eps), F.layer_norm(z, (5,), eps=eps))
    torch.testing.assert_close(chapter["standardise"](z, 0, eps), F.batch_norm(z, None, None, training=True, eps=eps))
    torch.testing.assert_close(chapter["normed"](z, "RMSNorm"), F.rms_norm(z.T, (7,), eps=0.0).T)


@pytest.mark.parametrize("eps", [1e-12, 0.3])
def test_two_weights_take_the_steps_of_autograd(chapter, eps):
    X, y = chapter["plane_points"]()
    w = torch.tensor([0.4, -0.9], dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.3, weight_decay=0.2)
    rng, turns = torch.Generator().manual_seed(0), []
    for batch in torch.randperm(64, generator=rng).view(8, 8):
        before = w.detach().clone()
        optimizer.zero_grad()
        y_hat = F.batch_norm((X[batch] @ w)[:, None], None, None, training=True, eps=eps)[:, 0]
        (F.mse_loss(y_hat, y[batch]) / 2).backward()
        optimizer.step()
        turns.append(2 - 2 * F.cosine_similarity(w.detach(), before, dim=0))
    step, values = next(chapter["train_unit"](0.2, 0.3, eps, begin=(0.4, -0.9)))
    assert step == 8
    assert values["‖w‖"].item() == pytest.approx(w.detach().norm().item(), rel=1e-6)
    assert values["angle"].item() == pytest.approx(np.sqrt(np.mean(turns)), rel=1e-6)
    assert values["balance"].item() == pytest.approx(np.sqrt(2 * 0.3 * 0.2))


def test_two_weights_come_to_the_angle_of_the_balance(chapter):
    rows = [values for _, values in chapter["train_unit"](0.05, 0.2, 0.0, begin=(-0.3, 0.6))]
    angles = torch.stack([row["angle"] for row in rows])[150:]
    assert angles.square().mean().sqrt().item() == pytest.approx(np.sqrt(2 * 0.2 * 0.05), rel=0.05)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_the_transformer_is_one_of_pytorchs_functions(chapter, qk_norm):
    W, words = chapter["draw_transformer"](), torch.arange(24).pow(3).remainder(16).view(2, 12)
    norm = lambda x: F.layer_norm(x, x.shape[-1:], eps=0.0)  # noqa: E731
    x = W["embedding"][words]
    for k in (1, 2):
        q, key, v = ((norm(x) @ W[f"W_{name}, block {k}"]).view(2, 12, 4, 8).transpose(1, 2) for name in "QKV")
        if qk_norm:
            q, key = norm(q), norm(key)
        heads = F.scaled_dot_product_attention(q, key, v)
        x = x + heads.transpose(1, 2).reshape(2, 12, 32) @ W[f"W_O, block {k}"]
        x = x + F.gelu(norm(x) @ W[f"W_1, block {k}"]) @ W[f"W_2, block {k}"]
    loss = F.cross_entropy((norm(x) @ W["output"]).view(24, 16), words.roll(-1, 1).reshape(24))
    torch.testing.assert_close(chapter["language_loss"](W, words, qk_norm), loss)


@pytest.mark.parametrize("how", [{}, {"spared": (0, 1)}, {"normalised": False}])
def test_the_layernorm_network_is_one_of_modules(chapter, how):
    X, y, *_ = chapter["digits"]()
    rng = [torch.Generator().manual_seed(5)]
    norm = (lambda: nn.LayerNorm(64, elementwise_affine=False)) if how.get("normalised", True) else nn.Identity
    linear = [nn.Linear(64, n, bias=False) for n in (64, 64, 10)]
    for layer, n in zip(linear, (64, 64, 10), strict=True):
        layer.weight.data.copy_(chapter["Linear"](64, n, rng).weight[0].detach())
    net = nn.Sequential(linear[0], norm(), nn.ReLU(), linear[1], norm(), nn.ReLU(), linear[2])
    decays = [0.0 if i in how.get("spared", ()) else 0.05 for i in range(3)]
    groups = [{"params": layer.weight, "weight_decay": lambd} for layer, lambd in zip(linear, decays, strict=True)]
    optimizer, worst, turns = torch.optim.SGD(groups, lr=0.2), 0.0, []
    for _ in range(10):
        before = linear[2].weight.detach().flatten().double()
        optimizer.zero_grad()
        loss = F.cross_entropy(net(X[0].T.cpu()), y.cpu())
        loss.backward()
        optimizer.step()
        worst = max(worst, loss.item())
        turns.append(2 - 2 * F.cosine_similarity(linear[2].weight.detach().flatten().double(), before, dim=0))
    step, values = next(chapter["train_layers"]([0.0, 0.05], 0.2, seed=5, **how))
    assert step == 10
    assert values["train loss"][1].item() == pytest.approx(worst, rel=1e-4)
    assert values["norm, first"][1].item() == pytest.approx(linear[0].weight.norm().item(), rel=1e-4)
    assert values["norm, last"][1].item() == pytest.approx(linear[2].weight.norm().item(), rel=1e-4)
    assert values["angle, last"][1].item() == pytest.approx(np.sqrt(np.mean(turns)), rel=1e-3)


def test_the_first_200_steps_with_layernorm_meet_the_record(chapter):
    record = xr.load_dataset(ROOT / "book/records/batchnorm-layernorm.nc").sel(way="LayerNorm", lambd=0.01, seed=2)
    for step, values in chapter["train_layers"](0.01, seed=2):
        for name in ("train loss", "norm, first", "norm, last"):
            assert values[name].item() == pytest.approx(record[name].sel(step=step).item(), rel=0.02), (step, name)
        if step == 200:
            break
