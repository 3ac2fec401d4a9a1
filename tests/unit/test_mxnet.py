"""The retired MXNet on a current NumPy, and the programs of its chapter against one another and against PyTorch."""

import itertools
import json
import os
import subprocess
import sys
import threading

import nbformat
import numpy as np
import pytest
import torch
import xarray as xr
from nbclient import NotebookClient
from notebooks import ROOT, functions_of

from weightdecay.mxnet import context, mx, why_not

# Where the book is checked for everybody, on Linux, the lack of MXNet is a failure and no reason to skip.
needs_mxnet = pytest.mark.skipif(
    mx is None and not ("CI" in os.environ and sys.platform == "linux"), reason=why_not or "MXNet is here"
)
# MXNet looks at scipy.sparse.csr, the old name of a module, whenever it makes an array.
pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")
SETTINGS = {"batch_size": 6, "num_epochs": 60}  # batches of 6, 6, 6 and 2; 240 steps


def run(program):
    """Run a program in a fresh process; return what it prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.fixture
def chapter(monkeypatch):
    monkeypatch.chdir(ROOT / "book")
    return functions_of("gluon")


@pytest.fixture
def weights_of(chapter):
    """A function that runs one of the chapter's programs and returns w and b after every epoch, one row each."""
    chapter["losses"] = lambda w, b, *data: {"w": w.ravel().copy(), "b": b.copy()}

    def weights(program, *args, **options):
        return np.array([np.hstack([seen["w"], seen["b"]]) for _, seen in chapter[program](*args, **options)])

    return weights


@needs_mxnet
def test_importing_it_leaves_numpy_and_the_others_as_they_were():
    program = """
import numpy
before = set(dir(numpy))
from weightdecay.mxnet import mx, why_not
assert mx.__version__ == "1.9.1" and why_not == ""
assert set(dir(numpy)) == before
import torch, xarray
from sklearn.linear_model import Ridge
X = mx.nd.ones((4, 2)).asnumpy()
assert torch.from_numpy(X).sum() == xarray.DataArray(X).sum() == 8
assert abs(Ridge(alpha=1).fit(X, X[:, 0]).predict(X)[0] - 1) < 1e-6
print("fine")
"""
    assert run(program) == "fine"


@needs_mxnet
def test_gluon_autograd_and_the_data_loader_work_afterwards():
    mx.random.seed(0)
    X = mx.nd.random.normal(shape=(10, 3))
    y = mx.nd.dot(X, mx.nd.array([[1], [2], [3]]))
    net = mx.gluon.nn.Dense(1)
    net.initialize()
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    batches = mx.gluon.data.DataLoader(mx.gluon.data.ArrayDataset(X, y), 4, shuffle=True)
    for _ in range(200):
        for inputs, targets in batches:
            with mx.autograd.record():
                loss = (net(inputs) - targets) ** 2 / 2
            loss.backward()
            trainer.step(len(inputs))
    np.testing.assert_allclose(net.weight.data().asnumpy(), [[1, 2, 3]], rtol=1e-4)


@pytest.mark.parametrize(
    ("system", "machine", "sentence"),
    [
        ("linux", "x86_64", "MXNet is not installed: run `pip install --no-deps mxnet==1.9.1 requests setuptools`."),
        ("win32", "AMD64", "on AMD64: use Colab, or Linux, to run it."),
        ("darwin", "arm64", "on arm64: use Colab, or Linux, to run it."),
    ],
)
def test_without_it_the_module_imports_and_says_why(system, machine, sentence):
    program = f"""
import sys, platform, weightdecay
sys.modules["mxnet"] = None  # as if it were not installed
sys.platform, platform.machine = {system!r}, lambda: {machine!r}
from weightdecay.mxnet import context, mx, why_not
assert mx is None and context() is None
print(why_not)
"""
    said = run(program)
    assert said.endswith(sentence)
    assert len(said.splitlines()) == 1


