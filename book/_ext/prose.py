"""Lets a page read as prose: code that does not teach is folded, and what `say` prints stands in the text.

The notebook is not changed. What a cell is for is read off its own statements; the tags `show-code` and `fold-code`
overrule that. Run as a program, it counts the lines of code that stand open, and those that are folded.
"""

import ast
import json
import sys
from itertools import groupby
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

# What is folded, and what its line says.
LABELS = {
    "install": "how to install",
    "setup": "imports and constants",
    "helper": "helper code",
    "check": "a check",
    "sentence": "code of this sentence",
    "figure": "code of this figure",
    "table": "code of this output",
    "demo": "code of this demo",
}
START = {"install", "setup"}  # which a reader looks for at the start of the page, in a line of their own
DEMOS = {"live", "frames", "converter", "diagnosis"}
SWITCH = '<p class="all-code"><button type="button" aria-pressed="false">show all code</button></p>'


def kind_of(source: str, tags=(), has_figure: bool = False) -> str:
    """What a cell is for: a key of LABELS, or "open" where its code is what the reader came for.

    Open is what defines a function or a class, what loops, and what shows or changes something by an expression. So a
    cell that only gives names to numbers is folded, even if one of them is the chapter's equation: tag that `show-code`.
    """
    if "show-code" in tags:
        return "open"
    if "install" in tags:
        return "install"
    try:
        statements = list(flat(ast.parse(source).body))
    except SyntaxError:  # a magic
        return "open"
    calls = {name for one in statements for name in calls_in(one)}
    defines = any(isinstance(one, ast.FunctionDef | ast.ClassDef) for one in statements)
    if "say" in calls:
        return "sentence"
    if has_figure or any(name.startswith("plt.") for name in calls - {"plt.style.use"}):
        return "figure"
    if calls & DEMOS and not defines:
        return "demo"
    if not {"fold-code", "hide-input"} & {*tags} and any(teaches(one) for one in statements):
        return "open"
    if "plt.style.use" in calls or any(isinstance(one, ast.Import | ast.ImportFrom) for one in statements):
        return "setup"
    if any(is_check(one) for one in statements):
        return "check"
    return "table" if "print" in calls else "helper"


def flat(statements):
    """The statements, with those inside `if`, `with` and `try` in place of these."""
    for one in statements:
        if isinstance(one, ast.If | ast.With | ast.Try):
            yield from flat([*one.body, *getattr(one, "orelse", [])])
        else:
            yield one


def calls_in(statement) -> set[str]:
    """What a statement calls, as it is written: `say`, `plt.style.use`."""
    return {ast.unparse(node.func) for node in ast.walk(statement) if isinstance(node, ast.Call)}


def is_check(statement) -> bool:
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(statement))
    return asserts or any(".assert_" in name for name in calls_in(statement))


def teaches(statement) -> bool:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return True
    if isinstance(statement, ast.For | ast.While):  # training, if it does not just print or check one after another
        return not any("print" in calls_in(one) or is_check(one) for one in statement.body)
    if not isinstance(statement, ast.Expr) or is_check(statement):
        return False
    return not any(name == "print" or name.startswith(("plt.", "torch.set_", "torch.manual_seed")) for name in calls_in(statement))


class Fold(nodes.Element):
    """What a reader may unfold; `label` says what it is. As an element of HTML, this needs no script."""


def visit_fold(self, node):
    label = self.attval(node["label"])
    if "sentence" in node["classes"]:  # a mark, drawn by the style sheet, with no space between it and the sentence
        self.body[-1] = self.body[-1].rstrip()
        summary = f'<summary aria-label="{label}" title="{label}"></summary>'
    else:
        summary = f"<summary>{label}</summary>"
    self.body += [self.starttag(node, "details", suffix=""), summary]


def depart_fold(self, node):
    self.body.append("</details>\n")


