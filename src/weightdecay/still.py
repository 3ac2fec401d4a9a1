"""What stands for a demo or a form where no script draws it: on GitHub, in notebook viewers, without JavaScript."""

import base64
import io

import ipywidgets
import numpy as np
from IPython.display import display

VIEW = "application/vnd.jupyter.widget-view+json"
SIZE = (792, 330)  # of a chart in pixels: as wide as the text of a page
COLOURS = 32  # in a picture's palette, which makes its file small


class Still:
    """A widget that brings along what stands for it.

    `still` gives a sentence, and what shows more than that, {MIME type: data}. Where widgets work, they come first.
    """

    def still(self) -> tuple[str, dict]:
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        text, data = self.still()
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return data | {"text/plain": text, VIEW: view}, {"image/png": {"alt": text}} if "image/png" in data else {}

    if hasattr(ipywidgets.Widget, "_ipython_display_"):  # version 7, as on Colab, asks for nothing but this

        def _ipython_display_(self, **kwargs) -> None:
            data, metadata = self._repr_mimebundle_()
            display(data, metadata=metadata, raw=True)


class Demo(Still, ipywidgets.VBox):
    """Sliders above their chart; to the page, a plain box of ipywidgets."""

    def __init__(self, sliders, chart, **options):
        super().__init__([*sliders, chart], **options)
        self.sliders, self.chart = sliders, chart

    def still(self) -> tuple[str, dict]:
        spec = self.chart.spec
        position, labels = [slider.index for slider in self.sliders], [slider.label for slider in self.sliders]
        if "between" in spec:  # stops that are not recorded: the nearest that is
            stops = [stops[index] for stops, index in zip(spec["between"], position, strict=True)]
            position = [nearest for nearest, _ in stops]
            labels = [label or own for (_, label), own in zip(stops, labels, strict=True)]
        at = np.ravel_multi_index(position, spec["shape"]) if spec["shape"] else 0
        named = zip(self.sliders, labels, spec["shape"], strict=True)
        named = [(slider, label) for slider, label, size in named if size > 1 or "frames" in spec]
        where = ", ".join(f"{slider.description} = {label}" for slider, label in named)
        draw, describe = (_frame, _describe_frame) if "frames" in spec else (_lines, _describe_lines)
        title = f"{spec['title']}. " if spec["title"] else ""
        picture = base64.b64encode(_small(draw(spec, at, where))).decode()
        return title + describe(spec, at, where), {"image/png": picture}


def _small(image) -> bytes:
    """A picture as PNG, with few colours, no wider than a chart and not much higher."""
    image = image.convert("RGB")
    image.thumbnail((SIZE[0], 400))
    packed = io.BytesIO()
    image.quantize(COLOURS, dither=0).save(packed, "png", optimize=True)
    return packed.getvalue()


def _frame(spec, at, where):
    from PIL import Image

    return Image.open(io.BytesIO(spec["frames"][at]))


def _describe_frame(spec, at, where) -> str:
    return spec["alts"][at]


def _curves(panel, at, width) -> list[tuple[str, dict[str, np.ndarray]]]:
    """The name of each variable of a panel, and its curves as they are drawn at one position of the sliders."""
    found = []
    for one in panel["series"]:
        curves = {}
        for key in ("values", "low", "high"):
            if key in one:
                values = np.frombuffer(one[key], np.float32).astype(float)[at * width : (at + 1) * width]
                curves[key] = np.where(np.isfinite(values) & ((values > 0) | (not panel["log"])), values, np.nan)
        found.append((one["name"], curves))
    return found


def _round(value) -> str:
    """A number to three figures, as the script writes it."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.2e}" if value and not 1e-3 <= abs(value) < 1e5 else f"{float(f'{value:.3g}'):g}"


def _within(value, low, high) -> str:
    said = _round(value)
    if value < low and said != _round(low):
        return f"below {_round(low)}"
    return f"above {_round(high)}" if value > high and said != _round(high) else said


def _describe_lines(spec, at, where) -> str:
    """The variables, and their values in the last column that any of them is drawn in.

    A value beyond the axis, such as a loss that is nothing but rounding, is told by the end of the axis.
    """
    x = np.frombuffer(spec["x"]["values"], float)
    curves = [
        (name, one["values"], panel["limits"]) for panel in spec["panels"] for name, one in _curves(panel, at, x.size)
    ]
    drawn = [column for _, values, _ in curves for column in np.flatnonzero(np.isfinite(values))]
    if not drawn:
        return f"{where}: nothing to show."
    values = ", ".join(f"{name} {_within(values[max(drawn)], *limits)}" for name, values, limits in curves)
    names, label = ", ".join(name for name, *_ in curves), spec["x"]["label"]
    end = x[max(drawn)]
    column = f"{end:.0f}" if end == round(end) else _round(end)
    place = ", ".join(part for part in (where, f"at {label} {column}") if part)
    band = f" ({spec['band']})" if spec["band"] else ""
    return f"{names} against {label}; {place}: {values}{band}."


def _lines(spec, at, where):
    """The charts as the script draws them: their axes and limits, a 0 that stands apart on a log axis, their bands."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.style import context
    from PIL import Image

    x = np.frombuffer(spec["x"]["values"], float)
    zero = _place_of_zero(x) if spec["x"]["log"] and x[0] == 0 else None
    places = x if zero is None else np.concatenate([[zero], x[1:]])
    with context("weightdecay.book"):
        dpi = matplotlib.rcParams["figure.dpi"]
        figure = Figure(figsize=(SIZE[0] / dpi, SIZE[1] / dpi))
        canvas = FigureCanvasAgg(figure)
        colours = iter(matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] * len(spec["panels"]))
        for panel, axes in zip(spec["panels"], figure.subplots(1, len(spec["panels"]), squeeze=False)[0], strict=True):
            for (name, curves), key in zip(_curves(panel, at, x.size), panel["keys"], strict=True):
                colour = next(colours)
                if "low" in curves:
                    axes.fill_between(places, curves["low"], curves["high"], color=colour, alpha=0.2, linewidth=0)
                solid = np.isfinite(curves["values"]) & (places != zero)
                if key in panel["dots"]:
                    drawn = {"marker": "o", "markersize": 4, "linestyle": "none"}
                else:
                    drawn = {"marker": "." if solid.sum() < 3 else None}
                axes.plot(places[solid], curves["values"][solid], color=colour, label=name, **drawn)
                if zero is not None:
                    axes.plot(zero, curves["values"][0], ".", color=colour)
            scales = {"xscale": "log" if spec["x"]["log"] else "linear", "yscale": "log" if panel["log"] else "linear"}
            axes.set(xlabel=spec["x"]["label"], ylabel=panel["label"], ylim=panel["limits"], **scales)
            if zero is not None:
                ticks = 10.0 ** np.arange(np.ceil(np.log10(x[2])), np.floor(np.log10(x[-1])) + 1)
                axes.set_xticks([zero, *ticks], ["0", *(f"{tick:g}" for tick in ticks)])
                axes.minorticks_off()
            axes.legend()
        figure.suptitle(where, x=0.01, ha="left", fontsize="medium")
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba()))


def _place_of_zero(x) -> float:
    """Where 0 is drawn on a log axis: to the left of the smallest other value."""
    logs = np.log10(x[x > 0])
    return 10 ** (logs[0] - max(0.4, 0.08 * (logs[-1] - logs[0])))