@needs_mxnet
def test_a_package_that_it_needs_is_named():
    program = """
import sys
sys.modules["requests"] = None
from weightdecay.mxnet import mx, why_not
import numpy
assert mx is None and not hasattr(numpy, "PZERO")
print(why_not)
"""
    assert run(program).startswith("requests, which MXNet imports, is not installed: run `pip install")


@needs_mxnet
def test_the_environment_can_ask_for_the_cpu(monkeypatch):
    monkeypatch.setattr(mx.context, "num_gpus", lambda: 1)
    assert context() == mx.gpu()
    monkeypatch.setenv("WEIGHTDECAY_DEVICE", "cpu")
    assert context() == mx.cpu()


@needs_mxnet
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_all_programs_walk_one_path(chapter, weights_of, momentum):
    gluon = SETTINGS | {"learning_rate": 0.005, "momentum": momentum}
    one = weights_of("train", 0.7, chapter["one_trainer"], **gluon)
    two = weights_of("train", 0.7, chapter["two_trainers"], **gluon)
    by_torch = weights_of("train_torch", 0.7, **SETTINGS, lr=0.005, momentum=momentum)
    by_nd = nd_loop(chapter, 0.7, lr=0.005, momentum=momentum, **SETTINGS)
    size = np.linalg.norm(one, axis=1, keepdims=True)
    assert one.shape == (60, 201)
    assert (abs(two - one) / size).max() < 1e-5
    assert (abs(by_nd - one) / size).max() < 1e-5
    assert (abs(by_torch - one) / size).max() < 1e-4


@needs_mxnet
def test_a_penalty_in_the_loss_is_divided_by_what_step_is_given(chapter, weights_of):
    """Batches of 19 and 1 out of 20: the penalty is λ/19 in one step and the whole λ in the other."""
    settings = {"batch_size": 19, "num_epochs": 30}
    in_loss, by_wd = weights_of("train", 0, penalty=2.0, **settings), weights_of("train", 2.0, **settings)
    assert (np.linalg.norm(in_loss, axis=1) > np.linalg.norm(by_wd, axis=1)).all()
    w, X, y, *_ = (torch.from_numpy(a) for a in chapter["start_and_data"]())
    w, b, rng, path = w.T.clone(), torch.zeros(1), np.random.default_rng(0), []
    for _ in range(30):
        for batch in chapter["batches_of"](19, rng):
            error = X[batch] @ w + b - y[batch]
            w = w - 0.003 / len(batch) * (X[batch].T @ error + 2.0 * w)
            b = b - 0.003 * error.mean(dim=0)
        path.append(np.hstack([w.ravel(), b]))
    assert (abs(np.array(path) - in_loss) / np.linalg.norm(in_loss, axis=1, keepdims=True)).max() < 1e-4


@needs_mxnet
def test_a_short_batch_takes_more_by_a_penalty_in_the_loss_and_no_more_by_wd(chapter):
    shrink, nominal = chapter["shrink"], chapter["shrink_nominal"]
    for sizes in ([7, 7, 6], [19, 1], [20]):
        counted = 1 - np.prod([1 - 0.003 * 2 / size for size in sizes])
        full = 1 - (1 - 0.003 * 2 / sizes[0]) ** len(sizes)
        assert shrink(sizes, 2, 0)["lost"] == pytest.approx(1 - (1 - 0.003 * 2) ** len(sizes), rel=1e-4)
        assert shrink(sizes, 0, 2)["lost"] == pytest.approx(counted, rel=1e-3)
        assert nominal(sizes, 0, 2)["lost"] == pytest.approx(full, rel=1e-3)
        assert nominal(sizes, 2, 0) == shrink(sizes, 2, 0)


