"""The chapters as programs: run them and store their outputs, read these, or take out their functions.

`python tests/notebooks.py book/*.ipynb` runs notebooks in place and keeps text and figures, but no widget state.
"""

import ast
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
WIDGET = "application/vnd.jupyter.widget-view+json"
# What converters need to know, without the versions of whoever ran it last.
PYTHON = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python", "nbconvert_exporter": "python"}


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


def printed(notebook) -> list:
    """What a reader can read in a notebook's outputs: of each code cell its source, its stream and its texts in order.

    Pictures and widgets are left out, and cells whose tag says that what they print depends on the machine.
    """
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and "nbval-ignore-output" not in cell.metadata.get("tags", []):
            stream = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
            texts = [
                (kind, text)
                for output in cell.outputs
                for kind, text in sorted(output.get("data", {}).items())
                if kind != WIDGET and not kind.startswith("image/")
            ]
            cells.append((cell.source, stream, texts))
    return cells


def run(path: Path) -> None:
    """Run a notebook and store it as it is published; one that was edited meanwhile is left as it is."""
    before = path.read_bytes()
    notebook = nbformat.reads(before.decode("utf-8"), as_version=4)
    NotebookClient(
        notebook, timeout=None, coalesce_streams=True, resources={"metadata": {"path": path.parent}}
    ).execute()
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": PYTHON}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
            if output.get("name") == "stderr":  # progress and warnings are for who runs it
                print(output.text, end="", file=sys.stderr)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    if path.read_bytes() != before:
        sys.exit(f"{path} was changed while it ran, so its outputs are not stored: run this again.")
    nbformat.write(notebook, path)
    print(f"{path}: {len(notebook.cells)} cells")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run(Path(name))
