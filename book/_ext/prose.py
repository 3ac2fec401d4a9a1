"""Lets a page read as prose: code that does not teach is folded, what `say` prints is text.

The notebook is not changed. What a cell is for is read off its own statements; the tags
`show-code` and `fold-code` overrule that. Run as a program on chapters, this counts their lines
of code, open and folded.
"""

import ast
import json
import sys
from itertools import groupby
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

LABELS = {  # of what is folded: what its line says
    "install": "how to install",
    "setup": "imports and constants",
    "helper": "helper code",
    "check": "a check",
    "sentence": "code of this sentence",
    "table": "code of this table",
    "figure": "code of this figure",
    "demo": "code of this demo",
    "output": "code of this output",
}
DEMOS = {"live", "frames", "converter", "diagnosis"}
IMPORTS = ast.Import | ast.ImportFrom
SETTINGS = ("plt.", "torch.set_", "torch.manual_seed")
SWITCH = (
    '<p class="all-code"><button type="button" aria-pressed="false">show all code</button></p>'
)


def kind_of(source: str, tags=(), has_figure: bool = False) -> str:
    """What a cell is for: a key of LABELS, or "open" where its code is what the reader wants.

    Open is what defines a function or a class, what trains in a loop, and what shows a value or
    acts on an object. A cell that only gives names to numbers is folded, so one that holds an
    equation of the chapter needs the tag `show-code`.
    """
    if "show-code" in tags:
        return "open"
    if "install" in tags:
        return "install"
    try:
        statements = list(flat(ast.parse(source).body))
    except SyntaxError:  # a magic
        return "open"
    calls = set().union(*(calls_in(one) for one in statements))
    if "say" in calls:
        return "sentence"
    stays = not {"fold-code", "hide-input"} & {*tags}
    if calls & DEMOS:  # which bring a picture along
        return "open" if stays and any(map(defines, statements)) else "demo"
    if has_figure or any(name.startswith("plt.") for name in calls - {"plt.style.use"}):
        return "figure"
    if stays and any(map(teaches, statements)):
        return "open"
    if "plt.style.use" in calls or any(isinstance(one, IMPORTS) for one in statements):
        return "setup"
    if any(map(checks, statements)):
        return "check"
    return "output" if "print" in calls else "helper"


def flat(statements):
    """The statements, with those inside `if`, `with` and `try` in place of these."""
    for one in statements:
        if isinstance(one, ast.If | ast.With | ast.Try):
            yield from flat(one.body + getattr(one, "orelse", []))
        else:
            yield one


def calls_in(statement) -> set[str]:
    """What a statement calls, as it is written: `say`, `plt.style.use`."""
    calls = (node for node in ast.walk(statement) if isinstance(node, ast.Call))
    return {ast.unparse(call.func) for call in calls}


def defines(statement) -> bool:
    return isinstance(statement, ast.FunctionDef | ast.ClassDef)


def checks(statement) -> bool:
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(statement))
    return asserts or any(".assert_" in name for name in calls_in(statement))


def teaches(statement) -> bool:
    if isinstance(statement, ast.For | ast.While):
        return not (checks(statement) or "print" in calls_in(statement))
    if isinstance(statement, ast.Expr):
        calls = calls_in(statement)
        aside = "print" in calls or any(name.startswith(SETTINGS) for name in calls)
        return not (checks(statement) or aside)
    return defines(statement)


class Fold(nodes.Element):
    """What a reader may unfold, without a script; `label` says what it is."""


def visit_fold(self, node):
    label = self.attval(node["label"])
    summary = f"<summary>{label}</summary>"
    if "code-mark" in node["classes"]:  # the style sheet draws it, right behind the sentence
        summary = f'<summary aria-label="{label}" title="{label}"></summary>'
        self.body[-1] = self.body[-1].rstrip()
    self.body += [self.starttag(node, "details", suffix=""), summary]


def depart_fold(self, node):
    self.body.append("</details>\n")


class FoldCode(SphinxPostTransform):
    """Arranges the cells of a page once their outputs are chosen, before MyST-NB hides any."""

    default_priority = 190  # between 4 and 199
    formats = ("html",)

    def run(self, **kwargs):
        parents = {id(cell.parent): cell.parent for cell in self.document.findall(is_cell)}
        for parent in parents.values():
            children = parent.children
            parent.clear()
            parent.extend(arrange(children))
        folds = [one for one in self.document.findall(Fold) if "code-fold" in one["classes"]]
        if len(folds) > 1:  # a single one is its own switch
            title = next(self.document.findall(nodes.title))
            switch = nodes.raw("", SWITCH, format="html")
            title.parent.insert(title.parent.index(title) + 1, switch)


