"""What a chapter's page offers to take home."""

import ast
import os
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup
from jupyter_cache import get_cache
from notebooks import printed
from servers import HTML, ROOT

CHAPTERS = sorted(path.stem for path in (ROOT / "book").glob("*.ipynb"))


def offered(name):
    """The files that a page offers under its title, by their ending; links are relative, to work from a disk."""
    page = HTML / "book" / f"{name}.html"
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    links = [urlsplit(link["href"]) for link in soup.select(".wd-take a[download]")]
    assert not [link for link in links if link.netloc]
    paths = [(page.parent / unquote(link.path)).resolve() for link in links]
    return {path.suffix: path for path in paths}


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_comes_as_notebook_and_as_script(name):
    files = offered(name)
    assert files[".ipynb"].read_bytes() == (ROOT / "book" / f"{name}.ipynb").read_bytes()
    ast.parse(files[".py"].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_page_prints_what_the_notebook_prints(name):
    stored = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4)
    _key, built = get_cache(ROOT / "_build" / ".jupyter_cache").merge_match_into_notebook(stored)
    assert printed(built) == printed(stored), "Run `make notebooks`. What still differs then is no result."


def test_the_script_of_a_chapter_runs(tmp_path):
    environment = os.environ | {"MPLBACKEND": "Agg", "TQDM_DISABLE": "1", "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-W", "ignore", offered("l2-derivation")[".py"]]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="cp1252")
    assert ended.returncode == 0, ended.stderr
    assert "\\u03bb" in ended.stdout  # the sentences of `say`, in a file that knows no λ
    assert "IPython" not in ended.stdout
