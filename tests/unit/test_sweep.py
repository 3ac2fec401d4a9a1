"""sweep: what training yields becomes one dataset, whatever happens on the way."""

import functools
import io
import json
import math
import re
import subprocess
import sys
import time
import tomllib
import warnings
from pathlib import Path

import joblib
import nbformat
import numpy as np
import pytest
import torch
import xarray as xr
from notebooks import ROOT

from weightdecay import find_record, recorded, sweep
from weightdecay.sweep import DivergenceWarning, values_of


def shrink(lambd, lr=0.1, steps=5):
    """w shrinks from 1; the closed form is (1 - ηλ)^k."""
    w = 1.0
    for step in range(1, steps + 1):
        w *= 1 - lr * lambd
        yield step, {"w": w, "w squared": w**2}


def shrink_all(lambd, lr=0.1):
    w = torch.ones(len(lambd), 1)
    for step in range(1, 6):
        w = w * (1 - torch.as_tensor(lr) * torch.as_tensor(lambd))
        yield step, {"w": w, "w squared": w**2}


def interrupt_at_two(lambd):
    if lambd == 2:
        raise KeyboardInterrupt
    yield 1, {"w": lambd}


def fail_at_two(lambd):
    if lambd == 2:
        raise RuntimeError("no data")
    yield 1, {"w": lambd}


def explode(lambd, lr=1.0):
    w = torch.ones(len(lambd), 1) if np.ndim(lambd) else torch.ones(1)
    for step in range(1, 60):
        w = w * (1 - lr * torch.as_tensor(lambd, dtype=torch.float32))
        yield step, {"w": w, "loss": w**2}


def test_curves_meet_the_closed_form():
    curves = sweep(shrink, lambd=[0, 1, 3], lr=[0.1, 0.2])
    expected = (1 - curves.lr * curves.lambd) ** curves.step
    np.testing.assert_allclose(curves["w"], expected.transpose("lambd", "lr", "step"))
    assert dict(curves.sizes) == {"lambd": 3, "lr": 2, "step": 5}


def test_broadcasting_gives_the_same_dataset_as_looping():
    grid = {"lambd": [0, 1, 3], "lr": [0.1, 0.2]}
    loop, together = sweep(shrink, **grid), sweep(shrink_all, broadcast=True, **grid)
    xr.testing.assert_allclose(loop, together, rtol=1e-6)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_processes_and_threads_give_the_same_dataset(backend):
    with joblib.parallel_config(backend=backend):
        xr.testing.assert_identical(
            sweep(shrink, lambd=[0, 1, 3], n_jobs=2).drop_attrs(), sweep(shrink, lambd=[0, 1, 3]).drop_attrs()
        )


def test_a_single_value_is_handed_to_every_run():
    curves = sweep(shrink, lambd=[1], lr=0.5, dim="epoch", units={"epoch": "epochs"})
    assert curves["w"].sel(lambd=1, epoch=1) == 0.5
    assert curves.attrs["fixed"] == '{"lr": 0.5}'
    assert curves.epoch.attrs["units"] == "epochs"


def test_a_partial_function_can_be_swept():
    assert sweep(functools.partial(shrink, steps=2), lambd=[0]).sizes["step"] == 2


def test_runs_of_different_length_end_in_nan():
    curves = sweep(shrink, lambd=[1], steps=[2, 4])
    assert curves["w"].sel(steps=2).notnull().sum() == 2
    assert curves["w"].sel(steps=4).notnull().all()


def test_provenance_is_kept():
    attrs = sweep(shrink, lambd=[0]).attrs
    assert attrs["train"] == "shrink"
    assert attrs["device"] in {"cpu", "cuda", "mps"}
    assert "torch" in attrs["versions"]
    assert attrs["interrupted"] == ""