def is_cell(node) -> bool:
    """Whether a node is a cell of code. One that hides its output is left to MyST-NB."""
    if not isinstance(node, nodes.container) or node.get("nb_element") != "cell_code":
        return False
    return node.get("hide_mode") in (None, "input", "all")


def arrange(children):
    """The same, with each run of cells as `flow` has it. Hidden cells are a solution."""
    for mode, group in groupby(children, lambda one: is_cell(one) and one.get("hide_mode", "")):
        cells = list(group)
        if mode is False:
            yield from cells
            continue
        for cell in cells:
            cell.attributes.pop("hide_mode", None)
        if mode == "all":
            yield Fold("", *flow(cells), label="Solution", classes=["solution"])
        else:
            yield from flow(cells)


def flow(cells):
    """Cells with no text between them: sentences in one paragraph, and code, open or folded.

    Folded code that shows nothing goes with the next output, else with the last one, else it
    stands in a line of its own. So does what a reader looks for at the start of a page.
    """
    arranged, waiting = [], []

    def close():
        last = arranged[-1].children[-1:] if arranged else []
        if waiting and not is_start(waiting[0]) and any(isinstance(one, Fold) for one in last):
            last[0].extend(cell for _, cell in waiting)
        elif waiting:
            arranged.append(fold(waiting))
        waiting.clear()

    for cell in cells:
        source, output = (part(cell, name) for name in ("cell_code_source", "cell_code_output"))
        kind = kind_of_cell(cell, source, output) if source else "open"
        if kind == "open" or (waiting and is_start((kind, cell)) != is_start(waiting[0])):
            close()
        if kind == "open":
            arranged.append(cell)
            continue
        waiting.append((kind, cell))
        if not output:
            continue
        cell.remove(output)
        if kind == "sentence":
            if not arranged or "said" not in arranged[-1]["classes"]:
                arranged.append(nodes.container("", classes=["said"]))
            *others, last = output.children
            for one in others:
                one["classes"].append("apart")  # a paragraph of its own
            if any(isinstance(one, nodes.table) for one in output.children):
                arranged[-1]["classes"].append("wide")
            kind = "table" if isinstance(last, nodes.table) else kind
            at_end = isinstance(last, nodes.paragraph)  # and not a list of them
            arranged[-1] += [*output.children, fold(waiting, kind, mark=at_end)]
        else:
            shown = cell.copy()
            shown += [output, fold(waiting, kind if kind in ("figure", "demo") else "output")]
            arranged.append(shown)
        waiting.clear()
    close()
    return arranged


def is_start(cell) -> bool:
    return cell[0] in ("install", "setup")


def part(cell, name):
    return next((one for one in cell if one["nb_element"] == name and one.children), None)


def kind_of_cell(cell, source, output) -> str:
    has_figure = output is not None and any(output.findall(nodes.image))
    return kind_of(source.astext(), cell["cell_metadata"].get("tags", ()), has_figure)


def fold(cells, kind=None, mark=False) -> Fold:
    """Cells, each with its kind, in one fold, which is named after one kind or after all."""
    label = LABELS[kind] if kind else ", ".join(dict.fromkeys(LABELS[one] for one, _ in cells))
    classes = ["code-fold", "code-mark"] if mark else ["code-fold"]
    return Fold("", *(cell for _, cell in cells), label=label, classes=classes)


def setup(app):
    app.add_node(Fold, html=(visit_fold, depart_fold))
    app.add_post_transform(FoldCode)
    app.add_js_file("prose.js", defer="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def count(path) -> tuple[int, int]:
    """The lines of code that stand open in a chapter, and those that are folded."""
    lines = {True: 0, False: 0}
    for cell in json.loads(Path(path).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            has_figure = any("image/png" in one.get("data", {}) for one in cell["outputs"])
            tags = cell["metadata"].get("tags", ())
            is_open = kind_of("".join(cell["source"]), tags, has_figure) == "open"
            lines[is_open] += len(cell["source"])
    return lines[True], lines[False]


if __name__ == "__main__":
    for path in sys.argv[1:]:
        shown, folded = count(path)
        print(f"{path}: {shown} lines of code open, {folded} folded")
