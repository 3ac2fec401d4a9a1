"""The tape of a training loop: recorded, written short, translated, and run again at another λ."""

import copy
import json
import random
import warnings

import cloudpickle
import numpy as np
import pytest
import torch
from notebooks import ROOT
from torch import nn

from weightdecay import live, sweep, traced
from weightdecay.stack import BatchNorm
from weightdecay.tape import check, compact, expand, play, record

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum(dim=1)


@traced
def step(w, X, y, batch, lambd, lr=0.1):
    """One step of SGD with the gradient from autograd, in place as in a notebook."""
    w = w.clone().requires_grad_()
    loss = ((X[batch] @ w - y[batch]) ** 2).mean() / 2 + lambd / 2 * (w @ w)
    loss.backward()
    with torch.no_grad():
        w -= lr * w.grad
    return w.detach()


@traced
def losses(w, X, y):
    return {"loss": ((X @ w - y) ** 2).mean() / 2, "w norm": w.norm()}


def train(lambd, num_epochs=20):
    rng = torch.Generator().manual_seed(1)
    w = torch.zeros(3)
    for epoch in range(1, num_epochs + 1):
        for batch in torch.randperm(12, generator=rng).split(4):
            w = step(w, X, Y, batch, lambd)
        yield epoch, losses(w, X, Y)


@pytest.fixture(scope="module")
def program():
    return record(train, {"lambd": 1.0}).program()


def curves_of(run):
    return [(step, {name: float(value) for name, value in values.items()}) for step, values in run]


def played(program, **params):
    return [(step, {name: value.item() for name, (value, _) in row.items()}) for step, row in play(program, params)]


@pytest.mark.parametrize("lambd", [0, 0.17, 3.3])
def test_the_tape_says_what_train_says_at_another_lambda(program, lambd):
    for (step, row), (expected_step, expected) in zip(
        played(program, lambd=lambd), curves_of(train(lambd)), strict=True
    ):
        assert step == expected_step
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_a_traced_function_is_the_function_itself():
    w, batch = torch.ones(3), torch.arange(4)
    assert torch.equal(step(w, X, Y, batch, 0.5), step.__wrapped__(w, X, Y, batch, 0.5))
    assert step.__name__ == "step"
    assert "One step" in step.__doc__


def test_a_traced_function_of_a_notebook_goes_to_other_processes():
    space = {"traced": traced, "__name__": "__main__"}
    cell = "@traced\ndef double(w):\n    return 2 * w\n\ndef train(lambd):\n    yield 1, {'w': double(lambd)}"
    exec(cell, space)
    assert cloudpickle.loads(cloudpickle.dumps(space["double"]))(2) == 4
    assert next(cloudpickle.loads(cloudpickle.dumps(space["train"]))(3)) == (1, {"w": 6})


def test_the_program_is_what_the_page_reads(program):
    assert program["params"] == ["lambd"]
    assert set(program["functions"]) == {"step", "losses"}
    assert len(program["functions"]["losses"]["outputs"]) == 2
    assert all(len(function["graph"]) < 2500 for function in program["functions"].values())
    kinds = [(constant["type"], constant["shape"]) for constant in program["constants"]]
    assert kinds.count(("float32", [12, 3])) == kinds.count(("float32", [12])) == 1  # X and y stand there once
    assert kinds.count(("int64", [4])) == 60
    assert program["depth"] == 2


def test_names_and_doc_strings_are_left_out(program):
    import onnx

    for function in program["functions"].values():
        model = onnx.load_from_string(function["graph"])
        assert [one.name for one in model.graph.input] == [f"i{k}" for k in range(len(model.graph.input))]
        assert not any(node.name or node.doc_string or node.metadata_props for node in model.graph.node)
        assert not model.graph.value_info


def test_regular_calls_weigh_next_to_nothing():
    items = []
    for k in range(30_000):
        items.append((["call", "step", [["o", 1, 0], ["c"], ["p", "lambd"]]], (k % 3,)))
        if k % 3 == 2:
            items.append((["yield", {"loss": ["o", 1, 0]}], (k + 1,)))
    short = compact(items)
    assert len(str(short)) < 400
    assert list(expand(short)) == items


