"""live and frames: what the sliders show, and how a move retrains. The browser tests look at the drawing."""

import ast
import threading
import time

import numpy as np
import pytest
import xarray as xr
from jupyter_client.manager import start_new_kernel
from matplotlib import pyplot as plt

from weightdecay import frames, live, sweep

GRID = [0, 1, 3]


def shrink(lambd, seed=0, steps=20):
    w = 1.0 + seed
    for step in range(1, steps + 1):
        w *= 1 - 0.1 * lambd
        yield step, {"w": w}


@pytest.fixture
def curves():
    return sweep(shrink, lambd=GRID)


def series(demo, name="w"):
    return np.frombuffer(demo.chart.run["series"][name], np.float32)


def wait_for(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def wait_until_idle():
    wait_for(lambda: not any(thread.name.startswith("live") for thread in threading.enumerate()))


def state(demo):
    return demo.chart.run.get("state")


def test_a_slider_per_swept_parameter_starts_at_zero(curves):
    demo = live(shrink, curves)
    (slider,) = demo.sliders
    assert slider.description == "λ"
    assert [label for label, _ in slider.options] == ["0", "1", "3"]
    assert slider.index == 0


def test_a_slider_of_batch_sizes_bears_their_symbol():
    def train(lambd, batch_size):
        yield 1, {"w": lambd / batch_size}

    demo = live(None, sweep(train, lambd=[0, 1], batch_size=[1, 5]))
    assert [slider.description for slider in demo.sliders] == ["λ", "|B|"]


def test_the_chart_holds_the_recorded_curves(curves):
    (panel,) = live(shrink, curves).chart.spec["panels"]
    recorded = np.frombuffer(panel["series"][0]["values"], np.float32).reshape(3, 20)
    np.testing.assert_allclose(recorded, curves["w"], rtol=1e-6)


def test_a_move_retrains_and_meets_the_recorded_curve(curves):
    demo = live(shrink, curves, device="cpu")
    demo.sliders[0].index = 2
    wait_for(lambda: state(demo) == "done")
    np.testing.assert_allclose(series(demo), curves["w"].sel(lambd=3), rtol=1e-6)
    assert demo.chart.run["at"] == [2]
    assert demo.chart.run["device"] == "cpu"


def test_a_burst_of_moves_leaves_the_last_curve_and_no_thread(curves):
    def slow(lambd):
        for step, values in shrink(lambd):
            time.sleep(0.002)
            yield step, values

    demo = live(slow, curves)
    for index in np.random.default_rng(0).integers(0, 3, 50):
        demo.sliders[0].index = int(index)
        time.sleep(0.01)
    wait_for(lambda: state(demo) == "done" and demo.chart.run["at"] == [demo.sliders[0].index])
    np.testing.assert_allclose(series(demo), curves["w"].isel(lambd=demo.sliders[0].index), rtol=1e-6)
    wait_until_idle()


def test_a_cancelled_run_closes_its_generator(curves):
    closed = []

    def endless(lambd):
        try:
            for step, values in shrink(lambd):
                while lambd == 1 and step == 2:
                    time.sleep(0.005)
                    yield step, values
                yield step, values
        finally:
            closed.append(lambd)

    demo = live(endless, curves)
    closed.clear()
    demo.sliders[0].index = 1
    wait_for(lambda: state(demo) == "running")
    demo.sliders[0].index = 2
    wait_for(lambda: state(demo) == "done")
    assert closed == [1, 3]


def test_an_exception_is_one_line_and_the_next_move_works(curves, capsys):
    def moody(lambd):
        yield from shrink(lambd, steps=1)
        if lambd == 1:
            raise RuntimeError("out of luck\nand more")
        yield from list(shrink(lambd))[1:]

    demo = live(moody, curves)
    demo.sliders[0].index = 1
    wait_for(lambda: state(demo) == "error")
    assert demo.chart.run["message"] == "RuntimeError: out of luck"
    assert isinstance(demo.error, RuntimeError)
    demo.sliders[0].index = 2
    wait_for(lambda: state(demo) == "done")
    assert demo.chart.run["message"] == ""
    assert "out of luck" in capsys.readouterr().err


def test_divergence_is_shown_as_divergence():
    with pytest.warns(UserWarning, match="diverged"):
        curves = sweep(shrink, lambd=[0, 1e30])
    demo = live(shrink, curves)
    assert "diverged: at step 11" in demo.chart.spec["diverged"]["1"]
    assert demo.chart.spec["panels"][0]["limits"] == [0.0, 2.0]  # those of the run that did not diverge
    demo.sliders[0].index = 1
    wait_for(lambda: state(demo) == "diverged")
    assert "at step 11 the w is" in demo.chart.run["message"]


def test_training_that_cannot_run_fails_where_the_demo_is_made(curves):
    def broken(lambd):
        raise RuntimeError("broken")
        yield

    with pytest.raises(RuntimeError, match="broken"):
        live(broken, curves)


def test_training_that_yields_something_else_is_refused(curves):
    with pytest.raises(ValueError, match="train yields \\['v'\\], but the curves hold \\['w'\\]"):
        live(lambda lambd: iter([(1, {"v": 0.0})]), curves)
    with pytest.raises(ValueError, match="step 99, which the recorded curves lack"):
        live(lambda lambd: iter([(99, {"w": 0.0})]), curves)


def test_curves_with_a_number_that_cannot_be_trained_are_refused(curves):
    with pytest.raises(ValueError, match="λ must not be negative"):
        live(shrink, curves.assign_coords(lambd=[-1, 1, 3]))


def test_any_dimension_can_be_the_horizontal_axis():
    curves = sweep(shrink, lambd=[0, 0.1, 1], seed=range(5))
    spec = live(None, curves, x="lambd", log_x=True).chart.spec
    x = np.frombuffer(spec["x"]["values"], float)
    np.testing.assert_array_equal(x, [0, np.nan, 0.1, 1])
    values = np.frombuffer(spec["panels"][0]["series"][0]["values"], np.float32).reshape(20, 4)
    np.testing.assert_allclose(values[:, [0, 2, 3]], curves["w"].median("seed").transpose("step", "lambd"), rtol=1e-6)
    with pytest.raises(ValueError, match="pass train=None"):
        live(shrink, curves, x="lambd")


def test_seeds_become_a_band():
    curves = sweep(shrink, lambd=GRID, seed=range(11))
    demo = live(shrink, curves)
    assert len(demo.sliders) == 1
    (one,) = demo.chart.spec["panels"][0]["series"]
    low, high = (np.frombuffer(one[key], np.float32).reshape(3, 20) for key in ("low", "high"))
    np.testing.assert_allclose(low, curves["w"].quantile(0.1, "seed"), rtol=1e-6)
    np.testing.assert_allclose(high, curves["w"].quantile(0.9, "seed"), rtol=1e-6)


def test_a_parameter_with_one_value_has_no_slider_and_is_still_passed_on():
    seen = []

    def watched(lambd, seed):
        seen.append(seed)
        yield from shrink(lambd)

    demo = live(watched, sweep(watched, lambd=GRID, seed=[7]), band=None)
    assert len(demo.sliders) == 1
    assert seen[-1] == 7


def test_limits_stand_still_and_can_be_given(curves):
    spec = live(shrink, curves, panels={"w": ["w"]}, limits={"w": (-1, 2)}).chart.spec
    assert spec["panels"][0]["limits"] == [-1, 2]


def test_a_log_axis_leaves_zero_out_of_its_limits():
    curves = xr.Dataset({"loss": (("lambd", "step"), [[1.0, 0.0], [1.0, 1e-4]])}, {"lambd": [0, 1], "step": [1, 2]})
    low, high = live(None, curves, panels={"loss": ["loss"]}, log_y=["loss"]).chart.spec["panels"][0]["limits"]
    assert low == pytest.approx(1e-4 / 1.5)
    assert high == pytest.approx(1.5)


def test_frames_are_drawn_for_every_position():
    def draw(lambd):
        figure, axes = plt.subplots()
        axes.plot([0, lambd])
        return figure

    demo = frames(draw, lambda lambd: f"a line up to {lambd}", lambd=[0, 1, 2], start={"lambd": 1})
    assert demo.chart.spec["alts"] == ["a line up to 0", "a line up to 1", "a line up to 2"]
    assert all(picture[8:12] == b"WEBP" for picture in demo.chart.spec["frames"])
    assert demo.sliders[0].index == 1
    assert not plt.get_fignums()


def drawn(demo):
    """What the chart holds: one row a slider position, one column a step."""
    (panel,) = demo.chart.spec["panels"]
    shape = demo.chart.spec["shape"]
    return [np.frombuffer(one["values"], np.float32).reshape(*shape, -1) for one in panel["series"]]


def test_a_metric_that_comes_now_and_then_is_drawn_where_it_came():
    def train(lambd):
        for epoch in range(6):
            yield epoch, {"loss": epoch} | ({"accuracy": lambd * epoch} if epoch % 2 else {})

    curves = sweep(train, lambd=[0, 1, 2])
    demo = live(train, curves, panels={"": ["accuracy"]}, device="cpu")  # the first yield does not have it
    np.testing.assert_array_equal(drawn(demo)[0], curves["accuracy"])
    demo.sliders[0].index = 2
    wait_for(lambda: state(demo) == "done")
    np.testing.assert_array_equal(series(demo, "accuracy"), curves["accuracy"].sel(lambd=2))


def named(optimizer, momentum=False, eps=None):
    """A parameter of each kind."""
    for step in range(3):
        yield step, {"w": len(optimizer) + 10 * momentum + (eps or 0) * step}


@pytest.mark.parametrize("start", [{}, {"optimizer": "adam", "momentum": True, "eps": 1}])
def test_names_booleans_and_none_go_under_sliders_and_reach_train_as_they_were(start):
    curves = sweep(named, optimizer=["sgd", "adam"], momentum=[False, True], eps=[None, 1, 1024])
    demo = live(named, curves, start=start, device="cpu")
    labels = [[label for label, _ in slider.options] for slider in demo.sliders]
    assert labels == [["sgd", "adam"], ["False", "True"], ["None", "1", "1024"]]
    assert [slider.index for slider in demo.sliders] == ([1, 1, 1] if start else [0, 0, 0])
    for slider, index in zip(demo.sliders, (1, 0, 2), strict=True):
        slider.index = index
    wait_for(lambda: state(demo) == "done" and demo.chart.run["at"] == [1, 0, 2])
    np.testing.assert_array_equal(series(demo), [4, 1028, 2052])
    demo.sliders[2].index = 0
    wait_for(lambda: state(demo) == "done" and demo.chart.run["at"] == [1, 0, 0])
    np.testing.assert_array_equal(series(demo), drawn(demo)[0][1, 0, 0])


def test_a_start_that_is_no_name_of_the_slider_is_refused():
    curves = sweep(named, optimizer=["sgd", "adam"])
    with pytest.raises(ValueError, match="optimizer has no value 'lion', only sgd, adam"):
        live(named, curves, start={"optimizer": "lion"})
    with pytest.raises(ValueError, match="optimizer holds no numbers to draw along"):
        live(None, curves, x="optimizer")


def test_a_picture_for_each_name():
    demo = frames(lambda shape: plt.figure(), lambda shape: shape, shape=["flat", "round"], start={"shape": "round"})
    assert demo.sliders[0].index == 1


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 0.123456, 1e-5], ["0", "0.123", "1e-05"]),
        ([100, 1000, 1024], ["100", "1000", "1024"]),
        ([0.1234, 0.1235], ["0.1234", "0.1235"]),
        ([1e7, 1e7 + 1], ["10000000", "10000001"]),
    ],
)
def test_labels_tell_values_apart(values, labels):
    demo = live(None, sweep(lambda a: iter([(1, {"w": a})]), a=values))
    assert [label for label, _ in demo.sliders[0].options] == labels


