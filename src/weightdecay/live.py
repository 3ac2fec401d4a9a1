"""Sliders over recorded curves which, where there is a kernel, retrain the model and stream the fresh curve."""

import contextvars
import functools
import inspect
import io
import itertools
import math
import numbers
import os
import signal
import threading
import time
import traceback
import weakref

import ipywidgets
import numpy as np
from IPython import get_ipython

from weightdecay.chart import Chart, columns, float32, frame_spec, line_spec, slider_dims
from weightdecay.device import pick_device
from weightdecay.still import Demo
from weightdecay.sweep import SYMBOLS, check_parameter, follow, text_of, values_of
from weightdecay.tape import check, listening, record

FRAME_SECONDS = 1 / 30
BEAT_SECONDS = 2


def live(
    train, curves, *, x=None, panels=None, band="seed", start=None, finer=None, also=None, device=None, **chart
) -> ipywidgets.VBox:
    """Put curves from `sweep` under one slider per swept parameter.

    Without a kernel (a web page) the sliders move through `curves`. With one, a move shows the recorded
    curve at once, faint, then runs `train` again at that point and streams over it; a further move cancels
    the running training, and so does an interrupt of the kernel. An exception in `train` is shown in the demo as one
    line, and kept in the `error` attribute of what is returned. `train=None` only ever replays. Where a variable has
    no value at a step, a line joins the values that it has.

    x: the dimension along the horizontal axis, by default the one that `train` counts.
    panels: {axis label: list of variables}, one panel each; by default all variables in one.
    band: a dimension shown as median and 10-90 % band, where `curves` has it.
    start: {parameter: value} at which the sliders begin; by default at their first values.
    finer: {parameter: numbers} at which its slider stops too, between those that are recorded; there the nearest
        recorded curve is drawn, faint.
    also: {parameter: (low, high)} for further sliders, of parameters of `train` with a default, at which all curves are
        recorded: at any other value there is only a fresh run. Their stops are even, by their logarithm where low > 0.
    device: what the badge calls the device, by default `pick_device()`.
    chart: `log_x`, `log_y`, `limits`, `best`, `dots`, `title` and `question` of `chart.line_spec`.

    While the book is built, with ``WEIGHTDECAY_TAPE`` set, the tape of a `train` that calls `traced` functions is
    recorded for the page, and checked against `train` between the stops and at the first.

    Raises ValueError where `curves` cannot be drawn so, or where `train` does not yield what they hold.
    """
    counted = curves.attrs.get("dim", curves.dims and list(curves.dims)[-1])
    x = x or counted
    panels = panels or {"": [str(name) for name in curves.data_vars]}
    if train is not None and x != counted:
        raise ValueError(f"{x!r} is swept, so a fresh run cannot be drawn along it: pass train=None to replay curves.")
    for missing in {x, *(start or {})} - {*curves.dims, *(also or {})}:
        raise ValueError(f"curves have no dimension {missing!r}, only {', '.join(map(str, curves.dims))}.")
    grid = {dim: values_of(curves[dim]) for dim in slider_dims(curves, x, band)}
    spec = line_spec(curves, x=x, panels=panels, band=band, **chart)
    if finer or also:
        if train is None:
            asks = "finer asks" if finer else "also asks"
            raise ValueError(f"{asks} for values that are not recorded: pass a train that can make them.")
        defaults = {name: _default(train, name, curves) for name in also or {}}
        finer = (finer or {}) | {name: _stops(name, *bounds) for name, bounds in (also or {}).items()}
        spec["shape"] = [*spec["shape"], *(1 for _ in defaults)]
        start = defaults | (start or {})
        grid, spec["between"] = _refine(grid | {name: [value] for name, value in defaults.items()}, finer)
    for name, values in grid.items():
        for value in values:
            check_parameter(name, value)
    demo = _demo(spec, grid, start)
    if train is not None:
        fixed = {
            dim: values_of(curves[dim])[0] for dim in curves.dims if curves.sizes[dim] == 1 and dim not in (x, band)
        }
        at_x = columns(curves[x], chart.get("log_x", False))
        names = [str(name) for name in curves.data_vars]
        runner = _Retrainer(demo, lambda **point: train(**fixed, **point), at_x, x, names, str(device or pick_device()))
        called = []
        with listening(lambda *call: called.append(call)):
            runner.check()
        if called and os.environ.get("WEIGHTDECAY_TAPE"):
            demo.chart.program = _program(runner.train, demo)
        _stop_on_interrupt()
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


