"""Run a training generator at every point of a grid and keep the curves as one dataset."""

import datetime
import inspect
import itertools
import json
import math
import numbers
import pathlib
import platform
import time
import warnings
from importlib.metadata import PackageNotFoundError, version

import joblib
import numpy as np
import xarray as xr
from tqdm import tqdm

from weightdecay.device import pick_device
from weightdecay.report import passing_line

SYMBOLS = {"lambd": "λ", "lr": "learning rate η", "tau": "τ", "gamma": "γ", "sigma": "σ", "eps": "ε"}
NOT_NEGATIVE = {"lambd": "a negative λ makes the weights grow; use 0 for no decay", "lr": "it would climb the loss"}


class DivergenceWarning(UserWarning):
    """A run of a sweep left the finite numbers."""


def sweep(train, *, dim="step", broadcast=False, n_jobs=None, store=None, units=None, **grid) -> xr.Dataset:
    """Train at every point of a grid; return what training yielded as an `xarray.Dataset`.

    `train(**point)` is a generator that yields ``(step, {"train loss": 0.1, "w norm": 3.0, ...})``.
    A keyword with several values is swept (several of them make a product grid); one with a single value
    is handed to every run. The dataset's dimensions are the swept names, then `dim`, the name of what
    `train` counts; its variables are what `train` yields.

    broadcast: `train` takes the whole grid at once, or, where this is a number, so many points at a time. It gets
        each swept parameter as an array of shape (K, 1), one row a grid point, and yields arrays of K numbers.
    n_jobs: processes to use, as in joblib; the default follows ``joblib.parallel_config``, by which the
        same call runs on a cluster too.
    store: a folder in which every finished run is kept, so that a sweep that was stopped goes on where it was. A run
        is known by the text of `train` and by its parameters; hand it as a parameter whatever else it depends on.
    units: units for the dataset's variables and dimensions, for example ``{"step": "epochs"}``.

    A run that diverges is NaN from that step on; the coordinate ``diverged`` says when and why, and a
    DivergenceWarning repeats it. After Ctrl-C the finished runs are returned, the others are NaN, and the
    attribute ``interrupted`` counts them. Raises ValueError for a λ or learning rate that is negative, NaN
    or infinite; an exception in `train` is raised with a note naming the point.
    """
    swept = {name: np.asarray(values) for name, values in grid.items() if np.ndim(values) == 1}
    fixed = {name: value for name, value in grid.items() if name not in swept}
    if not swept or not all(values.size for values in swept.values()):
        raise ValueError("Nothing to sweep: give at least one parameter a list of values, such as lambd=[0, 0.1, 1].")
    for name, values in (swept | {name: [value] for name, value in fixed.items()}).items():
        for value in values:
            check_parameter(name, value)
    points = [
        dict(zip(swept, point, strict=True)) for point in itertools.product(*(v.tolist() for v in swept.values()))
    ]

    program = getattr(train, "__qualname__", None) or getattr(train, "func", train).__qualname__
    start = time.perf_counter()
    together = 1 if broadcast is False else len(points) if broadcast is True else broadcast
    parts = [range(i, min(i + together, len(points))) for i in range(0, len(points), together)]
    if broadcast:
        jobs = [(rows, {name: np.array([[points[i][name]] for i in rows]) for name in swept}) for rows in parts]
    else:
        jobs = [(rows, points[rows[0]]) for rows in parts]
    once, text = _train_once, ""
    if store is not None:
        once, text = joblib.Memory(store, verbose=0).cache(_train_once, ignore=["train"]), _text(train)
    done = []
    try:
        results = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
            joblib.delayed(_train_rows)(once, train, text, fixed | parameters, rows, dim) for rows, parameters in jobs
        )
        for result in tqdm(results, total=len(jobs), desc=program, leave=False, delay=1, file=passing_line()):
            done.append(result)
    except KeyboardInterrupt:
        warnings.warn(f"Interrupted: {len(done)} of {len(jobs)} runs are kept, the others are NaN.", stacklevel=2)

    curves = _to_dataset(done, swept, dim)
    for index in zip(*np.nonzero(curves["diverged"].values), strict=True):
        point = ", ".join(f"{name}={values[i]:g}" for (name, values), i in zip(swept.items(), index, strict=True))
        warnings.warn(f"{point} {curves['diverged'].values[index]}", DivergenceWarning, stacklevel=2)
    for name in curves.variables:
        curves[name].attrs["units"] = (units or {}).get(name, "1")
        if name in SYMBOLS:
            curves[name].attrs["long_name"] = SYMBOLS[name]
    curves.attrs = {
        "dim": dim,
        "train": program,
        "fixed": json.dumps(fixed, default=lambda value: type(value).__name__),
        "device": str(pick_device()),
        "seconds": round(time.perf_counter() - start, 3),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": json.dumps(
            {"python": platform.python_version()} | _versions("weightdecay", "torch", "numpy", "mxnet")
        ),
        "interrupted": f"{len(done)} of {len(jobs)} runs" if len(done) < len(jobs) else "",
    }
    return curves


