"""Each chapter as a plain script, beside the notebook that Sphinx copies."""

from pathlib import Path

import nbformat
from nbconvert import PythonExporter


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
    app.connect("build-finished", write_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
