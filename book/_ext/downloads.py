"""Each chapter as a plain script, beside the notebook that the theme already offers."""

from pathlib import Path

import nbformat
from nbconvert import PythonExporter


def offer_script(app, pagename, templatename, context, doctree):
    """Put the script into the download menu of a page that is a notebook."""
    if not (context.get("ipynb_source") or context.get("sourcename", "").endswith(".ipynb")):
        return
    menus = {button["label"]: button for button in context["header_buttons"]}
    button = {
        "type": "link",
        "url": f"{context['pathto']('_sources', 1)}/{pagename}.py",
        "text": ".py",
        "tooltip": "Download as a Python script",
        "icon": "fab fa-python",
        "label": "download-script-button",
    }
    menus["download-buttons"]["buttons"].insert(1, button)


def write_scripts(app, exception):
    """Convert the notebooks beside the pages; a cell with a figure also opens its window."""
    if exception or app.builder.name != "html":
        return
    for path in (Path(app.outdir) / "_sources").rglob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            shown = [output.get("data", {}) for output in cell.get("outputs", [])]
            if any(one.get("text/plain", "").startswith("<Figure") for one in shown):
                cell.source += "\nplt.show()"
        script, _ = PythonExporter(exclude_input_prompt=True).from_notebook_node(notebook)
        path.with_suffix(".py").write_text(script, encoding="utf-8")


def setup(app):
    app.connect("html-page-context", offer_script, priority=502)  # the theme's menu: at 501
    app.connect("build-finished", write_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