@pytest.mark.parametrize("seed", range(30))
def test_what_is_written_short_can_be_read_again(seed):
    rng = random.Random(seed)

    def some(depth=0):
        """Random items, some of them in loops with numbers in strides, and some of them disturbed."""
        if depth == 3 or rng.random() < 0.3:
            if rng.random() < 0.3:
                return [
                    (["yield", {"a": ["o", 1, 0], "b": ["c"]}], (rng.choice([rng.randrange(9), 0.5]), rng.randrange(4)))
                ]
            refs = [rng.choice([["c"], ["p", "lambd"], ["o", rng.randrange(1, 3), 0]]) for _ in range(rng.randrange(4))]
            used = tuple(rng.randrange(5) for ref in refs if ref == ["c"])
            return [(["call", rng.choice("fg"), refs], used)]
        body = [item for _ in range(rng.randrange(1, 4)) for item in some(depth + 1)]
        stride = rng.randrange(3)
        rounds = [
            (template, tuple(n + k * stride if isinstance(n, int) else n for n in used))
            for k in range(rng.randrange(1, 9))
            for template, used in body
        ]
        if rng.random() < 0.3 and rounds:
            rounds.insert(rng.randrange(len(rounds)), rng.choice(rounds))
        return rounds

    items = [item for _ in range(4) for item in some()]
    assert list(expand(compact(items))) == items


def test_each_plain_argument_and_each_shape_has_a_graph_of_its_own():
    def train(lambd):
        w = torch.ones(3)
        for lr, batch in (
            (0.1, torch.arange(4)),
            (0.2, torch.arange(4)),
            (0.2, torch.arange(2)),
            (0.1, torch.arange(4)),
        ):
            w = step(w, X, Y, batch, lambd, lr=lr)
        yield 1, losses(w, X, Y)

    program = record(train, {"lambd": 1.0}).program()
    assert set(program["functions"]) == {"step", "step 2", "step 3", "losses"}
    check(program, train, {"lambd": 0.3})


def test_plain_arguments_that_always_change_are_refused():
    @traced
    def power(w, t, lambd):
        return w * lambd**t

    def train(lambd):
        w = torch.ones(1)
        for t in range(100):
            w = power(w, t, lambd)
        yield 1, {"w": w}

    with pytest.raises(ValueError, match=r"power is called with more than 16 different plain values .* as a tensor"):
        record(train, {"lambd": 1.0})


def test_functions_take_and_return_lists_and_dicts_and_call_each_other():
    @traced
    def decay(w, lambd):
        return (1 - 0.1 * lambd) * w

    @traced
    def both(state, lambd):
        return {"a": [decay(w, lambd) for w in state["a"]], "t": state["t"] + 1}

    def train(lambd):
        state = {"a": [torch.ones(2), torch.ones(3)], "t": torch.tensor(0.0)}
        for k in range(5):
            state = both(state, lambd)
            yield k, norms(state)

    @traced
    def norms(state):
        return {"first": state["a"][0].norm(), "second": state["a"][1].norm(), "t": state["t"]}

    program = record(train, {"lambd": 1.0}).program()
    assert set(program["functions"]) == {"both", "norms"}
    check(program, train, {"lambd": 0.3})


def test_what_is_made_once_and_used_for_ever_leaves_the_tape_short():
    @traced
    def columns(lambd):
        return lambd / 2, 2 * lambd

    @traced
    def shrink(w, half, double):
        return w * (1 - 0.1 * half - 0.1 * double)

    def train(lambd):
        half, double = columns(lambd)
        w = torch.ones(2)
        for k in range(500):
            w = shrink(w, half, double)
            if k % 10 == 9:
                yield k, losses(w, X[:, :2], Y)

    program = record(train, {"lambd": 0.01}).program()
    assert program["depth"] <= 3
    assert len(str(program["items"])) < 1000
    check(program, train, {"lambd": 0.02})


def test_a_run_that_grows_hides_nothing_at_its_start():
    @traced
    def grow(w, lambd):
        return w * (2 + lambd)

    def train(lambd):
        w = torch.ones(())
        for k in range(60):
            w = grow(w, lambd)
            yield k, {"w": w + 0.1 * lambd}  # in the notebook, not in a traced function

    with pytest.raises(ValueError, match=r"w = .* at step 0,"):
        check(record(train, {"lambd": 1.0}).program(), train, {"lambd": 0.3})


def test_what_is_yielded_may_be_a_constant_and_may_be_missing():
    def train(lambd):
        w = torch.ones(3)
        for k in range(6):
            w = step(w, X, Y, torch.arange(4), lambd)
            shown = losses(w, X, Y)
            yield k, {"loss": shown["loss"], "target": 0.25, "w norm": shown["w norm"] if k % 2 else None}

    program = record(train, {"lambd": 1.0}).program()
    check(program, train, {"lambd": 0.3})
    assert [sorted(row) for _, row in played(program, lambd=0)][:2] == [
        ["loss", "target"],
        ["loss", "target", "w norm"],
    ]


