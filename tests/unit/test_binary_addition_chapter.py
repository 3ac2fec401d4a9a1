"""The chapter on binary addition: its data, its decay, and its records trained again for a while."""

import json

import nbformat
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


def test_the_norms_of_matrices_stand_apart(chapter):
    net = chapter["Adder"]([0, 1], 8, 1e-2)
    found = chapter["measure"](net, torch.zeros(2, 64, 5), torch.zeros(2, 32, 5))
    norms = {name: w[1].norm().item() for name, w in net.named_parameters()}
    matrices = [name for name, w in net.named_parameters() if w.ndim == 3 and w.shape[2] > 1]
    assert len(matrices) == 6
    assert found["matrices' norms"][1].item() == pytest.approx(sum(norms[name] for name in matrices), rel=1e-5)
    assert found["sum of norms"][1].item() == pytest.approx(sum(norms.values()), rel=1e-5)


def test_the_pulls_are_those_of_every_step_added_up(chapter, monkeypatch):
    """Decay's is noted step by step here; the chapter has it from the ends of the epochs alone."""
    decay_by, taken = chapter["decay_by"], []

    def noted(net, lambd, lr, form):
        before = chapter["weights"](net)["w"][0]
        decay_by(net, lambd, lr, form)
        taken.append(chapter["weights"](net)["w"][0] - before)

    monkeypatch.setitem(chapter, "decay_by", noted)
    epoch = chapter["steps_an_epoch"]
    starts = [now["w"][0] for _, now in chapter["train"](0.5, num_steps=6 * epoch, measure=chapter["weights"], width=8)]
    taken.clear()
    (_, (step, found)) = chapter["pulls"](0.5, num_steps=6 * epoch, span=3, width=8)
    decay, moved = sum(taken[3 * epoch : 6 * epoch]), starts[5] - starts[2]
    assert step == 6 * epoch
    assert found["decay"].item() == pytest.approx(decay.norm().item(), rel=0.01)
    assert found["both"].item() == pytest.approx(moved.norm().item(), rel=1e-3)
    assert found["Adam"].item() == pytest.approx((moved - decay).norm().item(), rel=0.01)
    cosine = torch.cosine_similarity(decay, moved - decay, dim=0).item()
    assert found["cosine"].item() == pytest.approx(cosine, abs=0.01)


def test_decay_and_adam_pull_against_each_other_once_the_sums_are_known():
    late = record("-pulls").squeeze("lambd").sel(step=slice(7000, None))
    assert (late["Adam"] > late["decay"] / 2).all()
    assert (late["cosine"] < -0.7).all()
    assert (late["both"] < late["decay"]).all()


def test_what_is_decayed_shrinks_and_what_is_not_grows():
    groups = record("-groups")
    groups["others"] = groups["sum of norms"] - groups["matrices' norms"]
    begun, ended = groups.isel(step=0), groups.isel(step=slice(-20, None)).mean("step")
    assert (ended["matrices' norms"] < 0.7 * begun["matrices' norms"]).all()
    assert ended["others"].sel(form="AdamW") < 0.7 * begun["others"].sel(form="AdamW")
    assert ended["others"].sel(form="matrices") > 1.1 * begun["others"].sel(form="matrices")


def test_with_wrong_sums_a_larger_lambda_is_better_until_starts_part_ways():
    last = record("-noisy-seeds").isel(step=slice(-20, None)).mean("step")
    middle = last["test accuracy"].median("seed")
    assert last.sizes == {"lambd": 6, "seed": 3}
    assert (middle.sel(lambd=[0.2, 0.3, 0.45]).diff("lambd") > 0).all()
    assert (last["test accuracy"].sel(lambd=0.45) > 2 * last["test accuracy"].sel(lambd=0.3).max()).all()
    assert last["train accuracy"].sel(lambd=0.6).min() < 0.3


def test_with_wrong_sums_three_times_the_steps_do_not_make_up_for_a_small_lambda():
    long, short = record("-noisy-long"), record("-noisy")
    then = {"lambd": long.lambd, "step": short.step}
    np.testing.assert_allclose(long["test accuracy"].sel(then), short["test accuracy"].sel(lambd=long.lambd), atol=0.01)
    at_end = long["test accuracy"].isel(step=slice(-20, None)).mean("step")
    larger = record("-noisy-seeds")["test accuracy"].sel(lambd=0.45).isel(step=slice(-20, None)).mean("step")
    assert int(long.step[-1]) == 3 * int(short.step[-1])
    assert at_end.max() < larger.min() / 2
    fit = long["train accuracy"].sel(lambd=0.3).rolling(step=20).mean().sel(step=[15_600, 31_200, 46_800])
    assert (np.diff(fit) > 0).all()


def glued(notebook):
    """The numbers that `say` names, from the stored outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return {
        output.metadata.scrapbook.name: output.data["application/papermill.record/text/plain"].strip("'")
        for output in outputs
        if "scrapbook" in output.get("metadata", {})
    }


def test_the_clock_is_not_said_to_be_more_than_it_is():
    said = glued(nbformat.read(ROOT / "book/binary-addition.ipynb", as_version=4))
    assert float(said["range"]) < 0.6 * float(said["spread"])  # λ is varied by this much, the steps vary by that
    assert float(said["power"]) == pytest.approx(-1.25, abs=0.02)
    assert float(said["need_fit"]) > 2 * float(said["need"])
    assert float(said["wrong_2"]) > 4 * float(said["wrong_0"])  # at one ηλt, λ = 0.45 and 0.2


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
        "-forms", "-groups", "-long", "-noisy-long", "-noisy-seeds", "-noisy", "-pulls", "-seeds", "-small-seeds",
        "-small", "",
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


def test_the_norm_is_a_better_clock_than_time_where_the_sums_are_right(chapter):
    """The sum of norms at which half of the test sums are right, and ηλt there, for a 15-fold range of λ."""
    runs = [record("-long").sel(lambd=0.03), *(record().sel(lambd=one) for one in (0.1, 0.2, 0.3, 0.45))]
    norms = [chapter["norm_at"](run) for run in runs]
    clocks = [float(run.lambd) * chapter["reached"](run["test accuracy"], 0.5) for run in runs]
    assert max(norms) / min(norms) < 1.05
    assert max(clocks) / min(clocks) > 1.8
