"""The Makefile and the program that gets a browser, in a folder of their own, with stand-ins for what they call."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from notebooks import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the Makefile expects a Unix")

PLAYWRIGHT = """
import os
from contextlib import nullcontext
from types import SimpleNamespace

os.geteuid = lambda: int(os.environ["USER_ID"])
PATH = os.environ["DOWNLOAD"]


def sync_playwright():
    return nullcontext(SimpleNamespace(chromium=SimpleNamespace(executable_path=PATH)))
"""


@pytest.fixture(autouse=True)
def outside(monkeypatch):
    """As if no make were running this test: one within another says which folder it enters."""
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path):
    """A clone, as far as make sees it, in a folder with a space."""
    folder = tmp_path / "my book"
    (folder / "book" / "records").mkdir(parents=True)
    (folder / "book" / "adder.ipynb").touch()
    shutil.copy(ROOT / "Makefile", folder)
    return folder


def write(path, text):
    """An executable script of the shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def make(folder, *arguments):
    """Run make as if the environment were complete."""
    command = ["make", "-o", ".venv/.installed", "-o", "venv", "-o", ".venv-colab/.installed", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_a_folder_with_a_space_is_one_word(folder):
    line = make(folder, "--dry-run", "test-colab").stdout.splitlines()[-1]
    assert shlex.split(line)[0] == f"JUPYTER_PATH={folder}/.venv-colab/share/jupyter"


@pytest.mark.parametrize("target", ["test", "browser", "pdf", "bench", "test-colab"])
def test_what_needs_a_browser_gets_one_first(folder, target):
    for name in ("requirements.txt", "constraints.txt", "pyproject.toml", "book/hub.json"):
        (folder / name).touch()
    lines = make(folder, "--dry-run", target).stdout.splitlines()
    assert lines[0] == ".venv/bin/python tests/browser/chromium.py"


def test_an_old_record_is_kept_until_there_is_a_new_one(folder):
    records = folder / "book" / "records"
    for name in ("adder.nc", "adder-small.nc", "adders.nc"):
        (records / name).write_text("old")
    write(folder / ".venv/bin/python", "exit 1")
    assert make(folder, "recompute", "CHAPTER=adder").returncode != 0
    assert (records / "adders.nc").read_text() == "old"
    assert not (records / "adder.nc").exists()  # to be made again
    assert (records / "adder.before" / "adder.nc").read_text() == "old"
    write(folder / ".venv/bin/python", "echo new > book/records/adder.nc")
    ended = make(folder, "recompute", "CHAPTER=adder")
    assert ended.returncode == 0
    assert "still in book/records/adder.before: adder-small.nc" in ended.stdout
    assert [path.name for path in (records / "adder.before").iterdir()] == ["adder-small.nc"]
    write(folder / ".venv/bin/python", "echo new > book/records/adder-small.nc; echo new > book/records/adder.nc")
    assert make(folder, "recompute", "CHAPTER=adder").returncode == 0
    assert sorted(path.name for path in records.iterdir()) == ["adder-small.nc", "adder.nc", "adders.nc"]


def test_the_record_that_no_chapter_makes_stays_where_it_is(folder):
    """`make minilm` makes it, with packages that the book does not need."""
    (folder / "book" / "in-practice.ipynb").touch()
    records = folder / "book" / "records"
    for name in ("in-practice.nc", "in-practice-minilm.nc"):
        (records / name).write_text("old")
    write(folder / ".venv/bin/python", "echo new > book/records/in-practice.nc")
    assert make(folder, "recompute", "CHAPTER=in-practice").returncode == 0
    assert (records / "in-practice-minilm.nc").read_text() == "old"
    assert (records / "in-practice.nc").read_text() == "new\n"
    assert make(folder, "--dry-run", "minilm").stdout.splitlines()[-1].endswith(".venv/bin/python tests/minilm.py")


def test_an_environment_that_make_did_not_make_is_left_alone(folder):
    for name in ("requirements.txt", "constraints.txt", "pyproject.toml"):
        (folder / name).touch()
    own = folder / ".venv" / "own"
    own.parent.mkdir()
    own.touch()
    write(folder / "python", 'case "$*" in *venv\\ --clear*) rm -r .venv; exit 1;; esac')
    ended = subprocess.run(["make", "venv", "PYTHON=./python"], cwd=folder, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "Here is a .venv that make did not make. Move it away" in ended.stdout
    make(folder, "clean")
    assert own.exists()
    (folder / ".venv" / ".installed").touch()
    make(folder, "clean")
    assert not own.exists()


def test_a_list_of_versions_is_replaced_by_a_whole_one_only(folder):
    (folder / "constraints.txt").write_text("numpy==2\n")
    write(folder / ".venv/bin/python", "echo torch==2; exit 1")
    assert make(folder, "lock").returncode != 0
    assert (folder / "constraints.txt").read_text() == "numpy==2\n"
    write(folder / ".venv/bin/python", "echo torch==2+cpu")
    assert make(folder, "lock").returncode == 0
    assert (folder / "constraints.txt").read_text() == "torch==2\n"


@pytest.mark.parametrize(
    ("download", "package", "user", "asked"),
    [
        ("exit 0", "exit 0", "0", ["install chromium"]),
        ("exit 127", "exit 0", "0", ["install chromium", "update", "install --yes chromium"]),  # lacks a library
        (None, "exit 0", "0", ["install chromium", "update", "install --yes chromium"]),
        (None, None, "0", ["install chromium", "update", "install --yes chromium"]),
        (None, "exit 0", "1000", ["install chromium"]),  # who may not install asks for no package
    ],
)
def test_a_browser_is_downloaded_or_else_installed(tmp_path, download, package, user, asked):
    """download, package: what the program does that they bring; None: they are refused."""
    programs, modules, log = tmp_path / "bin", tmp_path / "modules" / "playwright", tmp_path / "log"
    modules.mkdir(parents=True)
    (modules / "__init__.py").touch()
    (modules / "sync_api.py").write_text(PLAYWRIGHT)
    bring = "" if download is None else f"os.replace({str(tmp_path / 'offered')!r}, os.environ['DOWNLOAD'])"
    if download:
        write(tmp_path / "offered", download)
    note = f"import os, sys\nwith open({str(log)!r}, 'a') as log:\n    print(*sys.argv[1:], file=log)\n"
    (modules / "__main__.py").write_text(note + (bring or "sys.exit('no network')"))
    install = f"/bin/cp '{tmp_path}/package' '{programs}/chromium'" if package else "exit 100"
    if package:
        write(tmp_path / "package", package)
    write(programs / "apt-get", f"echo \"$@\" >> '{log}'\ncase $1 in install) {install};; esac")
    environment = {"PATH": str(programs), "PYTHONPATH": str(modules.parent)}
    environment |= {"DOWNLOAD": str(tmp_path / "downloaded"), "USER_ID": user}
    command = [sys.executable, ROOT / "tests" / "browser" / "chromium.py"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert log.read_text().splitlines() == asked
    found = download == "exit 0" or (package is not None and user == "0")
    assert (ended.returncode == 0) == found
    assert ("There is no Chromium that starts" in ended.stderr) == (not found)
