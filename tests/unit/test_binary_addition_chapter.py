"""The chapter on binary addition: its data, its decay, and its records trained again for a while."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from notebooks import ROOT, functions_of

from weightdecay import binary_addition

RECORDS = sorted((ROOT / "book/records").glob("binary-addition*.nc"))
PLACES = 2.0 ** torch.arange(32, dtype=torch.float64)


@pytest.fixture(scope="module")
def chapter():
    return functions_of("binary-addition")


def read(bits):
    """The numbers that rows of bits stand for."""
    return (bits.double() @ PLACES).long()


def record(name=""):
    return xr.load_dataset(ROOT / "book/records" / f"binary-addition{name}.nc")


@pytest.mark.parametrize("digits", [3, 4])
def test_the_targets_are_the_sums_and_the_lengths_are_as_stated(digits):
    data = binary_addition(digits=digits)
    for X, y, lengths in ((data.X_train, data.y_train, {digits - 2, digits}), (data.X_test, data.y_test, {digits - 1})):
        a, b = read(X[:, :32]), read(X[:, 32:])
        assert torch.equal(a + b, read(y))
        assert {len(str(number)) for number in a.tolist()} == lengths
        assert [len(str(number)) for number in a.tolist()] == [len(str(number)) for number in b.tolist()]
    assert (read(data.X_train[:, :32]) < 10 ** (digits - 1)).double().mean() == pytest.approx(1 / 101, abs=0.005)


def test_noise_gives_that_share_of_pairs_the_sum_of_another():
    clean, noisy = binary_addition(), binary_addition(noise=0.1)
    assert torch.equal(clean.X_train, noisy.X_train)
    assert torch.equal(clean.y_test, noisy.y_test)
    changed = (clean.y_train != noisy.y_train).any(dim=1)
    assert changed.double().mean() == pytest.approx(0.1, abs=0.015)
    assert sorted(read(clean.y_train).tolist()) == sorted(read(noisy.y_train).tolist())


def test_each_seed_has_its_data():
    assert torch.equal(binary_addition(seed=4).X_train, binary_addition(seed=4).X_train)
    assert not torch.equal(binary_addition(seed=4).X_train, binary_addition(seed=5).X_train)


@pytest.mark.parametrize("noise", [-0.1, 1.1, float("nan")])
def test_a_noise_that_is_no_share_is_refused(noise):
    with pytest.raises(ValueError, match="share of wrong sums, from 0 to 1"):
        binary_addition(noise=noise)


def test_only_a_sum_with_every_bit_right_counts(chapter):
    y = torch.tensor([[[1.0, 0, 1], [0, 0, 1]]])  # one network, two bits, three pairs
    out = torch.tensor([[[0.9, 0.4, 0.4], [0.2, 0.1, 0.8]]])
    assert chapter["exact"](out, y).tolist() == [pytest.approx(2 / 3)]


def test_without_a_gradient_decay_is_geometric(chapter):
    net = chapter["Adder"]([0, 0], 8, 1e-2)
    before = {name: w.detach().clone() for name, w in net.named_parameters()}
    with torch.no_grad():
        for _ in range(10):
            chapter["decay_by"](net, torch.tensor([0.1, 2.0])[:, None, None], 0.01, "AdamW")
    for name, w in net.named_parameters():
        torch.testing.assert_close(w[1], before[name][1] * (1 - 0.02) ** 10)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_says_where_it_comes_from(path):
    stored = xr.load_dataset(path)
    assert stored.attrs["command"] == "make recompute CHAPTER=binary-addition"
    assert {"device", "seconds", "created", "fixed"} <= stored.attrs.keys()
    assert {"python", "torch", "numpy"} <= json.loads(stored.attrs["versions"]).keys()
    assert not stored.attrs["interrupted"]
    assert path.stat().st_size < 2e6


def test_the_recorded_runs_are_those_that_the_chapter_names():
    assert [path.stem.removeprefix("binary-addition") for path in RECORDS] == [
        "-forms", "-long", "-noisy", "-seeds", "-small", "",
    ]  # fmt: skip
    assert record().sizes == {"lambd": 16, "step": 400}
    assert np.isfinite(record()["test accuracy"]).all()


def test_a_thousand_steps_come_out_again(chapter):
    """Trained alone, not in a stack of eight, in single precision: the sums are rounded in another order."""
    stored = record().sel(lambd=0.1)
    for step, values in chapter["train"](0.1, num_steps=1000):
        then = stored.sel(step=step)
        assert values["train loss"].item() == pytest.approx(then["train loss"].item(), rel=0.03)
        assert values["sum of norms"].item() == pytest.approx(then["sum of norms"].item(), rel=2e-3)
        assert values["train accuracy"].item() == pytest.approx(then["train accuracy"].item(), abs=0.03)
    assert step == 12 * 78


def test_the_small_run_comes_out_again(chapter):
    train_small = chapter["partial"](chapter["train"], num_steps=600, width=64, lr=0.01, n_train=1000, digits=3)
    stored = record("-small").sel(lambd=0.3)
    for step, values in train_small(0.3):
        then = stored.sel(step=step)
        assert values["train loss"].item() == pytest.approx(then["train loss"].item(), rel=0.1)
        assert values["sum of norms"].item() == pytest.approx(then["sum of norms"].item(), rel=1e-2)
