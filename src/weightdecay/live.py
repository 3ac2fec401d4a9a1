"""Sliders over recorded curves which, where there is a kernel, retrain the model and stream the fresh curve."""

import contextvars
import io
import itertools
import threading
import time
import traceback

import ipywidgets
import numpy as np

from weightdecay.chart import Chart, columns, float32, frame_spec, line_spec, slider_dims
from weightdecay.device import pick_device
from weightdecay.still import Demo
from weightdecay.sweep import SYMBOLS, check_parameter, follow

FRAME_SECONDS = 1 / 30


def live(train, curves, *, x=None, panels=None, band="seed", start=None, device=None, **chart) -> ipywidgets.VBox:
    """Put curves from `sweep` under one slider per swept parameter.

    Without a kernel (a web page) the sliders move through `curves`. With one, a move shows the recorded
    curve at once, faint, then runs `train` again at that point and streams over it; a further move cancels
    the running training. An exception in `train` is shown in the demo as one line, and kept in the `error`
    attribute of what is returned. `train=None` only ever replays.

    x: the dimension along the horizontal axis, by default the one that `train` counts.
    panels: {axis label: list of variables}, one panel each; by default all variables in one.
    band: a dimension shown as median and 10-90 % band, where `curves` has it.
    start: {parameter: value} at which the sliders begin; by default at their first values.
    device: what the badge calls the device, by default `pick_device()`.
    chart: `log_x`, `log_y`, `limits`, `best`, `title` and `question` of `chart.line_spec`.

    Raises ValueError where `curves` cannot be drawn so, or where `train` does not yield what they hold.
    """
    counted = curves.attrs.get("dim", curves.dims and list(curves.dims)[-1])
    x = x or counted
    panels = panels or {"": [str(name) for name in curves.data_vars]}
    if train is not None and x != counted:
        raise ValueError(f"{x!r} is swept, so a fresh run cannot be drawn along it: pass train=None to replay curves.")
    for missing in {x, *(start or {})} - set(curves.dims):
        raise ValueError(f"curves have no dimension {missing!r}, only {', '.join(map(str, curves.dims))}.")
    grid = {dim: curves[dim].values.tolist() for dim in slider_dims(curves, x, band)}
    for name, values in grid.items():
        for value in values:
            check_parameter(name, value)
    spec = line_spec(curves, x=x, panels=panels, band=band, **chart)
    demo = _demo(spec, grid, start)
    if train is not None:
        fixed = {
            dim: curves[dim].values.item() for dim in curves.dims if curves.sizes[dim] == 1 and dim not in (x, band)
        }
        at_x = columns(curves[x], chart.get("log_x", False))
        names = [str(name) for variables in panels.values() for name in variables]
        runner = _Retrainer(demo, lambda **point: train(**fixed, **point), at_x, x, names, str(device or pick_device()))
        runner.check()
        for slider in demo.sliders:
            slider.observe(lambda change: runner.request(), names="index")
    return demo


def frames(draw, describe, *, start=None, title="", question="", **grid) -> ipywidgets.VBox:
    """Put pictures under the same sliders: `draw(**point)` gives a matplotlib figure, `describe(**point)` its text.

    They are drawn here and now, so they change with no kernel; the text serves those who cannot see them.
    title and question as in `live`.
    """
    from matplotlib import pyplot as plt

    pictures, alts = [], []
    for values in itertools.product(*grid.values()):
        point = dict(zip(grid, values, strict=True))
        figure, picture = draw(**point), io.BytesIO()
        figure.savefig(picture, format="webp", dpi=120, bbox_inches="tight", facecolor="white")
        plt.close(figure)
        pictures.append(picture.getvalue())
        alts.append(describe(**point))
    spec = frame_spec(pictures, alts, [len(values) for values in grid.values()], title, question)
    return _demo(spec, grid, start)


def _demo(spec, grid, start) -> ipywidgets.VBox:
    """A box of sliders and chart, with both as attributes; what is shown stays a plain ipywidgets box."""
    sliders = []
    for name, values in grid.items():
        first = (start or {}).get(name, values[0])
        index = int(np.argmin(np.abs(np.asarray(values, float) - first)))
        slider = ipywidgets.SelectionSlider(
            options=[(f"{value:.3g}", value) for value in values],
            index=index,
            description=SYMBOLS.get(name, name),
            style={"description_width": "initial"},
            layout={"width": "100%", "max_width": "46rem"},
        )
        sliders.append(slider)
    chart = Chart(spec=spec, sliders=sliders)
    demo = Demo(sliders, chart, layout={"width": "100%"})
    demo.add_class("wd-demo")
    demo.error, demo.grid = None, grid
    return demo


class _Retrainer:
    """Runs `train` for the sliders' present position, in one thread; a newer position replaces the running one."""

    def __init__(self, demo, train, at_x, dim, names, device):
        self.demo, self.train, self.dim, self.names, self.device = demo, train, dim, names, device
        self.column = {value: i for i, value in enumerate(at_x)}
        self.lock = threading.Lock()
        self.wanted = None  # slider positions to train next
        self.thread = None

    def check(self):
        """Take one step, so that a `train` that cannot run fails where the demo is made."""
        fresh = follow(self.train, self.point([slider.index for slider in self.demo.sliders]), dim=self.dim)
        step, values, _ = next(fresh, (None, {}, None))
        fresh.close()
        if not set(self.names) & values.keys():
            raise ValueError(f"train yields {list(values)}, but the curves hold {self.names}.")
        self.place(step)

    def point(self, at) -> dict:
        return {name: values[i] for (name, values), i in zip(self.demo.grid.items(), at, strict=True)}

    def place(self, step) -> int:
        """The column of the chart where a step is drawn."""
        if step not in self.column:
            raise ValueError(f"train yields {self.dim} {step}, which the recorded curves lack: sweep again.")
        return self.column[step]

    def request(self):
        with self.lock:
            self.wanted = [slider.index for slider in self.demo.sliders]
            if self.thread is None:
                # In the context of this callback, so that the kernel knows which cell the output is of.
                context = contextvars.copy_context()
                self.thread = threading.Thread(target=context.run, args=(self.work,), daemon=True)
                self.thread.start()

    def work(self):
        while True:
            with self.lock:
                at, self.wanted = self.wanted, None
                if at is None:
                    self.thread = None
                    return
            try:
                self.stream(at)
            except Exception as error:  # shown to the reader: a thread has nobody else to tell
                self.demo.error = error
                traceback.print_exception(error)
                text = str(error).strip().splitlines()[:1]
                self.show(at, "error", {}, ": ".join([type(error).__name__, *text]))

    def stream(self, at):
        """Train once and show the curves as they grow; return early when another position is wanted."""
        series, sent, diverged = {}, 0.0, {}
        fresh = follow(self.train, self.point(at), dim=self.dim)
        for step, values, diverged in fresh:
            if self.wanted is not None:
                fresh.close()
                return
            for name, row in values.items():
                series.setdefault(name, np.full(len(self.column), np.nan))[self.place(step)] = row[0]
            if time.monotonic() - sent > FRAME_SECONDS:
                self.show(at, "running", series)
                sent = time.monotonic()
        self.show(at, "diverged" if diverged else "done", series, diverged.get(0, ""))

    def show(self, at, state, series, message=""):
        packed = {name: float32(values) for name, values in series.items()}
        self.demo.chart.run = {"at": at, "state": state, "device": self.device, "message": message, "series": packed}
