"""Run notebooks and store their outputs in the file, without widget state and timing."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

SHOWN_ELSEWHERE = "application/vnd.jupyter.widget-view+json"


def clean(notebook):
    """Keep what a reader of the plain file sees: text and figures."""
    notebook.metadata = {
        key: notebook.metadata[key] for key in ("kernelspec", "language_info") if key in notebook.metadata
    }
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(SHOWN_ELSEWHERE, None)
    return notebook


for path in map(Path, sys.argv[1:]):
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": path.parent}}).execute()
    nbformat.write(clean(book), path)
    print(f"{path}: {len(book.cells)} cells")
