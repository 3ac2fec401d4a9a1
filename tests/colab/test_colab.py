"""A kernel with Colab's versions: the install cells, every chapter, and a slider in a browser. For `make test-colab`.

The kernel and its widgets' scripts are those of `.venv-colab`, which JUPYTER_PATH names. Colab's page is not to be had:
JupyterLab, from the book's own environment, stands in for it.
"""

import ast
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from playwright.sync_api import expect
from servers import DESK, open_browser, press_button, start_lab

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-colab" / "bin" / "python"
CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))
REPOSITORY = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
AS_ON_COLAB = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')"
SLOW_DEMO = """
import time
from weightdecay import live, sweep

finished = []


def quick(lambd):
    for step in range(1, 101):
        yield step, {"loss": (1 - lambd / 10) ** step}


def slow(lambd):
    for step, values in quick(lambd):
        yield step, values
        time.sleep(0.03)
    finished.append(lambd)


live(slow, sweep(quick, lambd=[0, 1, 2]), title="slow")
"""


def pip(*arguments):
    return subprocess.run(
        [PYTHON, "-m", "pip", *arguments], check=True, capture_output=True, text=True
    ).stdout.splitlines()


def run(notebook, folder):
    """Run a notebook with Colab's kernel, in a folder that holds nothing else."""
    notebook.cells.insert(0, nbformat.v4.new_code_cell(AS_ON_COLAB))
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": folder}}).execute()


def read(chapter):
    return nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4)


def make_repository(folder):
    """A repository of the library as it lies here, changes that are not committed included."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, folder)
    for name in ("src", "book"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "As it lies here"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module", autouse=True)
def packages(tmp_path_factory):
    """What is installed before and after the install cells ran, with the repository here in place of the public one."""
    pip("uninstall", "--yes", "weightdecay", "mxnet")
    before = pip("freeze", "--all")
    repository = make_repository(tmp_path_factory.mktemp("repository"))
    notebook = read("gluon")
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code" and "find_spec" in cell.source]
    # Without a restart: the same kernel has to find what it has just installed.
    notebook.cells.append(nbformat.v4.new_code_cell("from weightdecay.mxnet import mx, why_not\nassert mx, why_not"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_COUNT", "1")
        patch.setenv("GIT_CONFIG_KEY_0", f"url.{repository.as_uri()}.insteadOf")
        patch.setenv("GIT_CONFIG_VALUE_0", REPOSITORY)
        run(notebook, tmp_path_factory.mktemp("empty"))
    return before, pip("freeze", "--all")


def test_installing_moves_nothing_that_was_there(packages):
    before, after = packages
    assert {"ipykernel==6.17.1", "ipywidgets==7.7.1", "numpy==2.1.3", "torch==2.11.0"} <= set(before) <= set(after)
    assert sorted(line.split()[0].split("==")[0] for line in set(after) - set(before)) == ["mxnet", "weightdecay"]


@pytest.mark.parametrize("chapter", [path.stem for path in CHAPTERS])
def test_the_chapter_runs_with_no_file_beside_it(chapter, tmp_path):
    notebook = read(chapter)
    run(notebook, tmp_path)
    _colab, install, *_rest = (cell for cell in notebook.cells if cell.cell_type == "code")
    assert "find_spec" in install.source
    assert install.outputs == []  # the library is there, so it does nothing
    assert list(tmp_path.iterdir()) == []  # no record was missing, so none was made


@pytest.fixture(scope="module")
def lab(packages):
    # The widgets of ipywidgets 7 would typeset their labels with MathJax 2, which this JupyterLab no longer has.
    with start_lab("@jupyterlab/mathjax-extension") as lab:
        cells = [nbformat.v4.new_code_cell(SLOW_DEMO.strip())]
        nbformat.write(
            nbformat.v4.new_notebook(cells=cells, metadata=read("gluon").metadata), lab.folder / "slow.ipynb"
        )
        yield lab


@pytest.fixture(scope="module")
def open_demo(lab):
    """Opens a notebook, runs it, and gives its first demo."""
    with open_browser() as browser:

        def open_demo(notebook):
            page = browser.new_page(**DESK)
            lab.run(page, notebook)
            return page.locator(".wd-demo").first

        yield open_demo


@pytest.fixture(scope="module")
def demo(open_demo):
    return open_demo("pytorch.ipynb")


def handle(demo):
    """The handle of the slider, which is jQuery's in ipywidgets 7."""
    return demo.locator(".ui-slider-handle")


def test_a_move_streams_the_curve_that_was_recorded(demo):
    chart, summary = demo.locator(".wd"), demo.locator(".wd-summary")
    expect(demo.locator(".wd-badge")).to_have_text("recorded")
    chart.evaluate(
        """(chart) => {
            window.seen = [];
            const note = () => seen.push([chart.dataset.state, chart.querySelector(".wd-summary").textContent]);
            new MutationObserver(note).observe(chart, { attributes: true });
        }"""
    )
    handle(demo).press("ArrowRight")
    expect(chart).to_have_attribute("data-state", "done")
    expect(chart).to_have_attribute("data-at", "1")
    expect(demo.locator(".wd-badge")).to_have_text("live on cpu")
    seen = demo.page.evaluate("seen")
    assert list(dict.fromkeys(state for state, _ in seen)) == ["recorded", "running", "done"]
    expect(summary).to_have_text(next(said for state, said in seen if state == "running"))


def test_after_a_burst_of_moves_the_last_counts(demo):
    track, mouse = demo.locator(".ui-slider").bounding_box(), demo.page.mouse
    handle(demo).hover()
    mouse.down()
    for share in (0.9, 0.1, 0.6, 0.2, 0.95, 0.4):
        mouse.move(track["x"] + share * track["width"], track["y"] + 2)
    mouse.up()
    expect(demo.locator(".wd")).to_have_attribute("data-state", "done")
    expect(demo.locator(".wd-summary")).to_contain_text(f"λ = {demo.locator('.widget-readout').inner_text()},")
    expect(demo.locator(".wd-message")).to_be_empty()


def test_pinned_curves_stay_until_reset(demo):
    legend = demo.locator(".wd-legend").first
    press_button(demo, "Reset")
    expect(demo.locator(".wd")).to_have_attribute("data-at", "0")
    press_button(demo, "Pin")
    handle(demo).press("End")
    expect(demo.locator(".wd")).to_have_attribute("data-state", "done")
    expect(legend).to_contain_text("pinned λ = 0")
    press_button(demo, "Reset")
    expect(legend).not_to_contain_text("pinned")
    expect(demo.locator(".wd")).to_have_attribute("data-at", "0")


def test_a_further_move_cancels_the_training(lab, open_demo):
    demo = open_demo("slow.ipynb")
    chart = demo.locator(".wd")
    for at in ("1", "2"):
        handle(demo).press("ArrowRight")
        expect(chart).to_have_attribute("data-at", at)
        expect(chart).to_have_attribute("data-state", "running")
    expect(chart).to_have_attribute("data-state", "done", timeout=30_000)
    with lab.kernel("slow.ipynb") as client:
        asked = {"user_expressions": {"finished": "finished"}, "silent": True}
        reply = client.execute("", **asked, reply=True, timeout=30)
    finished = reply["content"]["user_expressions"]["finished"]["data"]["text/plain"]
    assert ast.literal_eval(finished) == [2]
