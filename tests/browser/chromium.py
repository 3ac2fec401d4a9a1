"""Where the browser of the tests is; run as a program, says how to get one where there is none."""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HOW_TO_GET_ONE = (
    "The browser tests need Chromium: install it (Debian: apt-get install chromium; "
    "elsewhere: .venv/bin/playwright install chromium), or name one in the environment variable CHROMIUM."
)


def find_chromium() -> str | None:
    """The browser that CHROMIUM names, else one on the PATH, else Playwright's own download."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named)
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


if __name__ == "__main__":
    sys.exit(None if find_chromium() else HOW_TO_GET_ONE)
