"""What the browser tests talk to, as context managers: the browser, the built site, and JupyterLab."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from chromium import HOW_TO_GET_ONE, find_chromium
from jupyter_client import BlockingKernelClient
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
TOKEN = "book"
# The browser itself must stay off the network too.
FLAGS = "--no-sandbox --no-first-run --disable-background-networking --disable-component-update --disable-sync"


@contextmanager
def open_browser():
    path = find_chromium()
    if path is None:
        raise FileNotFoundError(HOW_TO_GET_ONE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS.split(), "--disable-quic"])
        yield browser
        browser.close()


@contextmanager
def serve_site():
    """Serve the built site from a thread; gives its address."""
    if not HTML.is_dir():
        raise FileNotFoundError("There is no site in _build/html: run `make book` first.")
    handler = functools.partial(_QuietHandler, directory=HTML)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def start_lab():
    """Start JupyterLab over a copy of the chapters, with no settings but its own; gives a `Lab`."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copytree(ROOT / "book", home / "book")
        own = "CONFIG_DIR DATA_DIR RUNTIME_DIR".split()
        environment = os.environ | {f"JUPYTER_{name}": str(home / name) for name in own}
        environment |= {f"JUPYTERLAB_{name}": str(home / name) for name in ("SETTINGS_DIR", "WORKSPACES_DIR")}
        environment |= {"IPYTHONDIR": str(home / "IPYTHON")}
        # News and the list of extensions would come from the network.
        page_config = home / "CONFIG_DIR" / "labconfig" / "page_config.json"
        page_config.parent.mkdir(parents=True)
        page_config.write_text('{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}')
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"),
            *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={home / 'book'}"),
            "--LabApp.extension_manager=readonly",
        ]
        with (
            open(home / "log", "w") as log,
            subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
        ):
            deadline = time.monotonic() + 60
            while not (f := list((home / "RUNTIME_DIR").glob("jpserver-*.json"))):
                time.sleep(0.1)
            print(f[0].read_text())
            yield home, json.loads(f[0].read_text())
            process.terminate()
        print((home / "log").read_text())