def find_record(path) -> pathlib.Path:
    """Where a chapter's record is: at `path`, or else among those installed with the library; `path` if in neither.

    A chapter that is opened on its own, as on Colab, has no files beside it. An editable installation holds none of
    its own, so that what is deleted in the repository is made again.
    """
    path = pathlib.Path(path)
    installed = pathlib.Path(__file__).with_name("records") / path.name
    return installed if installed.exists() and not path.exists() else path


def recorded(path, make, **provenance) -> xr.Dataset:
    """Load the dataset that `find_record` finds; where there is none, `make()` it and store it with its provenance.

    For what takes more than about a minute: delete the file to have it made again. `provenance` (the command, the
    seed, ...) is added to the attributes that `sweep` gives; variables are stored in single precision. A sweep that
    was interrupted is not stored: raises RuntimeError.
    """
    path = find_record(path)
    if not path.exists():
        made = make().assign_attrs(provenance)
        if made.attrs.get("interrupted"):
            raise RuntimeError(f"{path} is not stored, since only {made.attrs['interrupted']} ended: run this again.")
        small = {name: {"dtype": "float32"} for name in made.data_vars if made[name].dtype.kind == "f"}
        part = path.with_suffix(".part")
        made.to_netcdf(part, encoding=small)
        part.replace(path)  # so that a stop half way leaves nothing that looks like a record
    return xr.load_dataset(path)


def check_parameter(name, value) -> None:
    """Raise ValueError, in one sentence, for a number that training cannot use."""
    if not isinstance(value, numbers.Real):
        return
    symbol = SYMBOLS.get(name, name)
    if not math.isfinite(value):
        raise ValueError(f"{symbol} must be a finite number, but it is {value}: leave that value out of the grid.")
    if value < 0 and name in NOT_NEGATIVE:
        raise ValueError(f"{symbol} must not be negative, but it is {value:g}: {NOT_NEGATIVE[name]}.")


def follow(train, parameters, size=1, dim="step"):
    """Yield (step, {name: array of `size` numbers}, {row: sentence}) as training goes.

    A row that diverged is NaN from that step on, and its sentence says what happened; once every row has
    diverged the training is ended. Raises ValueError where a yielded value does not hold `size` numbers.
    """
    diverged = {}
    for step, yielded in train(**parameters):
        values = {name: _as_row(name, value, size) for name, value in yielded.items()}
        for name, row in values.items():
            for i in np.flatnonzero(~np.isfinite(row)):
                diverged.setdefault(int(i), f"diverged: at {dim} {step} the {name} is {row[i]:g}; lower η or λ.")
        for row in values.values():
            row[list(diverged)] = np.nan
        yield step, values, diverged
        if len(diverged) == size:
            return


def _as_row(name, value, size) -> np.ndarray:
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu().numpy()
    row = np.array(value, dtype=float).reshape(-1)
    if row.size != size:
        raise ValueError(f"train yields {row.size} numbers for {name!r} where {size} are expected (broadcast=...?).")
    return row


def _train_rows(once, train, text, parameters, rows, dim):
    """Return (rows, steps, series, sentences) of one call of `train`; runs in a worker process."""
    return rows, *once(train, text, parameters, len(rows), dim)


def _train_once(train, text, parameters, size, dim):
    """Return (steps, {name: list of arrays}, diverged); `text` is there for the store, which knows a run by it."""
    steps, series, sentences = [], {}, {}
    try:
        for step, values, diverged in follow(train, parameters, size, dim):
            sentences = diverged
            steps.append(step)
            for name, row in values.items():
                series.setdefault(name, []).append(row)
    except Exception as error:
        error.add_note(f"while training with {parameters}")
        raise
    return steps, series, sentences


def _text(train) -> str:
    """The program of `train` as text, with what a partial has filled in."""
    filled = []
    while hasattr(train, "func"):
        filled += [train.args, sorted(train.keywords.items())]
        train = train.func
    try:
        return f"{inspect.getsource(train)}{filled or ''}"
    except (OSError, TypeError) as error:
        raise ValueError("A store needs the text of train: define it in a notebook or a file.") from error


def _to_dataset(done, swept, dim) -> xr.Dataset:
    """Lay the runs on one common axis of steps: NaN where a run has no value."""
    shape = tuple(values.size for values in swept.values())
    axis = np.unique([step for _, steps, _, _ in done for step in steps])
    names = dict.fromkeys(name for _, _, series, _ in done for name in series)
    data = {name: np.full((math.prod(shape), axis.size), np.nan) for name in names}
    diverged = np.full(math.prod(shape), "", dtype=object)
    for rows, steps, series, sentences in done:
        at = np.searchsorted(axis, steps)
        for name, values in series.items():
            data[name][np.ix_(rows, at)] = np.transpose(values)
        for i, sentence in sentences.items():
            diverged[rows[i]] = sentence
    return xr.Dataset(
        {name: ((*swept, dim), values.reshape(*shape, axis.size)) for name, values in data.items()},
        coords=swept | {dim: axis, "diverged": (tuple(swept), diverged.astype(str).reshape(shape))},
    )


def _versions(*packages) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