def _refine(grid, finer) -> tuple[dict, list]:
    """The grid with the finer stops, and for each slider [number of the nearest recorded value, its label, if another].

    Nearest on a log scale where the recorded numbers are not negative and span more than a decade.
    """
    for name in finer.keys() - grid.keys():
        raise ValueError(f"finer has no slider {name!r} to refine, only {', '.join(grid)}.")
    fine, between = {}, []
    for name, recorded in grid.items():
        more = [value.item() if hasattr(value, "item") else value for value in finer.get(name, ())]
        for value in more and [*recorded, *more]:
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise ValueError(f"Only numbers have values between them, but {name} has {value!r}.")
        fine[name] = sorted({*recorded, *more}) if more else recorded
        labels = labels_of(recorded)
        at, stops = (scale(np.array(part, float), recorded) if more else part for part in (recorded, fine[name]))
        nearest = [int(np.abs(at - stop).argmin()) for stop in stops] if more else range(len(recorded))
        between.append(
            [[i, "" if value == recorded[i] else labels[i]] for i, value in zip(nearest, fine[name], strict=True)]
        )
    return fine, between


def _default(train, name, curves):
    """The value of a parameter at which curves are recorded that know nothing of it."""
    parameter = inspect.signature(train).parameters.get(name)
    if name in curves.dims or parameter is None or parameter.default is inspect.Parameter.empty:
        raise ValueError(f"also needs a parameter of train that has a default and is not swept, and {name} is none.")
    return parameter.default


def _stops(name, low, high) -> list[float]:
    """25 numbers from low to high, of two digits or, where these do not tell them apart, three."""
    if not low < high:
        raise ValueError(f"also has {name}: ({low}, {high}); give a low and then a higher number.")
    even = np.geomspace(low, high, 25) if low > 0 else np.linspace(low, high, 25)
    two, three = ([float(f"{value:.{digits}g}") for value in even.round(12)] for digits in (2, 3))
    return two if len(set(two)) == len(two) else three