def batchnorm_training(lambd):
    """Batch statistics in training, running ones in the test, and the derivative of both."""
    rng = torch.Generator().manual_seed(0)
    W, mean, var = torch.randn(4, 3, generator=rng), torch.zeros(4), torch.ones(4)
    for k in range(5):
        W, mean, var, loss = batchnorm_step(W, mean, var, X, Y, lambd)
        yield k, {"loss": loss, "test": batchnorm_test(W, mean, var, X)}


@traced
def batchnorm_step(W, mean, var, X, y, lambd):
    W, mean, var = W.clone().requires_grad_(), mean.clone(), var.clone()
    z = nn.functional.batch_norm(X @ W.T, mean, var, training=True).relu().sum(dim=1)
    loss = ((z - y) ** 2).mean() + lambd * (W**2).sum()
    loss.backward()
    return W.detach() - 0.1 * W.grad, mean, var, loss.detach()


@traced
def batchnorm_test(W, mean, var, X):
    return nn.functional.batch_norm(X @ W.T, mean, var, training=False).square().mean()


def test_constants_stay_with_their_names_where_keys_come_back_sorted():
    """As in a notebook's file, which the page's program is read from."""

    def train(lambd):
        for step in range(1, 4):
            yield step, {"slope": torch.tensor(2.0 * step), "decayed": double(lambd), "data": torch.tensor(-1.0 * step)}

    program = record(train, {"lambd": 0.5}).program()
    program["items"] = json.loads(json.dumps(program["items"], sort_keys=True))
    found = [
        (step, {name: value.item() for name, (value, _) in row.items()}) for step, row in play(program, {"lambd": 3})
    ]
    assert found == [(step, {"slope": 2.0 * step, "decayed": 6.0, "data": -1.0 * step}) for step in range(1, 4)]


@traced
def double(value):
    return 2 * value


def test_batchnorm_is_trained_with_the_statistics_of_the_batch():
    check(record(batchnorm_training, {"lambd": 1.0}).program(), batchnorm_training, {"lambd": 0.3})


def test_the_epsilon_of_batchnorm_may_be_a_knob():
    @traced
    def out(state, x, net, training):
        return torch.func.functional_call(net.train(training), state, x).square().mean()

    def train(eps):
        net = BatchNorm(3, 1, eps)
        net.weight.data[0, 0] = 2.0
        state = dict(net.named_parameters()) | dict(net.named_buffers())
        for training in (True, False):
            yield int(training), {"out": out(state, X.T[None], net, training)}

    check(record(train, {"eps": 1.0}).program(), train, {"eps": 0.1})


def test_a_very_small_epsilon_is_kept():
    @traced
    def adam_like(g, lambd):
        return (1 - lambd) * g / (g.square().sqrt() + 1e-8)

    def train(lambd):
        yield 1, {"step": adam_like(torch.tensor(0.0), lambd)}

    check(record(train, {"lambd": 0.5}).program(), train, {"lambd": 0.3})


def tampered(program, name, old="Sub", new="Add"):
    """The program with one operation of one graph replaced."""
    import onnx

    program = copy.deepcopy(program)
    model = onnx.load_from_string(program["functions"][name]["graph"])
    node = next(node for node in model.graph.node if node.op_type == old)
    node.op_type = new
    program["functions"][name]["graph"] = model.SerializeToString()
    return program


@pytest.mark.parametrize("name", ["step", "losses"])
def test_one_wrong_sign_is_found(program, name):
    check(program, train, {"lambd": 0.17})
    with pytest.raises(
        ValueError, match=r"At lambd = 0.17 the tape says .* at step 1, made by losses, where train says"
    ):
        check(tampered(program, name), train, {"lambd": 0.17})


def test_another_number_in_the_tape_is_found(program):
    wrong = copy.deepcopy(program)
    data = np.frombuffer(wrong["constants"][1]["data"], np.float32).copy()
    data[0] *= 1.1
    wrong["constants"][1]["data"] = data.tobytes()
    with pytest.raises(ValueError, match="the tape says"):
        check(wrong, train, {"lambd": 0.17})


