"""What the browser tests talk to, each as a context manager: the browser, the built site, JupyterLab, and Voilà."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import yaml
from chromium import HOW_TO_GET_ONE, find_chromium
from demos import needed
from jupyter_client import BlockingKernelClient
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
ZIP = ROOT / "_build" / "weight-decay-classroom.zip"
CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
# The pages of the book, in their order.
PAGES = ["index.html", *(f"{one['file']}.html" for part in CONTENTS["parts"] for one in part["chapters"])]
DEMO = ".wd:is([data-at], .wd-form[data-state])"  # a chart or a form sets its attribute once it has drawn
HANDLE = ".wd-slider input[type=range], .noUi-handle"  # what is moved of a slider: on the site, in a notebook
PLACE = re.compile(r'class="wd-place" data-demo="([^"]+)"')
STILL = re.compile(r'<div class="wd-still">.*?</div>', re.DOTALL)  # what stands for a demo until it is drawn
DESK = {"viewport": {"width": 1280, "height": 800}}
# The browser itself must not ask the network either, and as root it cannot put itself into a sandbox.
FLAGS = (
    "--no-sandbox --no-first-run --disable-background-networking --disable-component-update --disable-sync "
    "--disable-quic"
)


@contextmanager
def open_browser():
    """Start Chromium, without a window."""
    path = find_chromium()
    if path is None:
        raise FileNotFoundError(HOW_TO_GET_ONE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def serve_site():
    """Serve the built site from a thread; gives its address."""
    if not HTML.is_dir():
        raise FileNotFoundError("There is no site in _build/html: run `make book` first.")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_QuietHandler, directory=HTML)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def _start_jupyter(home, *command):
    """Run a Jupyter program with settings of its own, to train on the CPU; gives its process."""
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    places += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    environment = os.environ | {place: str(home / place) for place in places} | {"WEIGHTDECAY_DEVICE": "cpu"}
    environment["JUPYTER_CONFIG_PATH"] = "present"  # as `make lab` has it
    environment.pop("TQDM_DISABLE", None)  # a reader sees the progress of a sweep
    with (
        open(home / "log", "w") as log,
        subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()  # the server ends its kernels first


def _wait_for(found, process, home):
    """What `found` gives once it gives something, while the server starts."""
    deadline = time.monotonic() + 60
    while not (answer := found()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("The server did not start:\n" + (home / "log").read_text())
        time.sleep(0.05)
    return answer


def open_page(page, address, name):
    """Go to a page of the site and read it to its end, until all its demos are drawn; then return to its top."""
    page.goto(address + name)
    draw_all(page)
    expect(page.locator(DEMO)).to_have_count(len(PLACE.findall((HTML / name).read_text())))


def draw_all(page):
    """Bring every demo of an opened page near the window, which draws it."""
    for place in page.locator(".wd-place").all():
        place.evaluate("(one) => one.scrollIntoView({ behavior: 'instant' })")
        expect(place.locator(DEMO)).to_be_attached()
    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")


def lay_out_all(page):
    """Lay out what is far from the window too, which site.css puts off; until then it has no place and no size."""
    page.add_style_tag(content=".wd-far { content-visibility: visible !important; }")


def press_button(demo, name):
    """Press a button of a demo, in its row or in its menu."""
    button = demo.locator(".wd-button", has_text=re.compile(f"^{name}$"))
    if not button.is_visible():
        demo.locator(".wd-more > summary").click()
    button.click()


def read_demos(name):
    """What the scripts of a built page's demos hold, in their order: {"root", "models", "modules"}."""
    names = PLACE.findall((HTML / name).read_text(encoding="utf-8"))
    scripts = [(HTML / "_static" / "demos" / f"{one}.js").read_text(encoding="utf-8") for one in names]
    return [json.loads(script.split(", ", 1)[1].rstrip().removesuffix(");")) for script in scripts]


