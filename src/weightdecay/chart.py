"""The chart under the sliders: what Python hands to the scripts in `js`, of which `demo.js` is the entry.

Python validates and lays out the numbers; the scripts only draw. The traits of `Chart` are the whole contract.
"""

from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import traitlets
import xarray as xr

_HERE = Path(__file__).parent


# In one module, since a notebook loads one: what is used stands above what uses it.
_SCRIPTS = ["keys", "basics", "axis", "curves", "marks", "table", "panel", "lines", "pictures", "links", "classroom"]


def _read(*names: str) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


class Chart(anywidget.AnyWidget):
    """Draws the curves, or the picture, that belong to the present position of some sliders.

    spec: what to draw at every position, from `line_spec` or `frame_spec`; never changes.
    sliders: selection sliders, in the order of `spec["shape"]`; the script follows their `index`.
    run: the fresh training run, replaced about thirty times a second while it lasts:
        {"at": slider positions, "state": "running" | "done" | "diverged" | "stopped" | "error", "device": str,
        "message": str, "series": {variable: float32 bytes, one number a column of the x axis}}.
    program: what a page without Python trains with, from `tape.Tape.program`; empty where it cannot.
    beat: counts up while training lasts, so that the script learns when the kernel is gone.
    """

    _esm = _read("vendor/uPlot.iife.min.js", *(f"js/{name}.js" for name in [*_SCRIPTS, "demo"]))
    _css = _read("vendor/uPlot.min.css", "chart.css")
    spec = traitlets.Dict().tag(sync=True)
    sliders = traitlets.List(traitlets.Instance(ipywidgets.Widget)).tag(sync=True, **ipywidgets.widget_serialization)
    run = traitlets.Dict().tag(sync=True)
    program = traitlets.Dict().tag(sync=True)
    beat = traitlets.Int().tag(sync=True)


def label(array: xr.DataArray) -> str:
    """The name of a variable or dimension as the reader sees it, with its unit."""
    name, units = array.attrs.get("long_name", array.name), array.attrs.get("units", "1")
    return name if units == "1" else f"{name} ({units})"


def slider_dims(curves: xr.Dataset, *others: str) -> list[str]:
    """The dimensions that get a slider: those with a choice, but for the `others`."""
    return [dim for dim in curves.dims if dim not in others and curves.sizes[dim] > 1]


def columns(x: xr.DataArray, log: bool) -> np.ndarray:
    """The x values as columns of the chart; on a log axis a NaN column parts 0 from the rest."""
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{x.name} holds no numbers to draw along: leave it to a slider, and name another x.")
    values = x.values.astype(float)
    if not log:
        return values
    if (values < 0).any() or (np.diff(values) <= 0).any():
        raise ValueError(f"A log axis needs increasing values that are not negative: {x.name} has others.")
    return np.insert(values, 1, np.nan) if values[0] == 0 else values


def line_spec(
    curves, *, x, panels, band=None, log_x=False, log_y=(), limits=None, best=None, dots=(), title="", question=""
) -> dict:
    """Lay out curves for the chart.

    x: the dimension along the horizontal axis. panels: {axis label: variables drawn there}.
    band: a dimension (such as seeds) shown as its median and the band from its 10 % to its 90 % quantile.
    log_y: labels of panels with a log axis. limits: {axis label: (low, high)} in place of the limits of
    the data, which are taken over every slider position, diverged runs apart, so that the axes stand still.
    best: {variable: "lowest" or "highest"} where a class predicts the place on the x axis at which a curve is best;
    other marks are held against the curve at the place where they are. question: what to ask before the slider moves.
    """
    for variable, which in (best or {}).items():
        if variable not in curves.data_vars or which not in ("lowest", "highest"):
            raise ValueError(f"best has {variable!r}: {which!r}; give a variable of curves and 'lowest' or 'highest'.")
    for variable in dots:
        if variable not in curves.data_vars:
            raise ValueError(f"dots has {variable!r}, which is no variable of curves.")
    sliders = slider_dims(curves, x, band)
    curves = curves.squeeze([dim for dim in curves.dims if curves.sizes[dim] == 1 and dim not in (x, band)])
    at_x = columns(curves[x], log_x)
    shape = [curves.sizes[dim] for dim in sliders]
    everywhere = xr.DataArray(np.zeros((*shape, curves.sizes[x])), dims=(*sliders, x))

    def lay_out(values):
        """Array (slider positions..., columns)."""
        values = values.broadcast_like(everywhere).transpose(*sliders, x).values
        return values if at_x.size == values.shape[-1] else np.insert(values, 1, np.nan, axis=-1)

    sentences = curves.coords.get("diverged", xr.DataArray("")).broadcast_like(everywhere).transpose(*sliders, ...)
    diverged = [max(row, key=len) for row in sentences.values.reshape(int(np.prod(shape)), -1).tolist()]
    settled = np.array([not sentence or all(diverged) for sentence in diverged]).reshape(shape)

    drawn = []
    for name, variables in panels.items():
        series = []
        for variable in variables:
            array = curves[variable]
            if band in array.dims:
                parts = {
                    key: array.quantile(q, band, skipna=False)
                    for key, q in {"low": 0.1, "values": 0.5, "high": 0.9}.items()
                }
            else:
                parts = {"values": array}
            words = {"name": label(array), "best": (best or {}).get(variable, "")}
            series.append({key: lay_out(part) for key, part in parts.items()} | words)
        log = name in log_y
        low, high = (limits or {}).get(name) or _limits(series, log, settled)
        packed = [{k: v if isinstance(v, str) else float32(v) for k, v in one.items()} for one in series]
        keys = [str(variable) for variable in variables]
        alone = [key for key in keys if key in dots]
        drawn.append({"label": name, "log": log, "limits": [low, high], "series": packed, "keys": keys, "dots": alone})
    return {
        "title": title,
        "question": question,
        "shape": shape,
        "x": {"label": label(curves[x]), "values": at_x.tobytes(), "log": log_x},
        "panels": drawn,
        "band": f"median and 10–90 % band of {curves.sizes[band]} {band}s" if band in curves.dims else "",
        "diverged": {str(i): sentence for i, sentence in enumerate(diverged) if sentence},
    }


def float32(values: np.ndarray) -> bytes:
    """Numbers as the script reads them; one too large for float32 becomes infinite and is not drawn."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32).tobytes()


def frame_spec(pictures: list[bytes], alts: list[str], shape: list[int], title="", question="") -> dict:
    """Pictures (WebP bytes), one a slider position in row-major order, each with its text."""
    return {"title": title, "question": question, "shape": shape, "frames": pictures, "alts": alts}


def _limits(series, log, settled) -> tuple[float, float]:
    """Limits that hold every finite number of the runs that did not diverge, with a small margin."""
    arrays = [array for one in series for array in one.values() if isinstance(array, np.ndarray)]
    values = np.concatenate([array[settled].ravel() for array in arrays])
    values = values[np.isfinite(values) & ((values > 0) | (not log))].astype(float)
    if not values.size:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = values.min(), values.max()
    if log:
        return float(low / 1.5), float(high * 1.5)
    margin = 0.05 * (high - low) or 1.0
    return float(0.0 if 0 <= low <= 5 * margin else low - margin), float(high + margin)
