"""The scripts that the site serves itself, so that it asks no other host for anything."""

import shutil
from importlib.metadata import files
from pathlib import Path

VENDOR = Path(__file__).parents[2] / "vendor"


def copy_scripts(app, exception):
    """Put the widget manager and the script of anywidget beside the pages."""
    if exception or app.builder.name != "html":
        return
    target = Path(app.outdir) / "vendor"
    shutil.copytree(
        VENDOR, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py", "katex")
    )
    script = next(
        path
        for path in files("anywidget")
        if path.as_posix().endswith("nbextensions/anywidget/index.js")
    )
    (target / "anywidget").mkdir(exist_ok=True)
    shutil.copy(script.locate(), target / "anywidget" / "index.js")


def setup(app):
    app.connect("build-finished", copy_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
