"""The scripts that the site serves itself, so that it asks no other host for anything."""

import shutil
from importlib.metadata import files
from pathlib import Path

VENDOR = Path(__file__).parents[2] / "vendor"


def copy_scripts(app, exception):
    """Put MathJax, the widget manager and the script of anywidget beside the pages.

    Not under `_static`, from which Jupyter Book would load every script on every page.
    """
    if exception or app.builder.name != "html":
        return
    target = Path(app.outdir) / "vendor"
    shutil.copytree(VENDOR, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py"))
    script = next(
        path
        for path in files("anywidget")
        if path.as_posix().endswith("nbextensions/anywidget/index.js")
    )
    (target / "anywidget").mkdir(exist_ok=True)
    shutil.copy(script.locate(), target / "anywidget" / "index.js")


def remove_thebe(app):
    """Take out Thebe, which Jupyter Book always loads: it erases widgets."""
    for listeners in app.events.listeners.values():
        listeners[:] = [
            one
            for one in listeners
            if not getattr(one.handler, "__module__", "").startswith("sphinx_thebe")
        ]
    app.registry.css_files[:] = [
        (name, options) for name, options in app.registry.css_files if "thebe" not in name
    ]


def drop_launch_buttons(app, pagename, templatename, context, doctree):
    """Take the launch buttons off the Markdown pages: Colab and Binder run notebooks only."""
    if doctree is not None and not app.env.doc2path(pagename).endswith(".ipynb"):
        context["header_buttons"] = [
            one for one in context["header_buttons"] if one.get("label") != "launch-buttons"
        ]


def setup(app):
    remove_thebe(app)
    app.connect("html-page-context", drop_launch_buttons, priority=900)  # after the theme
    app.connect("build-finished", copy_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