def copy_until_demo(name, folder, which):
    """Copy a chapter into a folder as far as one of its demos (0: first, -1: last); gives all demos' sources.

    Of the code goes along only what the demos rest on.
    """
    notebook = nbformat.read(ROOT / "book" / name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    sources = [cell.source for cell in code]
    demos = [i for i, source in enumerate(sources) if re.search(r"^(live|frames)\(", source, re.MULTILINE)]
    last = demos[which]
    kept = {id(code[i]) for i in needed(sources, [i for i in demos if i <= last])}
    before = notebook.cells[: notebook.cells.index(code[last]) + 1]
    notebook.cells = [cell for cell in before if cell.cell_type != "code" or id(cell) in kept]
    nbformat.write(notebook, folder / name)
    return [sources[i] for i in demos]


@contextmanager
def start_voila(folder):
    """Start Voilà as `make present` does, over the notebooks in a folder; gives its address and its process."""
    options = ["--Voila.config_file_paths=present", f"--Voila.root_dir={folder}", "--no-browser"]
    with tempfile.TemporaryDirectory() as home, _start_jupyter(Path(home), "voila", *options) as process:
        said = _wait_for(lambda: re.search(r"http://\S+", (Path(home) / "log").read_text()), process, Path(home))
        yield said[0], process


@contextmanager
def start_lab(*disabled):
    """Start JupyterLab over a copy of the chapters, with settings of its own, to train on the CPU; gives a `Lab`.

    disabled: names of its extensions to do without.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copytree(ROOT / "book", home / "book")
        page_config = home / "JUPYTER_CONFIG_DIR" / "labconfig" / "page_config.json"
        page_config.parent.mkdir(parents=True)
        page_config.write_text(json.dumps({"disabledExtensions": dict.fromkeys(disabled, True)}))
        # The list of extensions would come from the network.
        options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", "--LabApp.extension_manager=readonly"]
        options += [f"--ServerApp.root_dir={home / 'book'}", f"--IdentityProvider.token={Lab.token}"]
        with _start_jupyter(home, "jupyterlab", *options) as process:
            yield Lab(process, home)


class Lab:
    """A running JupyterLab: `folder` holds its notebooks."""

    token = "book"

    def __init__(self, process, home):
        self.pid = process.pid
        self.folder = home / "book"
        self.runtime = home / "JUPYTER_RUNTIME_DIR"
        info = self.runtime / f"jpserver-{process.pid}.json"
        # Half written, it is no JSON yet.
        said = _wait_for(lambda: info.exists() and info.read_text().endswith("}") and info.read_text(), process, home)
        self.url = json.loads(said)["url"]

    def run(self, page, notebook):
        """Open a notebook in the page and run all its cells."""
        page.goto(f"{self.url}lab/workspaces/{Path(notebook).stem}/tree/{notebook}?token={self.token}")
        page.get_by_text("| Idle").wait_for()  # the kernel, in the status bar
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        # A chart that is out of sight is not drawn yet.
        page.locator(".wd-demo, .wd-form").first.wait_for(state="attached", timeout=300_000)
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=300_000)

    def session(self, notebook):
        """What the server says about the session of an opened notebook."""
        with urllib.request.urlopen(f"{self.url}api/sessions?token={self.token}") as answer:
            return next(session for session in json.load(answer) if session["path"] == notebook)

    def end(self, notebook):
        """End the kernel of an opened notebook, which may still be training for a slider that was moved."""
        address = f"{self.url}api/sessions/{self.session(notebook)['id']}?token={self.token}"
        urllib.request.urlopen(urllib.request.Request(address, method="DELETE")).close()

    def restart(self, notebook):
        """Restart the kernel of an opened notebook."""
        address = f"{self.url}api/kernels/{self.session(notebook)['kernel']['id']}/restart?token={self.token}"
        urllib.request.urlopen(urllib.request.Request(address, method="POST")).close()

    @contextmanager
    def kernel(self, notebook):
        """A client of the kernel that an opened notebook has."""
        kernel = self.session(notebook)["kernel"]["id"]
        client = BlockingKernelClient(connection_file=str(self.runtime / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=30)
            yield client
        finally:
            client.stop_channels()
