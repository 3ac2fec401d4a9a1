"""Run a training generator at every point of a grid and keep the curves as one dataset."""

import datetime
import inspect
import itertools
import json
import math
import numbers
import pathlib
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import joblib
import numpy as np
import xarray as xr
from tqdm import tqdm

from weightdecay.device import pick_device
from weightdecay.report import passing_line

SYMBOLS = {
    "lambd": "λ",
    "lambd1": "λ₁",
    "lr": "learning rate η",
    "batch_size": "|B|",
    "tau": "τ",
    "gamma": "γ",
    "sigma": "σ",
    "eps": "ε",
}
NOT_NEGATIVE = {"lambd": "a negative λ makes the weights grow; use 0 for no decay", "lr": "it would climb the loss"}


class DivergenceWarning(UserWarning):
    """A run of a sweep left the finite numbers."""


def sweep(train, *, dim="step", broadcast=False, n_jobs=None, store=None, units=None, **grid) -> xr.Dataset:
    """Train at every point of a grid; return what training yielded as an `xarray.Dataset`.

    `train(**point)` is a generator that yields ``(step, {"train loss": 0.1, "w norm": 3.0, ...})``.
    A keyword with several values is swept (several of them make a product grid); one with a single value
    is handed to every run. Values may be numbers, booleans, strings or None. The dataset's dimensions are the swept
    names, then `dim`, the name of what `train` counts; its variables are what `train` yields. What a run does not
    yield at a step, or yields as None, is NaN there: a metric may come at some steps only.

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
    or infinite, and where no run yields anything; an exception in `train` is raised with a note naming the point.
    """
    coordinates = {name: _coordinate(name, values) for name, values in grid.items() if np.ndim(values) == 1}
    swept = {name: values_of(coordinate) for name, coordinate in coordinates.items()}
    fixed = {name: value for name, value in grid.items() if name not in swept}
    if not swept or not all(swept.values()):
        raise ValueError("Nothing to sweep: give at least one parameter a list of values, such as lambd=[0, 0.1, 1].")
    for name, values in (swept | {name: [value] for name, value in fixed.items()}).items():
        for value in values:
            check_parameter(name, value)
    points = [dict(zip(swept, point, strict=True)) for point in itertools.product(*swept.values())]

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

    silent = [row for rows, yielded, _ in done if not yielded for row in rows]
    if len(silent) == len(points):
        raise ValueError('train yields nothing: it has to yield (step, {"train loss": ...}) at least once.')
    curves = _to_dataset(done, coordinates, dim)
    diverged = curves["diverged"].values.ravel()
    for point, sentence in zip(points, diverged, strict=True):
        if sentence:
            warnings.warn(f"{_name(point)} {sentence}", DivergenceWarning, stacklevel=2)
    for row in silent:
        warnings.warn(f"{_name(points[row])} yields nothing, so its row is NaN.", stacklevel=2)
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


# The book's own records, in the repository and as they are installed with the library.
BOOK = pathlib.Path(__file__).parents[2] / "book"
INSTALLED = pathlib.Path(__file__).with_name("records")


def find_record(path) -> pathlib.Path:
    """Where a record is: at `path`, or else, if that is a bare name, among those of this book; `path` if in neither.

    So a chapter finds its records from whatever folder it is run, and, opened on its own as on Colab, without a file
    beside it. In the repository and its editable installation the book's records are the files of book/records, made
    or still to be made, that bear a chapter's name (``adamw.nc``, ``adamw-rule.nc``): give your own another.
    """
    path = pathlib.Path(path)
    if path.exists() or path.name != str(path):
        return path
    if any(f"{path.stem}-".startswith(f"{chapter.stem}-") for chapter in BOOK.glob("*.ipynb")):
        return BOOK / "records" / path
    return INSTALLED / path if (INSTALLED / path).exists() else path