def test_a_dataset_survives_a_netcdf_file():
    curves = sweep(shrink, lambd=[0, 3])
    again = xr.load_dataset(io.BytesIO(curves.to_netcdf()), engine="scipy")
    np.testing.assert_array_equal(again["w"], curves["w"])
    assert again.attrs["train"] == "shrink"
    assert again["diverged"].values.tolist() == ["", ""]


@pytest.mark.parametrize("broadcast", [False, True])
def test_divergence_is_nan_from_that_step_on_and_says_when_and_why(broadcast):
    with pytest.warns(DivergenceWarning, match=r"lambd=30 diverged: at step 14 the loss is inf"):
        curves = sweep(explode, broadcast=broadcast, lambd=[0.5, 30])
    w = curves["w"].sel(lambd=30)
    assert np.isfinite(curves["loss"].sel(lambd=30, step=13))
    assert np.isnan(w.sel(step=slice(14, None))).all()
    assert np.isfinite(curves["w"].sel(lambd=0.5)).all()
    assert curves["diverged"].sel(lambd=0.5) == ""
    assert "step 14" in curves["diverged"].sel(lambd=30).item()


def test_ctrl_c_keeps_what_is_done():
    with pytest.warns(UserWarning, match="1 of 3 runs are kept"):
        curves = sweep(interrupt_at_two, lambd=[1, 2, 3])
    np.testing.assert_array_equal(curves["w"].sel(step=1), [1, np.nan, np.nan])
    assert curves.attrs["interrupted"] == "1 of 3 runs"


