"""The chapters as programs: run them and store their outputs, or take out their functions.

`python tests/notebooks.py book/*.ipynb` runs notebooks in place and keeps text and figures, but no widget state.
"""

import ast
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
WIDGET = "application/vnd.jupyter.widget-view+json"


def cells_of(chapter: str) -> list[str]:
    """The code cells of a chapter but for those that install packages."""
    notebook = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell.source for cell in code if "install" not in cell.metadata.get("tags", [])]


def functions_of(chapter: str) -> dict:
    """The constants, functions and classes of a chapter: its first cells, and every later cell that only defines."""
    space = {}
    for i, source in enumerate(cells_of(chapter)):
        if i < 3 or all(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.parse(source).body):
            exec(source, space)
    return space


def run(path: Path) -> None:
    """Run a notebook and store it as it is published."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": path.parent}}).execute()
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    nbformat.write(notebook, path)
    print(f"{path}: {len(notebook.cells)} cells")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run(Path(name))
