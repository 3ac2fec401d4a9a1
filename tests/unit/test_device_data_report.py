"""The small modules: where the device is chosen, the data, and sentences with numbers."""

import re
import subprocess
import sys

import pytest
import torch
from tqdm import tqdm

from weightdecay import high_dim_regression, pick_device, report, say


def test_the_device_can_be_overridden(monkeypatch):
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("WEIGHTDECAY_DEVICE", "cpu")
    assert pick_device() == torch.device("cpu")


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"cannot train on 'cuda:1' here; choose one of:.*cpu"):
        pick_device("cuda:1")


def test_cuda_comes_before_mps_and_cpu(monkeypatch):
    monkeypatch.delenv("WEIGHTDECAY_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device().type == "mps"


def test_the_regression_has_its_shapes_and_its_truth():
    data = high_dim_regression(2000, 100, 5, weight=0.3, noise=0.0, dtype=torch.double)
    assert data.X_train.shape == (2000, 5)
    assert data.y_test.shape == (100, 1)
    X1 = torch.cat([data.X_train, torch.ones(2000, 1)], dim=1)
    solution = torch.linalg.lstsq(X1, data.y_train).solution.ravel()
    torch.testing.assert_close(solution, torch.tensor([0.3] * 5 + [0.05], dtype=torch.double))


def test_the_noise_has_its_size():
    noisy, clean = (high_dim_regression(4000, 1, 3, noise=noise) for noise in (0.5, 0.0))
    assert (noisy.y_train - clean.y_train).std().item() == pytest.approx(0.5, rel=0.05)


def test_one_seed_one_data_set():
    assert torch.equal(high_dim_regression(seed=3).X_train, high_dim_regression(seed=3).X_train)
    assert not torch.equal(high_dim_regression(seed=3).X_train, high_dim_regression(seed=4).X_train)


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="must be at least 1, got 0, 100, 200"):
        high_dim_regression(n_train=0)


def test_a_sentence_is_shown_and_its_numbers_are_glued(monkeypatch):
    shown = []
    monkeypatch.setattr("weightdecay.report.get_ipython", object)
    monkeypatch.setattr("weightdecay.report.display", lambda *args, **kwargs: shown.append((args, kwargs)))
    say("It falls {factor:.0f}-fold to {rest:.4f}.", factor=99.7, rest=0.01)
    assert shown[0][0][0].data == "It falls 100-fold to 0.0100."
    glued = {kw["metadata"]["scrapbook"]["name"]: args[0] for args, kw in shown[1:]}
    assert glued == {
        "factor": {"application/papermill.record/text/plain": "'100'"},
        "rest": {"application/papermill.record/text/plain": "'0.0100'"},
    }


def test_a_plain_script_prints_the_sentence(capsys):
    say("It falls {factor:.0f}-fold.", factor=99.7)
    assert capsys.readouterr().out == "It falls 100-fold.\n"


@pytest.mark.parametrize(("encoding", "shown"), [("cp1252", "\\u03bb"), ("utf-8", "λ"), ("cp1252:replace", "?")])
def test_a_plain_script_writes_into_every_file(monkeypatch, encoding, shown):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    program = "from weightdecay import say; say('λ = {x}', x=3); print('λ')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ended.stdout.decode(encoding.split(":")[0]).splitlines() == [f"{shown} = 3", shown]


def test_a_progress_bar_passes(monkeypatch):
    shown = []

    class Place:
        update = staticmethod(lambda data, raw: shown.append(data))

    monkeypatch.setattr(report, "display", lambda data, **_: shown.append(data) or Place())
    for _ in tqdm(range(3), file=report._PassingLine(), leave=False, mininterval=0, disable=False):
        pass
    assert [re.search(r"\d/3", line["text/plain"])[0] for line in shown[1:] if line] == ["1/3", "2/3", "3/3"]
    assert shown[0]
    assert shown[-1] == {}
    assert report.passing_line() is None  # here is no notebook