@pytest.mark.parametrize("how", ["outside", "float", "item", "yielded", "steps", "in place"])
def test_lambda_outside_a_traced_function_is_found(how):
    def train(lambd):
        w = torch.ones(3)
        for k in range(1, 6 if how != "steps" or lambd == 1 else 4):
            used = {"outside": lambda: 2 * lambd, "float": lambda: float(lambd),
                    "item": lambda: lambd.item() if isinstance(lambd, torch.Tensor) else lambd}  # fmt: skip
            w = step(w, X, Y, torch.arange(4), used.get(how, lambda: lambd)())
            if how == "in place":
                w *= 1 - 0.1 * lambd
            yield k, {"w norm": w.norm()} if how == "yielded" else losses(w, X, Y)

    program = record(train, {"lambd": 1.0}).program()
    check(program, train, {"lambd": 1.0})  # where it was recorded nothing is wrong
    made = "no traced function" if how == "yielded" else "losses"
    found = "train yields something else" if how == "steps" else f"at step 1, made by {made}, where train says"
    with pytest.raises(ValueError, match=found):
        check(program, train, {"lambd": 0.3})


@pytest.mark.parametrize("take", [float, torch.Tensor.item, bool])
def test_a_number_taken_out_of_a_tensor_inside_is_refused_with_a_sentence(take):
    @traced
    def scaled(w, lambd):
        return w * take(lambd)

    def train(lambd):
        yield 1, {"w": scaled(torch.ones(1), lambd)}

    tape = record(train, {"lambd": 1.0})
    with pytest.raises(Exception) as caught:  # noqa: PT011, what PyTorch raises is its own
        tape.program()
    assert any("while scaled was translated" in note for note in caught.value.__notes__)


def test_what_training_magnifies_is_allowed_and_no_more():
    @traced
    def chaotic(x, lambd):
        return 3.9 * x * (1 - x) * (1 - lambd)

    def train(lambd, n=200):
        x = torch.tensor(0.4)
        for k in range(n):
            x = chaotic(x, lambd)
            yield k, {"x": x}

    program = record(train, {"lambd": 0.0}).program()
    check(program, train, {"lambd": 0.01})
    check(program, train, {"lambd": 0.0})
    with pytest.raises(ValueError, match="at step 0, made by chaotic"):
        check(tampered(program, "chaotic"), train, {"lambd": 0.01})


def test_a_run_that_diverges_is_compared_as_far_as_it_is_finite(program):
    check(program, train, {"lambd": 1e6})


def test_a_traced_function_returns_tensors_only():
    @traced
    def count(w, lambd):
        return 3.0

    def train(lambd):
        yield 1, {"count": count(torch.ones(1), lambd)}

    with pytest.raises(ValueError, match=r"count returns 3.0: a traced function returns tensors only"):
        record(train, {"lambd": 1.0})


def test_numbers_of_another_kind_are_refused():
    def train(lambd):
        yield 1, {"loss": step(torch.ones(3), X, Y, torch.arange(4, dtype=torch.int32), lambd)}

    with pytest.raises(ValueError, match="A tape holds float32, float64, int64, bool, but here is int32"):
        record(train, {"lambd": 1.0})


def test_a_missing_package_is_one_sentence(monkeypatch, program):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ImportError, match="onnxscript, which is missing: pip install onnx onnxscript onnxruntime"):
        record(train, {"lambd": 1.0}).program()


def test_translating_warns_of_nothing_and_leaves_logging_as_it_was():
    import logging

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record(train, {"lambd": 1.0}).program()
    assert logging.root.manager.disable == 0


# In live.


@pytest.fixture
def building(monkeypatch):
    monkeypatch.setenv("WEIGHTDECAY_TAPE", "1")


def test_only_the_target_that_builds_the_book_records():
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if "WEIGHTDECAY_TAPE" in line]
    assert "WEIGHTDECAY_TAPE=1" in line
    assert "jupyter-book build" in line


def untraced(lambd):
    for k in range(1, 5):
        yield k, {"loss": (1 - 0.1 * lambd) ** k, "w norm": 1.0}


def test_a_build_gives_the_chart_its_program(building):
    demo = live(train, sweep(train, lambd=[0, 1, 3], dim="epoch"))
    assert demo.chart.program["params"] == ["lambd"]
    check(demo.chart.program, train, {"lambd": 0.5})


def test_nothing_is_recorded_outside_a_build_or_without_traced_functions(monkeypatch):
    monkeypatch.delenv("WEIGHTDECAY_TAPE", raising=False)
    assert live(train, sweep(train, lambd=[0, 1], dim="epoch")).chart.program == {}
    monkeypatch.setenv("WEIGHTDECAY_TAPE", "1")
    assert live(untraced, sweep(untraced, lambd=[0, 1])).chart.program == {}
    assert live(None, sweep(train, lambd=[0, 1], dim="epoch")).chart.program == {}