@pytest.mark.parametrize("size", [6, 31])
def test_each_reading_of_the_penalty_has_its_own_factor(chapter, size):
    """λ/(2n), λ/(2|B|), λ/2 and λ without ½, with n = 31; the second is the first for the full batch alone."""
    rng = torch.Generator().manual_seed(3)
    X, y, w = (torch.randn(*shape, generator=rng, dtype=torch.double) for shape in ((size, 7), (size,), (7,)))
    shares = {"n": 1 / 31, "batch": 1 / size, "plain": 1, "no half": 2}

    def gap(share, factor):
        loss = chapter["squared_loss"]
        step = chapter["step_on"](lambda w: loss(X @ w, y).mean() + 0.7 * share * chapter["l2_penalty"](w), w)
        return (step - chapter["update"](w, X, y, factor)).norm() / w.norm()

    for one, share in shares.items():
        for other, factor in {name: 1 - 0.003 * 0.7 * share for name, share in shares.items()}.items():
            same = shares[one] == shares[other]
            assert same == (one == other or (size == 31 and {one, other} == {"n", "batch"}))
            assert (gap(share, factor) < 1e-13) == same
        assert gap(share, 1 - 31 * 0.7 / size) > 0.5  # n where η belongs


def nd_loop(chapter, lambd, lr, momentum, batch_size, num_epochs):
    """The same training with nd and autograd: w and b after every epoch."""
    w, X, y, *_ = (mx.nd.array(a) for a in chapter["start_and_data"]())
    params = [w.T, mx.nd.zeros(1)]
    velocity = [mx.nd.zeros_like(p) for p in params]
    for p in params:
        p.attach_grad()
    rng, path = np.random.default_rng(0), []
    for _ in range(num_epochs):
        for batch in chapter["batches_of"](batch_size, rng):
            rows = mx.nd.array(batch)
            with mx.autograd.record():
                y_hat = mx.nd.dot(X.take(rows), params[0]) + params[1]
                loss = chapter["squared_loss"](y_hat, y.take(rows)).mean() + lambd * chapter["l2_penalty"](params[0])
            loss.backward()
            for p, v in zip(params, velocity, strict=True):
                v[:] = momentum * v - lr * p.grad
                p[:] = p + v
        path.append(np.hstack([p.asnumpy().ravel() for p in params]))
    return np.array(path)


@needs_mxnet
def test_the_bias_decays_unless_it_is_exempt(chapter, weights_of):
    exempt, decayed = (weights_of("train", 3, chapter[name]) for name in ("one_trainer", "careless_trainer"))
    assert abs(decayed[-1, -1]) < 0.5 * abs(exempt[-1, -1])


@needs_mxnet
def test_training_in_a_thread_gives_what_the_main_thread_gives(weights_of):
    here, there = weights_of("train", 1, num_epochs=5), []
    thread = threading.Thread(target=lambda: there.append(weights_of("train", 1, num_epochs=5)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(there[0], here)


@needs_mxnet
def test_the_record_is_what_the_programs_give(chapter):
    recorded = xr.load_dataset(ROOT / "book/records/gluon.nc")
    results = json.loads(recorded.attrs["results"])
    again = chapter["with_gluon"](3, chapter["one_trainer"]) | chapter["bias_end"](chapter["one_trainer"], 10)
    kept = results["with_gluon 3 one_trainer"] | results["bias_end one_trainer 10"]
    assert again == pytest.approx(kept, rel=1e-3)
    assert set(itertools.product(chapter["lambdas"], chapter["batch_sizes"])) == set(
        itertools.product(recorded.lambd.values, recorded.batch_size.values)
    )
    for epoch, values in chapter["side_by_side"](3, 19):
        point = recorded.sel(lambd=3, batch_size=19, epoch=epoch)
        assert values == pytest.approx({name: point[name].item() for name in recorded.data_vars}, rel=1e-3)
    assert {"command", "seed", "versions", "device", "seconds", "created"} <= recorded.attrs.keys()


def test_the_chapter_runs_without_it():
    notebook = nbformat.read(ROOT / "book" / "gluon.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell('import sys; sys.modules["mxnet"] = None'))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": ROOT / "book"}}).execute()
    assert "it was recorded on" in str([cell.get("outputs") for cell in notebook.cells])
