"""What trains in the demos of a chapter, found by running no more of the chapter than the demos need."""

import ast
import contextlib
import dis
import io
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import NamedTuple
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from notebooks import ROOT, cells_of

import weightdecay
from weightdecay.sweep import follow, sweep

CHAPTERS = sorted(path.stem for path in (ROOT / "book").glob("*.ipynb"))


class Demo(NamedTuple):
    """A `train` for the sliders where they start, and what the badge of its demo calls the device."""

    title: str
    device: str
    dim: str
    last: float  # where the recorded curves end
    train: Callable
    point: dict

    def run(self):
        """Train; yields (step, {name: array of one number}), read back from the device."""
        for step, values, _ in follow(self.train, self.point, dim=self.dim):
            yield step, values


def demos_of(chapter: str, cells: list[str] | None = None) -> list[Demo]:
    """The demos of a chapter that train, on the device that is chosen here and now; `cells` replace its own."""
    cells, found = cells or cells_of(chapter), []
    torch.set_default_dtype(torch.float32)  # some chapters choose another
    live = [i for i, cell in enumerate(cells) if re.search(r"\blive\((?!None)", cell)]
    with catching(found, sweep=one_step), contextlib.chdir(ROOT / "book"), contextlib.redirect_stdout(io.StringIO()):
        space = {}
        for i in needed(cells, live):
            exec(compile(cells[i], f"{chapter}, cell {i}", "exec"), space)
    return found


def demos_of_page(name: str) -> dict[str, Demo]:
    """The demos that train of a page of the site, by their titles."""
    source = ROOT / "book" / Path(name).with_suffix(".md").name
    cells = None
    if source.exists():
        blocks = re.findall(
            r"^```\{code-cell\}.*?\n(.*?)^```$", source.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
        cells = [
            re.sub(r"\A(:[^\n]*\n|---\n.*?^---\n)*\n*", "", block, flags=re.DOTALL | re.MULTILINE) for block in blocks
        ]
    return {demo.title: demo for demo in demos_of(source.stem, cells)}


@contextlib.contextmanager
def catching(found: list, sweep: Callable, then=lambda demo: None):
    """Let `live` note in `found` what it would train, then hand it over, in place of a thread of its own."""
    live = weightdecay.live

    def noting(train, curves, **options):
        """As `live`."""

        def note(runner):
            at = [slider.index for slider in runner.demo.sliders]
            last = curves[runner.dim].values.max()
            found.append(Demo(options["title"], runner.device, runner.dim, last, runner.train, runner.point(at)))
            then(found[-1])

        with mock.patch.object(sys.modules["weightdecay.live"]._Retrainer, "check", note):
            options.pop("dots", None)  # they may be of a variable that is not yielded at the first step
            return live(train, curves, **options)

    with mock.patch.multiple(weightdecay, live=noting, sweep=sweep):
        yield


def one_step(train, *, dim="step", broadcast=False, n_jobs=None, store=None, units=None, **grid) -> xr.Dataset:
    """What `sweep` would give, with what the first point yields first in place of every number."""
    swept = {name: np.asarray(values) for name, values in grid.items() if np.ndim(values) == 1}
    first = {name: np.array([values[:1]]) if broadcast else values[:1].tolist()[0] for name, values in swept.items()}
    step, values, _ = next(follow(train, {**grid, **first}, dim=dim))
    shape = [*map(len, swept.values()), 1]
    data = {name: ((*swept, dim), np.full(shape, value.item())) for name, value in values.items()}
    return xr.Dataset(data, coords={**swept, dim: [step]}, attrs={"dim": dim, "seconds": 0.0, "fixed": "{}"})


def needed(cells: list[str], last: list[int]) -> list[int]:
    """The cells that some cells rest on, in order: for each name that one uses, the cell that binds it."""
    binds, uses = zip(*map(names_of, cells), strict=True)
    chosen, todo = set(), list(last)
    while todo:
        if (i := todo.pop()) not in chosen:
            chosen.add(i)
            for name in uses[i]:
                where = [j for j, bound in enumerate(binds) if name in bound]
                todo += [j for j in where if j < i][-1:] or where[:1]  # a function may use what is bound after it
    return sorted(chosen)


def names_of(cell: str) -> tuple[set[str], set[str]]:
    """The names that a cell binds, and those that it takes from others, inside its functions too."""
    binds, uses = set(), set()
    for statement in ast.parse(cell).body:
        top = compile(ast.Module([statement], []), "cell", "exec")
        bound = {step.argval for step in dis.get_instructions(top) if step.opname == "STORE_NAME"}
        used, codes = set(), [top]
        while codes:
            code = codes.pop()
            codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
            used |= {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
        takes_its_own = isinstance(statement, ast.Assign | ast.AugAssign)  # x = x + 1, but not: for i in ...: use(i)
        uses |= used - binds - (set() if takes_its_own else bound)
        binds |= bound
    return binds, uses


def run_chapter(chapter: str, frames: int = 3) -> list[Demo]:
    """Run all cells of a chapter in this process, and as many frames of each of its demos."""
    found = []

    def serial(train, *, n_jobs=None, store=None, **options):
        """As `sweep`, in this process alone."""
        return sweep(train, **options)

    def begin(demo):
        """The first frames of a live training."""
        assert list(itertools.islice(demo.run(), frames))

    with catching(found, serial, begin), contextlib.chdir(ROOT / "book"):
        space = {}
        for i, cell in enumerate(cells_of(chapter)):
            exec(compile(cell, f"{chapter}, cell {i}", "exec"), space)
            plt.close("all")
    return found


if __name__ == "__main__":
    from pretended_gpu import pretended_gpu

    for name in sys.argv[1:]:
        with pretended_gpu() as mode:
            print(f"{name}: {len(run_chapter(name))} demos, {mode.count:,} operations on the pretended GPU", flush=True)