def test_a_slider_may_be_finer_than_its_record():
    curves = sweep(shrink, lambd=[0, 0.01, 0.1, 1])
    demo = live(shrink, curves, finer={"lambd": [0.02, 0.05, 1e-9, 0.1, 3]}, device="cpu")
    (slider,) = demo.sliders
    assert [value for _, value in slider.options] == [0, 1e-9, 0.01, 0.02, 0.05, 0.1, 1, 3]
    assert demo.chart.spec["between"] == [
        [[0, ""], [0, "0"], [1, ""], [1, "0.01"], [2, "0.1"], [2, ""], [3, ""], [3, "1"]]
    ]
    assert demo.chart.spec["shape"] == [4]
    slider.index = 4
    assert "λ = 0.1, at step 20: w 0.818" in demo.still()[0]
    wait_for(lambda: state(demo) == "done")
    np.testing.assert_allclose(series(demo), 0.995 ** np.arange(1, 21), rtol=1e-6)


def test_what_is_nearest_on_a_short_slider_goes_by_distance():
    curves = sweep(shrink, lambd=[1], steps=[20, 30])
    demo = live(shrink, curves, finer={"steps": [24, 26]})
    assert demo.chart.spec["between"] == [[[0, ""], [0, "20"], [1, "30"], [1, ""]]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"finer": {"lr": [1]}}, "finer has no slider 'lr' to refine, only lambd"),
        ({"finer": {"lambd": ["a"]}}, "Only numbers have values between them, but lambd has 'a'"),
        ({"finer": {"lambd": [-1]}}, "λ must not be negative"),
        ({"train": None, "finer": {"lambd": [2]}}, "pass a train that can make them"),
    ],
)
def test_a_finer_slider_that_makes_no_sense_is_refused(curves, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        live(**{"train": shrink, "curves": curves} | arguments)


IN_A_KERNEL = """
import time
from weightdecay import live, sweep
steps = []
def train(lambd):
    for step in range(2000):
        steps.append(step)
        time.sleep(0.01 * lambd)
        yield step, {"w": step}
demo = live(train, sweep(train, lambd=[0]).reindex(lambd=[0, 1], method="nearest"))
demo.sliders[0].index = 1
"""
RUN = "(demo.chart.run.get('state'), demo.chart.run.get('message', ''), len(steps))"


AFTER_A_CELL = """
import signal
handlers = get_ipython().kernel.shell_handlers
handle = handlers["execute_request"]
async def interrupted(*message):
    handlers["execute_request"] = handle
    await handle(*message)
    signal.raise_signal(signal.SIGINT)
handlers["execute_request"] = interrupted
"""


@pytest.mark.parametrize("where", ["between cells", "in a cell", "after a cell"])
def test_an_interrupt_of_the_kernel_ends_the_training(where):
    manager, client = start_new_kernel()
    try:

        def ask():
            asked = {"user_expressions": {"run": RUN}, "silent": True}
            while (reply := client.execute("", **asked, reply=True, timeout=60)["content"])["status"] == "aborted":
                time.sleep(0.05)  # what came too soon after the interrupt
            return ast.literal_eval(reply["user_expressions"]["run"]["data"]["text/plain"])

        assert client.execute(IN_A_KERNEL, reply=True, timeout=60)["content"]["status"] == "ok"
        wait_for(lambda: ask()[0] == "running")
        if where == "in a cell":
            client.execute("print('a cell runs')\ntime.sleep(60)")
            wait_for(lambda: "a cell runs" in str(client.get_iopub_msg(timeout=10)["content"]))
        if where == "after a cell":
            client.execute(AFTER_A_CELL, reply=True, timeout=60)
            ask()
        else:
            manager.interrupt_kernel()
        wait_for(lambda: ask()[0] == "stopped")
        _, message, made = ask()
        assert message == f"interrupted at step {made - 2002}: move the slider to train again."
        time.sleep(0.2)
        assert ask()[2] == made
        client.execute("demo.sliders[0].index = 0", reply=True, timeout=60)
        wait_for(lambda: ask()[0] == "done")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