class FoldCode(SphinxPostTransform):
    """Arranges the cells of a page once their outputs are chosen (priority 4), before MyST-NB hides any (199)."""

    default_priority = 190
    formats = ("html",)

    def run(self, **kwargs):
        for parent in {id(cell.parent): cell.parent for cell in self.document.findall(is_cell)}.values():
            children = parent.children
            parent.clear()
            parent.extend(arrange(children))
        if any("code" in fold["classes"] for fold in self.document.findall(Fold)):
            title = next(self.document.findall(nodes.title))
            title.parent.insert(title.parent.index(title) + 1, nodes.raw("", SWITCH, format="html"))


def is_cell(node) -> bool:
    """Whether a node is a cell of code; one of which the output is to be hidden is left to MyST-NB."""
    if not isinstance(node, nodes.container) or node.get("nb_element") != "cell_code":
        return False
    return node.get("hide_mode") in (None, "input", "all")


def arrange(children):
    """The same, with each run of cells as `flow` has it; a run of hidden cells is the solution of an exercise."""
    for mode, group in groupby(children, lambda node: is_cell(node) and node.get("hide_mode", "input")):
        if not mode:
            yield from group
            continue
        cells = list(group)
        for cell in cells:
            cell.attributes.pop("hide_mode", None)
        yield from [Fold("", *flow(cells), label="Solution", classes=["solution"])] if mode == "all" else flow(cells)


def flow(cells):
    """Cells with no text between them: sentences as one paragraph, open code, and outputs with their code folded.

    Folded code that shows nothing belongs to the next output, else to the last one, else stands in a line of its own.
    """
    arranged, waiting = [], []

    def close():
        if waiting and arranged and isinstance(arranged[-1][-1], Fold) and waiting[-1][0] not in START:
            arranged[-1][-1].extend(cell for _, cell in waiting)
        elif waiting:
            arranged.append(fold(waiting))
        waiting.clear()

    for cell in cells:
        source, output = (part(cell, name) for name in ("cell_code_source", "cell_code_output"))
        kind = kind_of_cell(cell) if source else "open"
        if kind == "open" or (waiting and (kind in START) != (waiting[-1][0] in START)):
            close()
        if kind == "open":
            arranged.append(cell)
            continue
        waiting.append((kind, cell))
        if not output:
            continue
        cell.remove(output)
        if kind != "sentence":
            shown = cell.copy()
            shown += [output, fold(waiting, kind if "of this" in LABELS[kind] else "table")]
            arranged.append(shown)
        else:
            if not arranged or "said" not in arranged[-1]["classes"]:
                arranged.append(nodes.container("", classes=["said"]))
            arranged[-1] += [*output.children, fold(waiting, kind)]
        waiting.clear()
    close()
    return arranged


def part(cell, name):
    return next((child for child in cell if child["nb_element"] == name and child.children), None)


def kind_of_cell(cell) -> str:
    output = part(cell, "cell_code_output")
    has_figure = output is not None and any(output.findall(nodes.image))
    return kind_of(part(cell, "cell_code_source").astext(), cell["cell_metadata"].get("tags", ()), has_figure)


def fold(cells, kind=None) -> Fold:
    """Cells, each with its kind, in one fold, which says what it is by one kind or by all."""
    label = LABELS[kind] if kind else ", ".join(dict.fromkeys(LABELS[one] for one, _ in cells))
    return Fold("", *(cell for _, cell in cells), label=label, classes=["code", *([kind] if kind else [])])


def setup(app):
    app.add_node(Fold, html=(visit_fold, depart_fold))
    app.add_post_transform(FoldCode)
    app.add_css_file("prose.css")
    app.add_js_file("prose.js", defer="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def count(path) -> tuple[int, int]:
    """The lines of code that stand open in a chapter, and those that are folded."""
    counts = {True: 0, False: 0}
    for cell in json.loads(Path(path).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            has_figure = any("image/png" in output.get("data", {}) for output in cell["outputs"])
            kind = kind_of("".join(cell["source"]), cell["metadata"].get("tags", ()), has_figure)
            counts[kind == "open"] += len(cell["source"])
    return counts[True], counts[False]


if __name__ == "__main__":
    for path in sys.argv[1:]:
        print("{}: {} lines of code open, {} folded".format(path, *count(path)))