def test_a_train_that_the_tape_misses_fails_the_build(building):
    def leaky(lambd):
        for epoch, shown in train(lambd):
            yield epoch, shown | {"w norm": (1 + lambd) * shown["w norm"]}

    curves = sweep(leaky, lambd=[0, 1, 3], dim="epoch")
    with pytest.raises(ValueError, match=r"w norm .* made by no traced function"):
        live(leaky, curves)


def test_a_switch_at_the_first_stop_fails_the_build(building):
    """λ = 0 is often a case of its own."""

    def switched(lambd):
        w = torch.zeros(3)
        for epoch in range(1, 5):
            w = step(w, X, Y, torch.arange(4), lambd) if lambd else w
            yield epoch, losses(w, X, Y)

    with pytest.raises(ValueError, match="At lambd = 0 the tape says"):
        live(switched, sweep(switched, lambd=[0, 1, 3], dim="epoch"), start={"lambd": 3})


def test_sliders_of_words_leave_the_demo_to_the_record(building):
    def worded(lambd, form):
        yield from train(lambd * (2 if form == "double" else 1))

    curves = sweep(worded, lambd=[0, 1], form=["single", "double"], dim="epoch")
    assert live(worded, curves).chart.program == {}


def with_rate(lambd, lr=0.1):
    w = torch.zeros(3)
    for epoch in range(1, 6):
        w = step(w, X, Y, torch.arange(12), lambd, lr)
        yield epoch, losses(w, X, Y)


def test_knobs_that_no_record_holds_have_sliders(building):
    demo = live(with_rate, sweep(with_rate, lambd=[0, 1, 3]), also={"lr": (1e-3, 0.3)})
    _, lr = demo.sliders
    assert demo.chart.spec["shape"] == [3, 1]
    assert lr.description == "learning rate η"
    assert (lr.value, lr.label) == (0.1, "0.1")
    assert len(lr.options) in (25, 26)
    values = demo.grid["lr"]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.001, 0.3)
    ratios = np.diff(np.log(values))
    assert ratios.max() < 0.3  # even on a log scale, but for the default between
    assert [stop for stop in demo.chart.spec["between"][1] if not stop[1]] == [[0, ""]]
    assert demo.chart.program["params"] == ["lambd", "lr"]
    check(demo.chart.program, with_rate, {"lambd": 0.3, "lr": 0.05})


def test_the_still_picture_does_not_name_them():
    curves = sweep(with_rate, lambd=[0, 1, 3])
    assert live(with_rate, curves, also={"lr": (1e-3, 0.3)}).still() == live(with_rate, curves).still()


def test_a_move_of_such_a_knob_trains_with_it():
    demo = live(with_rate, sweep(with_rate, lambd=[0, 1, 3]), also={"lr": (1e-3, 0.3)})
    demo.sliders[1].index = 0
    import threading

    for thread in threading.enumerate():
        if thread.name.startswith("live training"):
            thread.join(10)
    assert demo.chart.run["at"] == [0, 0]
    fresh = np.frombuffer(demo.chart.run["series"]["loss"], np.float32)
    np.testing.assert_allclose(fresh, [row["loss"] for _, row in curves_of(with_rate(0, lr=0.001))], rtol=1e-6)


def test_knobs_may_go_through_zero_and_start_where_one_says():
    def train(lambd, shift=0.0):
        yield from ((k, {"loss": lambd + shift}) for k in range(3))

    demo = live(train, sweep(train, lambd=[0, 1]), also={"shift": (-1, 1)}, start={"shift": 0.5})
    stops = np.array(demo.grid["shift"])
    assert len(stops) == 25
    np.testing.assert_allclose(np.diff(stops), 1 / 12, atol=0.01)
    assert 0.0 in stops
    assert demo.sliders[1].value == 0.5


@pytest.mark.parametrize(
    ("also", "sentence"),
    [
        (
            {"missing": (1, 2)},
            "also needs a parameter of train that has a default and is not swept, and missing is none",
        ),
        ({"lambd": (1, 2)}, "and lambd is none"),
        ({"lr": (2, 1)}, r"also has lr: \(2, 1\); give a low and then a higher number"),
    ],
)
def test_knobs_that_cannot_be_are_refused(also, sentence):
    with pytest.raises(ValueError, match=sentence):
        live(with_rate, sweep(with_rate, lambd=[0, 1]), also=also)


def test_knobs_need_a_train():
    with pytest.raises(ValueError, match="also asks for values that are not recorded: pass a train"):
        live(None, sweep(with_rate, lambd=[0, 1]), also={"lr": (1e-3, 0.3)})