def _program(train, demo) -> dict:
    """What the page runs in place of `train`; nothing where a slider holds more than numbers."""
    if any(isinstance(v, bool) or not isinstance(v, numbers.Real) for values in demo.grid.values() for v in values):
        return {}
    start = {name: slider.value for name, slider in zip(demo.grid, demo.sliders, strict=True)}
    program = record(train, start).program()
    middle = {name: (values[len(values) // 2 - 1] + values[len(values) // 2]) / 2 for name, values in demo.grid.items()}
    for point in (middle, {name: values[0] for name, values in demo.grid.items()}):
        check(program, train, point)
    return program


def scale(values, grid) -> np.ndarray:
    """Where values stand on a slider of these recorded numbers: by their logarithm if those span more than a decade."""
    positive = [number for number in grid if number > 0]
    if min(grid) < 0 or not positive or max(positive) <= 10 * min(positive):
        return values
    low, high = math.log10(min(positive)), math.log10(max(positive))
    zero = low - max(0.4, 0.08 * (high - low))  # as on the chart's axis
    return np.maximum(np.log10(values, out=np.full_like(values, zero), where=values > 0), zero)


def labels_of(values) -> list[str]:
    """The values as the slider shows them: with three digits, or with as many as tell them apart."""
    for digits in range(3, 18):
        labels = [text_of(value, digits) for value in values]
        if len(set(labels)) == len(set(map(str, values))):
            break
    return labels


def _index(name, values, wanted) -> int:
    """The position of a value, or of the number nearest to it."""
    if wanted in values:
        return values.index(wanted)
    if not all(isinstance(value, numbers.Real) for value in [*values, wanted]):
        raise ValueError(f"{name} has no value {wanted!r}, only {', '.join(map(str, values))}.")
    return int(np.abs(np.array(values, float) - wanted).argmin())


def _demo(spec, grid, start) -> ipywidgets.VBox:
    """A box of sliders and chart, with both as attributes; what is shown stays a plain ipywidgets box."""
    sliders = []
    for name, values in grid.items():
        values = list(values)
        labels = labels_of(values)
        slider = ipywidgets.SelectionSlider(
            # Where the value is None nothing would be selected: that value is its label.
            options=[(label, label if value is None else value) for label, value in zip(labels, values, strict=True)],
            index=_index(name, values, (start or {}).get(name, values[0])),
            description=SYMBOLS.get(name, name),
            style={"description_width": "initial"},
            layout={"width": "100%", "max_width": "46rem"},
        )
        sliders.append(slider)
    if all(isinstance(value, numbers.Real) for values in grid.values() for value in values):
        spec["stops"] = [[float(value) for value in values] for values in grid.values()]
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
        self.interrupted = False
        _RETRAINERS.add(self)

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
            self.interrupted = False
            if self.thread is None:
                # In the context of this callback, so that the kernel knows which cell the output is of.
                context = contextvars.copy_context()
                self.thread = threading.Thread(target=context.run, args=(self.work,), name="live training", daemon=True)
                self.thread.start()

    def interrupt(self):
        """End the running training; what it has drawn stays. In a signal's handler: it can wait for no lock."""
        self.interrupted = True

    def work(self):
        idle = threading.Event()
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self.beat, idle), name="live beat", daemon=True).start()
        try:
            while True:
                with self.lock:
                    at, self.wanted = self.wanted, None
                    if at is None or self.interrupted:
                        self.thread = None
                        return
                try:
                    self.stream(at)
                except Exception as error:  # shown to the reader: a thread has nobody else to tell
                    self.demo.error = error
                    traceback.print_exception(error)
                    text = str(error).strip().splitlines()[:1]
                    self.show(at, "error", {}, ": ".join([type(error).__name__, *text]))
        finally:
            idle.set()

    def beat(self, idle):
        """Tell the page again and again that the source of what it shows is alive, however long a step takes."""
        while not idle.wait(BEAT_SECONDS):
            self.demo.chart.beat += 1

    def stream(self, at):
        """Train once and show the curves as they grow; return early when another position is wanted."""
        series, sent, diverged = {}, 0.0, {}
        fresh = follow(self.train, self.point(at), dim=self.dim)
        for step, values, diverged in fresh:
            if self.wanted is not None or self.interrupted:
                fresh.close()
                if self.interrupted:
                    self.show(
                        at, "stopped", series, f"interrupted at {self.dim} {step}: move the slider to train again."
                    )
                return
            for name, row in values.items():
                series.setdefault(name, np.full(len(self.column), np.nan))[self.place(step)] = row[0]
            if time.monotonic() - sent > FRAME_SECONDS:
                self.show(at, "running", series)
                sent = time.monotonic()
        if not series:
            raise ValueError("train yields nothing here.")
        self.show(at, "diverged" if diverged else "done", series, diverged.get(0, ""))

    def show(self, at, state, series, message=""):
        packed = {name: float32(values) for name, values in series.items()}
        self.demo.chart.run = {"at": at, "state": state, "device": self.device, "message": message, "series": packed}


_RETRAINERS = weakref.WeakSet()


def _interrupt_all(*_):
    for runner in list(_RETRAINERS):
        runner.interrupt()


def _stop_on_interrupt():
    """Let an interrupt of the kernel end the training beside the cells, which is in no cell that it could stop.

    While a kernel handles a message, be it a cell or a slider's move, the interrupt is an exception there. Between
    messages a kernel ignores it, and would put back what it has saved: so that is what is replaced. A cell that awaits
    has a handler of its own, and ends in the exception.
    """
    shell = get_ipython()
    kernel = getattr(shell, "kernel", None)
    if not hasattr(kernel, "saved_sigint_handler"):
        return
    kernel.saved_sigint_handler = _interrupt_all
    kernel.pre_handler_hook = functools.partial(_before_message, kernel)
    if _after_cell not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _after_cell)


def _before_message(kernel):
    type(kernel).pre_handler_hook(kernel)
    signal.signal(signal.SIGINT, _interrupt_in_message)


def _interrupt_in_message(*received):
    _interrupt_all()
    signal.default_int_handler(*received)


def _after_cell(result):
    if isinstance(result.error_in_exec, KeyboardInterrupt):
        _interrupt_all()
