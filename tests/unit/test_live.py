"""live and frames: what the sliders show, and how a move retrains. The browser tests look at the drawing."""

import threading
import time

import numpy as np
import pytest
import xarray as xr
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
    wait_for(lambda: not any("work" in thread.name for thread in threading.enumerate()))


def state(demo):
    return demo.chart.run.get("state")


def test_a_slider_per_swept_parameter_starts_at_zero(curves):
    demo = live(shrink, curves)
    (slider,) = demo.sliders
    assert slider.description == "λ"
    assert [label for label, _ in slider.options] == ["0", "1", "3"]
    assert slider.index == 0


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
