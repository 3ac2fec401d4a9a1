"""Where the browser of the tests is; run as a program, gets one where there is none."""

import os
import shutil
import subprocess
import sys

from playwright.sync_api import sync_playwright

HOW_TO_GET_ONE = (
    "There is no Chromium that starts: install one (Debian: apt-get install chromium; "
    "elsewhere: .venv/bin/playwright install chromium), or name one in the environment variable CHROMIUM."
)


def find_chromium() -> str | None:
    """The browser that CHROMIUM names, else one on the PATH, else Playwright's own download, if it starts."""
    if named := os.environ.get("CHROMIUM"):
        return named if starts(named) else None
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if starts(name):
            return shutil.which(name)
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if starts(path) else None


def starts(name: str) -> bool:
    """Whether there is such a program and it runs: a download can lack libraries of the system."""
    path = shutil.which(name)
    return path is not None and subprocess.run([path, "--version"], capture_output=True).returncode == 0


def get_chromium() -> str | None:
    """The browser that is there; else Playwright's download; else, where root can install it, the system's package."""
    if (path := find_chromium()) or os.environ.get("CHROMIUM"):  # who names one wants no other
        return path
    print("There is no Chromium here: fetching one, for the browser tests and for printing.", flush=True)
    said = _run(sys.executable, "-m", "playwright", "install", "chromium")
    if not (path := find_chromium()) and shutil.which("apt-get") and os.geteuid() == 0:
        said += _run("apt-get", "update") + _run("apt-get", "install", "--yes", "chromium")
        path = find_chromium()
    if not path:
        print(said)
    return path


def _run(*command) -> str:
    """Run a command that may fail; what it said."""
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


if __name__ == "__main__":
    sys.exit(None if get_chromium() else HOW_TO_GET_ONE)
