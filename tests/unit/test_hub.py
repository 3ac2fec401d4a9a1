"""What serves the book to a class: the files that repo2docker reads, and what was measured for the page on it."""

import json
import re

from notebooks import ROOT

BINDER = ROOT / ".binder"


def test_binder_installs_what_make_installs():
    asked = [line for line in (BINDER / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert {"-r ../requirements.txt", "-c ../constraints.txt", "-e ."} <= set(asked)
    mxnet = re.search(r"^MXNET := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert f"--no-deps {mxnet}" in (BINDER / "postBuild").read_text()


def test_binder_has_a_python_that_the_library_takes():
    python = re.fullmatch(r"python-(\d+)\.(\d+)\n", (BINDER / "runtime.txt").read_text())
    least = re.search(r'^requires-python = ">=(\d+)\.(\d+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert tuple(map(int, python.groups())) >= tuple(map(int, least.groups()))


def test_every_chapter_was_measured():
    record = json.loads((ROOT / "book" / "hub.json").read_text())
    assert {one["chapter"] for one in record["alone"]} == {path.stem for path in (ROOT / "book").glob("*.ipynb")}
    assert all(one["memory"] > 0 and 0 < one["ready"] < one["first demo"] for one in record["alone"])
    assert {one["readers"] for one in record["at once"]} == {20}