def recorded(path, make, **provenance) -> xr.Dataset:
    """Load the dataset that `find_record` finds; where there is none, `make()` it and store it with its provenance.

    For what takes more than about a minute: it says on stderr that it begins, and how long the book's records took
    last time. Delete the file to have it made again. `provenance` (the command, the seed, ...) is added to the
    attributes that `sweep` gives; variables are stored in single precision. No file that is there is overwritten:
    raises ValueError if it cannot be read. What cannot be written is returned all the same, with a warning. A sweep
    that was interrupted is not stored: raises RuntimeError.
    """
    path = find_record(path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        times = BOOK / "records" / "seconds.json"
        took = json.loads(times.read_text()) if path.parent == times.parent and times.exists() else {}
        last = took.get(path.name)
        last = "" if last is None else f", which took {_duration(last)} last time"
        print(f"There is no {path.name}, so it is made now{last}.", file=sys.stderr, flush=True)
        start = time.perf_counter()
        made = make().assign_attrs(provenance)
        if made.attrs.get("interrupted"):
            raise RuntimeError(f"{path} is not stored, since only {made.attrs['interrupted']} ended: run this again.")
        made.attrs.setdefault("seconds", round(time.perf_counter() - start, 3))
        small = {name: {"dtype": "float32"} for name in made.data_vars if made[name].dtype.kind == "f"}
        # Written whole before it is moved, a stop half way leaves nothing that looks like a record.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = pathlib.Path(folder) / path.name
            try:
                made.to_netcdf(part, encoding=small)
            except Exception as error:  # a name or an attribute that the format has no place for; hours may be in it
                warnings.warn(f"{path} is not stored, only returned: {error}", stacklevel=2)
                return made
            if not path.exists():  # another kernel may have been quicker
                part.replace(path)
        if path.parent == times.parent:
            took[path.name] = made.attrs["seconds"]
            times.write_text(json.dumps(took, indent=1, sort_keys=True) + "\n")
    try:
        return xr.load_dataset(path)
    except Exception as error:  # what a reader of NetCDF files says of another file can be anything
        raise ValueError(f"{path} is no record that can be read: move it away to have it made again.") from error


def _duration(seconds: float) -> str:
    """In words, as people would say it."""
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def check_parameter(name, value) -> None:
    """Raise ValueError, in one sentence, for a number that training cannot use."""
    if not isinstance(value, numbers.Real):
        return
    symbol = SYMBOLS.get(name, name)
    if not math.isfinite(value):
        raise ValueError(f"{symbol} must be a finite number, but it is {value}: leave that value out of the grid.")
    if value < 0 and name in NOT_NEGATIVE:
        raise ValueError(f"{symbol} must not be negative, but it is {value:g}: {NOT_NEGATIVE[name]}.")


def values_of(coordinate: xr.DataArray) -> list:
    """The values of a swept parameter as `train` gets them: in a coordinate, None and mixed values are text."""
    values = coordinate.values.tolist()
    original = {str(value): value for value in json.loads(coordinate.attrs.get("values", "[]"))}
    return [original.get(value, value) for value in values] if original else values


def text_of(value, digits=6) -> str:
    """A parameter's value as the reader sees it, a number that is not whole with so many digits."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return str(value)
    whole = value == int(value) if math.isfinite(value) else False
    return str(int(value)) if whole and abs(value) < 1e6 else f"{value:.{digits}g}"


def follow(train, parameters, size=1, dim="step"):
    """Yield (step, {name: array of `size` numbers}, {row: sentence}) as training goes.

    What is yielded as None is left out. A row that diverged is NaN from that step on, and its sentence says what
    happened; once every row has diverged the training is ended. Raises ValueError where `train` yields something
    else than a step with a dict, or a value does not hold `size` numbers.
    """
    diverged = {}
    for pair in train(**parameters):
        step, yielded = _as_pair(pair, dim)
        values = {name: _as_row(name, value, size) for name, value in yielded.items() if value is not None}
        for name, row in values.items():
            for i in np.flatnonzero(~np.isfinite(row)):
                diverged.setdefault(int(i), f"diverged: at {dim} {step} the {name} is {row[i]:g}; lower η or λ.")
        for row in values.values():
            row[list(diverged)] = np.nan
        yield step, values, diverged
        if len(diverged) == size:
            return


def _as_pair(pair, dim) -> tuple:
    """What `train` yielded as (step, dict)."""
    if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[1], Mapping)):
        raise ValueError(f'train has to yield ({dim}, {{"train loss": ...}}), but it yields {pair!r:.80}.')
    step = pair[0].item() if hasattr(pair[0], "item") else pair[0]
    if not isinstance(step, numbers.Real) or not math.isfinite(step):
        raise ValueError(f"train yields the {dim} {step!r}, which is no finite number.")
    return step, pair[1]


def _as_row(name, value, size) -> np.ndarray:
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu().numpy()
    row = np.array(value, dtype=float).reshape(-1)
    if row.size != size:
        raise ValueError(f"train yields {row.size} numbers for {name!r} where {size} are expected (broadcast=...?).")
    return row


def _train_rows(once, train, text, parameters, rows, dim):
    """Return (rows, what was yielded, sentences) of one call of `train`; runs in a worker process."""
    return rows, *once(train, text, parameters, len(rows), dim)


def _train_once(train, text, parameters, size, dim):
    """Return ([(step, {name: array})], diverged); `text` is there for the store, which knows a run by it."""
    yielded, sentences = [], {}
    try:
        for step, values, diverged in follow(train, parameters, size, dim):
            sentences = diverged
            yielded.append((step, values))
    except Exception as error:
        error.add_note(f"while training with {parameters}")
        raise
    return yielded, sentences


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


def _coordinate(name, values) -> xr.DataArray:
    """A swept parameter as a coordinate that any file can hold: None and mixed values as text, see `values_of`."""
    array, attrs = np.asarray(values), {}
    if array.dtype.kind not in "biuf":
        given = array.tolist() if isinstance(values, np.ndarray) else list(values)
        for value in given:
            if not isinstance(value, (str, bool, numbers.Real, type(None))):
                raise ValueError(
                    f"{name} holds {value!r}, which no record can keep: sweep names, and look it up in train."
                )
        array = np.array([str(value) for value in given])
        if len(set(array)) < len(array):
            raise ValueError(f"{name} holds values that read the same: {', '.join(array)}.")
        if not all(isinstance(value, str) for value in given):
            attrs = {"values": json.dumps(given, default=lambda value: value.item())}
    return xr.DataArray(array, dims=name, attrs=attrs)


def _name(point) -> str:
    return ", ".join(f"{name}={text_of(value)}" for name, value in point.items())


def _to_dataset(done, coordinates, dim) -> xr.Dataset:
    """Lay the runs on one common axis of steps: NaN where a run has no value."""
    shape = tuple(coordinate.size for coordinate in coordinates.values())
    axis = np.unique([step for _, yielded, _ in done for step, _ in yielded])
    column = {step: i for i, step in enumerate(axis.tolist())}
    data, diverged = {}, np.full(math.prod(shape), "", dtype=object)
    for rows, yielded, sentences in done:
        for step, values in yielded:
            for name, row in values.items():
                if name not in data:
                    data[name] = np.full((math.prod(shape), axis.size), np.nan)
                data[name][rows, column[step]] = row
        for i, sentence in sentences.items():
            diverged[rows[i]] = sentence
    return xr.Dataset(
        {name: ((*coordinates, dim), values.reshape(*shape, axis.size)) for name, values in data.items()},
        coords=coordinates | {dim: axis, "diverged": (tuple(coordinates), diverged.astype(str).reshape(shape))},
    )


def _versions(*packages) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