def test_an_exception_names_the_point():
    with pytest.raises(RuntimeError, match="no data") as caught:
        sweep(fail_at_two, lambd=[1, 2])
    assert caught.value.__notes__ == ["while training with {'lambd': 2}"]


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ({"lambd": [0, -1]}, "λ must not be negative, but it is -1: a negative λ makes the weights grow"),
        ({"lambd": [math.nan]}, "λ must be a finite number, but it is nan"),
        ({"lambd": [math.inf]}, "λ must be a finite number, but it is inf"),
        ({"lambd": [0], "lr": -0.1}, "learning rate η must not be negative"),
        ({"lambd": []}, "Nothing to sweep"),
        ({"lambd": 3}, "Nothing to sweep"),
    ],
)
def test_a_number_that_training_cannot_use_is_refused_in_one_sentence(grid, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        sweep(shrink, **grid)
    assert "\n" not in str(caught.value)


def test_forgetting_to_say_broadcast_is_an_error():
    with pytest.raises(ValueError, match="2 numbers for 'w' where 1 are expected"):
        sweep(lambda lambd: iter([(1, {"w": [1, 2]})]), lambd=[1])


def test_nothing_is_warned_about_a_run_that_goes_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sweep(shrink, lambd=[0, 1])


def note_and_shrink(lambd, notes):
    """Leaves a file for every run that is really made."""
    for value in np.ravel(lambd):
        (notes / f"{value:g} {time.monotonic_ns()}").touch()
        if value == 2 and not (notes / "mended").exists():
            raise KeyboardInterrupt
    yield from shrink_all(lambd) if np.ndim(lambd) else shrink(lambd)


def runs(notes):
    return sorted(float(path.name.split()[0]) for path in notes.iterdir() if path.name != "mended")


def test_a_sweep_that_was_stopped_goes_on_where_it_was(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    grid = {"lambd": [0.0, 1, 2, 3], "notes": notes, "store": tmp_path / "store"}
    with pytest.warns(UserWarning, match="Interrupted: 2 of 4 runs are kept"):
        sweep(note_and_shrink, **grid)
    (notes / "mended").touch()
    whole = sweep(note_and_shrink, **grid)
    assert runs(notes) == [0, 1, 2, 2, 3]  # what was finished was not repeated
    xr.testing.assert_equal(whole, sweep(shrink, lambd=[0.0, 1, 2, 3]))
    wider = sweep(note_and_shrink, **grid | {"lambd": [3, 0.5, 0]})
    assert runs(notes) == [0, 0.5, 1, 2, 2, 3]
    xr.testing.assert_equal(wider, sweep(shrink, lambd=[3, 0.5, 0]))


@pytest.mark.parametrize("together", [1, 2, 3, True])
def test_a_broadcast_sweep_can_go_in_parts(tmp_path, together):
    grid = {"lambd": [0, 1, 3], "lr": [0.1, 0.2]}
    for _ in range(2):
        parts = sweep(shrink_all, broadcast=together, store=tmp_path, **grid)
        xr.testing.assert_allclose(parts, sweep(shrink, **grid), rtol=1e-6)


def test_another_program_is_another_run(tmp_path):
    assert sweep(shrink, store=tmp_path, lambd=[1])["w"][0, -1] == pytest.approx(0.9**5)
    assert sweep(functools.partial(shrink, lr=0.2), store=tmp_path, lambd=[1])["w"][0, -1] == pytest.approx(0.8**5)
    assert sweep(functools.partial(shrink, steps=2), store=tmp_path, lambd=[1])["w"][0, -1] == pytest.approx(0.9**2)
    with pytest.raises(ValueError, match="A store needs the text of train"):
        sweep(eval("lambda lambd: iter([(1, {'w': lambd})])"), store=tmp_path, lambd=[1])


def test_a_record_is_made_once_and_says_how(tmp_path):
    made = []

    def make():
        made.append(sweep(shrink, lambd=[0, 1]))
        return made[-1]

    first, second = (recorded(tmp_path / "a.nc", make, command="make it", seed=3) for _ in "ab")
    xr.testing.assert_identical(first, second)
    assert len(made) == 1
    assert first.attrs["command"] == "make it"
    assert first.attrs["seed"] == 3
    assert first["w"].dtype == np.float32
    xr.testing.assert_allclose(first, made[0], rtol=1e-6)
    with pytest.raises(ZeroDivisionError):
        recorded(tmp_path / "b.nc", lambda: 1 / 0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A repository with one chapter, from which the library is used; the reader is in another folder."""
    book, elsewhere = tmp_path / "repository" / "book", tmp_path / "elsewhere"
    (book / "records").mkdir(parents=True)
    (book / "adder.ipynb").touch()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys.modules["weightdecay.sweep"], "BOOK", book)
    return book


def make():
    return sweep(shrink, lambd=[0, 1])


@pytest.mark.parametrize("folder", [".", "book", "elsewhere"])
def test_the_books_records_are_found_from_every_folder(folder, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / folder if folder == "elsewhere" else ROOT / folder)
    records = list((ROOT / "book" / "records").glob("*.nc"))
    assert records
    assert all(find_record(path.name).samefile(path) for path in records)


def test_a_program_elsewhere_finds_the_books_records(tmp_path):
    program = "from weightdecay import recorded; print(*recorded('batchnorm.nc', exit).sizes)"
    command = [sys.executable, "-W", "ignore", "-c", program]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "step" in ended.stdout
    assert ended.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["adder.nc", "adder-small.nc"])
def test_a_record_of_the_book_is_made_in_the_book(book, name):
    made = recorded(name, make)
    assert find_record(name) == book / "records" / name
    assert json.loads((book / "records" / "seconds.json").read_text()) == {name: made.attrs["seconds"]}
    assert list(Path().iterdir()) == []
    xr.testing.assert_identical(recorded(name, exit), made)


def test_a_readers_own_record_lies_where_the_reader_is(book):
    (book / "records" / "mine.nc").touch()
    for name in ("mine.nc", "adders.nc", "records/adder.nc"):
        recorded(name, make)
    assert sorted(str(path) for path in Path().rglob("*.nc")) == ["adders.nc", "mine.nc", "records/adder.nc"]
    assert [path.name for path in (book / "records").iterdir()] == ["mine.nc"]
    (book / "records" / "adder.nc").touch()
    Path("mine.nc").rename("adder.nc")
    assert find_record("adder.nc") == Path("adder.nc")  # what was put here on purpose comes first


def test_a_notebook_alone_finds_the_record_that_is_installed(tmp_path, monkeypatch):
    installed = tmp_path / "records"
    installed.mkdir()
    monkeypatch.setattr(sys.modules["weightdecay.sweep"], "BOOK", tmp_path / "nowhere")
    monkeypatch.setattr(sys.modules["weightdecay.sweep"], "INSTALLED", installed)
    monkeypatch.chdir(tmp_path)
    assert find_record("a.nc") == Path("a.nc")
    made = recorded("a.nc", make)
    Path("a.nc").rename(installed / "a.nc")
    assert find_record("a.nc") == installed / "a.nc"
    xr.testing.assert_identical(recorded("a.nc", exit), made)
    Path("a.nc").touch()
    assert find_record("a.nc") == Path("a.nc")


def test_the_records_are_installed_with_the_library():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "weightdecay.records" in project["tool"]["setuptools"]["packages"]
    assert project["tool"]["setuptools"]["package-dir"]["weightdecay.records"] == "book/records"
    assert project["tool"]["setuptools"]["package-data"]["weightdecay.records"] == ["*.nc"]
    assert not list((ROOT / "book").glob("*.nc"))


def test_making_a_record_is_announced_at_once_with_the_time_it_took(book, capfd):
    said = []

    def slowly():
        said.append(capfd.readouterr().err)
        return make().assign_attrs(seconds=3770)

    recorded("adder.nc", slowly)
    (book / "records" / "adder.nc").unlink()
    recorded("adder.nc", slowly)
    recorded("mine.nc", slowly)
    recorded("mine.nc", exit)
    assert said == [
        "There is no adder.nc, so it is made now.\n",
        "There is no adder.nc, so it is made now, which took 63 minutes last time.\n",
        "There is no mine.nc, so it is made now.\n",
    ]
    assert capfd.readouterr().err == ""


def test_the_times_of_the_books_records_are_known():
    times = json.loads((ROOT / "book" / "records" / "seconds.json").read_text())
    cells = [
        cell.source for path in (ROOT / "book").glob("*.ipynb") for cell in nbformat.read(path, as_version=4).cells
    ]
    names = {name.replace("{suffix}", "") for cell in cells for name in re.findall(r'recorded\(f?"([^"]+)"', cell)}
    assert times == {name: xr.load_dataset(find_record(name)).attrs["seconds"] for name in names}


@pytest.mark.parametrize("content", [b"", b"CDF", b"my own notes", "truncated"])
def test_a_file_that_is_no_record_is_left_as_it_is(tmp_path, content):
    path = tmp_path / "a.nc"
    if content == "truncated":
        recorded(path, make)
        content = path.read_bytes()[:20]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.nc is no record that can be read: move it away to have it made") as caught:
        recorded(path, exit)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_record_overwrites_nothing(tmp_path):
    (tmp_path / "a.part").write_bytes(b"my own")

    def make_while_another_is_quicker():
        recorded(tmp_path / "a.nc", make, command="quicker")
        return make()

    assert recorded(tmp_path / "a.nc", make_while_another_is_quicker, command="slower").attrs["command"] == "quicker"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nc", "a.part"]
    assert (tmp_path / "a.part").read_bytes() == b"my own"


@pytest.mark.filterwarnings("ignore:Interrupted")
def test_an_interrupted_sweep_leaves_no_record(tmp_path):
    with pytest.raises(RuntimeError, match=r"only 1 of 2 runs ended: run this again"):
        recorded(tmp_path / "a.nc", lambda: sweep(interrupt_at_two, lambd=[1, 2], n_jobs=1))
    assert not list(tmp_path.iterdir())


def validate_at_last(lambd):
    """The commonest training loop: the loss at each epoch, the accuracy now and then."""
    for epoch in range(4):
        yield epoch, {"train loss": 1 / (epoch + 1)} | ({"test accuracy": 0.9 - lambd} if epoch == 3 else {})


def validate_every_second(lambd):
    for epoch in range(6):
        yield epoch, {"loss": lambd + epoch} | ({"accuracy": lambd * epoch} if epoch % 2 else {})


def validate_all_every_second(lambd):
    for epoch, values in validate_every_second(np.ravel(lambd)):
        yield epoch, {name: torch.as_tensor(value) for name, value in values.items()}


def test_what_is_not_yielded_is_nan_and_nothing_is_invented():
    curves = sweep(validate_at_last, lambd=[0, 0.5])
    np.testing.assert_array_equal(curves["test accuracy"], [[np.nan] * 3 + [0.9], [np.nan] * 3 + [0.4]])
    assert curves["train loss"].notnull().all()


@pytest.mark.parametrize("together", [False, True, 2])
@pytest.mark.parametrize("stored", [False, True])
def test_a_metric_may_come_at_some_steps_only(tmp_path, together, stored):
    train = validate_all_every_second if together else validate_every_second
    for _ in range(1 + stored):  # the second time from the store
        curves = sweep(train, lambd=[0, 1, 2], broadcast=together, store=tmp_path if stored else None)
        expected = [[np.nan, n, np.nan, 3 * n, np.nan, 5 * n] for n in range(3)]
        np.testing.assert_array_equal(curves["accuracy"], expected)
        np.testing.assert_array_equal(curves["loss"], [[n + epoch for epoch in range(6)] for n in range(3)])


def test_what_is_yielded_as_none_is_not_yielded():
    curves = sweep(lambda lambd: iter([(1, {"a": None, "b": 1}), (2, {"a": 3, "b": None})]), lambd=[0])
    np.testing.assert_array_equal(curves["a"], [[np.nan, 3]])
    np.testing.assert_array_equal(curves["b"], [[1, np.nan]])
    assert curves["diverged"].values.tolist() == [""]


def test_two_yields_at_one_step_are_put_together():
    curves = sweep(lambda lambd: iter([(1, {"a": 1}), (1, {"b": 2}), (2, {"a": 3})]), lambd=[0])
    np.testing.assert_array_equal(curves["a"], [[1, 3]])
    np.testing.assert_array_equal(curves["b"], [[2, np.nan]])


def test_runs_may_yield_other_steps_and_other_names():
    def train(lambd):
        for step in range(lambd + 1, 8, lambd + 1):
            yield step, {"loss": step, f"only at {lambd}": -step}

    curves = sweep(train, lambd=[0, 1, 2])
    assert curves.step.values.tolist() == [1, 2, 3, 4, 5, 6, 7]
    for lambd in range(3):
        own = [step if step % (lambd + 1) == 0 else np.nan for step in range(1, 8)]
        np.testing.assert_array_equal(curves["loss"].sel(lambd=lambd), own)
        np.testing.assert_array_equal(-curves[f"only at {lambd}"].sel(lambd=lambd), own)
        assert curves[f"only at {lambd}"].drop_sel(lambd=lambd).isnull().all()


def test_a_run_that_yields_nothing_is_nan_and_is_told():
    with pytest.warns(UserWarning, match="lambd=2 yields nothing, so its row is NaN"):
        curves = sweep(lambda lambd: iter([] if lambd == 2 else [(1, {"w": lambd})]), lambd=[1, 2])
    np.testing.assert_array_equal(curves["w"], [[1], [np.nan]])
    with pytest.raises(ValueError, match="train yields nothing: it has to yield"):
        sweep(lambda lambd: iter([]), lambd=[1, 2])


@pytest.mark.parametrize(
    ("yielded", "sentence"),
    [
        ({"w": 1}, r"train has to yield \(step, \{.*\}\), but it yields \{'w': 1\}"),
        ((1, 2.0), "but it yields \\(1, 2.0\\)"),
        (("first", {"w": 1}), "train yields the step 'first', which is no finite number"),
        ((math.nan, {"w": 1}), "train yields the step nan, which is no finite number"),
    ],
)
def test_something_else_than_a_step_and_a_dict_is_refused(yielded, sentence):
    with pytest.raises(ValueError, match=sentence):
        sweep(lambda lambd: iter([yielded]), lambd=[1])


def test_divergence_holds_for_metrics_that_come_later():
    def train(lambd):
        yield from [(1, {"loss": 1}), (2, {"loss": math.inf}), (3, {"loss": 2, "accuracy": 0.5})]

    with pytest.warns(DivergenceWarning, match="lambd=1 diverged: at step 2 the loss is inf"):
        curves = sweep(train, lambd=[1])
    np.testing.assert_array_equal(curves["loss"], [[1, np.nan]])


def run_by_name(optimizer, lr, nesterov=False, eps=0):
    """Strings, booleans and None as people sweep them; what train gets is what they gave."""
    assert isinstance(optimizer, str)
    assert isinstance(nesterov, bool)
    w = math.inf if lr == 2.0 and optimizer == "sgd" else len(optimizer) * lr + nesterov
    yield 1, {"w": w, "eps given": eps is not None}


def test_strings_can_be_swept_and_divergence_names_them():
    with pytest.warns(DivergenceWarning, match="optimizer=sgd, lr=2 diverged"):
        curves = sweep(run_by_name, optimizer=["sgd", "adam"], lr=[0.1, 2.0])
    np.testing.assert_allclose(curves["w"].sel(step=1), [[0.3, np.nan], [0.4, 8.0]])
    assert curves["w"].sel(optimizer="adam", lr=2.0, step=1) == 8


def test_booleans_none_and_mixed_values_can_be_swept_and_recorded(tmp_path):
    def make():
        return sweep(run_by_name, optimizer=["sgd", "adam"], lr=[1], nesterov=[False, True], eps=[None, 1e-8, "auto"])

    made, again = (recorded(tmp_path / "a.nc", make) for _ in "ab")
    xr.testing.assert_identical(made, again)
    assert again["w"].sel(optimizer="adam", nesterov=True).values.ravel().tolist() == [5, 5, 5]
    assert again["eps given"].sel(eps="None").values.ravel().tolist() == [0] * 4
    assert [values_of(again[name]) for name in ("optimizer", "lr", "nesterov", "eps")] == [
        ["sgd", "adam"], [1], [False, True], [None, 1e-8, "auto"],
    ]  # fmt: skip
    assert values_of(again.isel(eps=[2, 0]).eps) == ["auto", None]


def test_names_can_be_swept_at_once_and_from_a_store(tmp_path):
    def train(optimizer):
        yield 1, {"w": [len(name) for name in np.ravel(optimizer)]}

    for _ in "ab":
        curves = sweep(train, broadcast=True, optimizer=["sgd", "adam", "lion"], store=tmp_path)
        assert curves["w"].values.ravel().tolist() == [3, 4, 4]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([math.sin, math.cos], "activation holds <built-in function sin>, which no record can keep: sweep names"),
        ([None, "None"], "activation holds values that read the same: None, None"),
    ],
)
def test_what_no_record_can_keep_is_refused_before_training(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        sweep(lambda activation: 1 / 0, activation=values)


def test_what_no_file_can_hold_is_not_lost(tmp_path):
    def make():
        return sweep(lambda lambd: iter([(1, {"‖w‖": lambd})]), lambd=[1, 2])

    with pytest.warns(UserWarning, match="a.nc is not stored, only returned"):
        made = recorded(tmp_path / "a.nc", make)
    assert made["‖w‖"].values.ravel().tolist() == [1, 2]
    assert not list(tmp_path.iterdir())
