"""The form that every chapter keeps, and the files that have to agree with one another."""

import ast
import os
import re
import shutil
import statistics
import subprocess
from itertools import groupby, pairwise
from pathlib import Path
from types import SimpleNamespace

import nbconvert
import nbformat
import pytest
import yaml
from notebooks import PYTHON, run

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))
NAMES = {
    "adamw", "batchnorm", "binary-addition", "choosing-lambda", "double-descent", "dropout",
    "gluon", "in-practice", "l2-derivation", "mc-dropout", "pytorch", "weissi",
}  # fmt: skip
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
REPOSITORY = CONFIG["repository"]["url"]
INSTALL = f"""import importlib.util
if importlib.util.find_spec("weightdecay") is None:
    library = "weightdecay @ git+{REPOSITORY}"
    get_ipython().run_line_magic("pip", f'install -q "{{library}}"')"""

MXNET = """import sys

if "google.colab" in sys.modules and importlib.util.find_spec("mxnet") is None:
    get_ipython().run_line_magic("pip", "install -q --no-deps mxnet==1.9.1")"""


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(chapter):
    return [cell for cell in chapter.cells if cell.cell_type == "code"]


def prose(chapter):
    return "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")


def test_there_are_chapters_and_the_contents_list_them():
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    assert {path.stem for path in CHAPTERS} <= NAMES
    assert {name for name in NAMES if f"book/{name}" in contents} == {path.stem for path in CHAPTERS} != set()


def test_a_chapter_opens_with_its_question_and_answer(chapter):
    first = chapter.cells[0].source
    assert first.startswith("# ")
    assert "**Question.**" in first
    assert "**Answer.**" in first


def test_the_install_cell_is_the_same_everywhere_and_names_the_repository(chapter):
    assert code_cells(chapter)[0].source == INSTALL
    others = [cell.source for cell in code_cells(chapter)[1:] if re.search(r"\bpip\b", cell.source)]
    asks_for_mxnet = any("from weightdecay.mxnet" in cell.source for cell in code_cells(chapter))
    assert others == [MXNET] * asks_for_mxnet  # only on Colab: elsewhere the sentence that says what to do is enough


def test_the_install_cell_asks_pip_for_the_repository(monkeypatch):
    asked = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(INSTALL, {"get_ipython": lambda: SimpleNamespace(run_line_magic=lambda *line: asked.append(line))})
    assert asked == [("pip", f'install -q "weightdecay @ git+{REPOSITORY}"')]


def test_cells_are_python_once_their_magics_are_comments(chapter):
    """As Jupytext makes a script of them."""
    for cell in code_cells(chapter):
        ast.parse(re.sub(r"^(?=\s*[%!])", "# ", cell.source, flags=re.MULTILINE))


def test_converters_make_a_python_script(chapter):
    script, resources = nbconvert.get_exporter("script")().from_notebook_node(chapter)
    assert resources["output_extension"] == ".py"
    ast.parse(script)
    assert chapter.metadata.language_info == PYTHON


def code_lines(source):
    """How many lines of a cell are code: a paragraph that `say` says is prose, and counts as one."""
    said = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "say"
    ]
    return len(source.splitlines()) - sum(node.end_lineno - node.lineno for node in said)


# Few cells, and many tables.
LONGER = {"adamw": 6, "batchnorm": 8, "choosing-lambda": 6, "in-practice": 8, "weissi": 8}


def test_cells_are_short(request, chapter):
    lengths = [code_lines(cell.source) for cell in code_cells(chapter)]
    assert max(lengths) <= 25
    assert statistics.quantiles(lengths, n=10)[-1] <= 12
    assert statistics.median(lengths) <= LONGER.get(request.node.callspec.id, 5)


def test_no_five_cells_of_code_stand_without_a_sentence(chapter):
    """Those aside that a reader has to unfold."""
    aside = {"install", "fold-code", "hide-cell"}
    kinds = [cell.cell_type for cell in chapter.cells if aside.isdisjoint(cell.metadata.get("tags", ()))]
    longest = max(len(list(run)) for kind, run in groupby(kinds) if kind == "code")
    assert longest < 5


def test_functions_say_what_they_do(chapter):
    for cell in code_cells(chapter)[1:]:
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.FunctionDef):
                assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_outputs_are_stored_without_widget_state_errors_or_places(chapter):
    outputs = [output for cell in code_cells(chapter) for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    assert "widgets" not in chapter.metadata
    assert not [cell for cell in chapter.cells if "execution" in cell.metadata]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not re.search(r"widget-view|/home/|/tmp/|/root/|/Users/|ipykernel_| at 0x", str(outputs))
    # A widget is stored as its picture, or as a sentence.
    assert not re.search(r"VBox\(|Box\(children", str(outputs))


def test_every_output_is_compared_but_for_what_the_machine_has():
    cells = [cell for path in CHAPTERS for cell in code_cells(nbformat.read(path, as_version=4))]
    (excepted,) = [cell for cell in cells if re.search("nbval", str(cell.metadata.get("tags")), re.IGNORECASE)]
    assert excepted.metadata.tags == ["nbval-ignore-output"]
    assert "with MXNet {version} on {device}" in excepted.source
    assert not [cell for cell in cells if "NBVAL" in cell.source]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
def test_whatever_make_runs_has_one_thread():
    command = ["make", "--silent", "--no-print-directory", "--file=Makefile", "--file=-", "threads"]
    told = {"cwd": ROOT, "env": os.environ | {"OMP_NUM_THREADS": "7"}, "capture_output": True, "text": True}
    ended = subprocess.run(command, input="threads: ; @echo $$OMP_NUM_THREADS", **told)
    assert ended.stdout == "1\n", ended.stderr


@pytest.fixture
def small(tmp_path):
    """A notebook of one cell, with the state that an editor leaves in it."""
    path = tmp_path / "small.ipynb"

    def small(source):
        cell = nbformat.v4.new_code_cell(source, metadata={"execution": {}})
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "widgets": {}}
        nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), path)
        return path

    return small


def test_a_run_stores_what_the_chapter_says_and_no_more(small, capsys):
    path = small("import sys\nprint('a number')\nprint('on the way', file=sys.stderr)")
    run(path)
    stored = nbformat.read(path, as_version=4)
    assert [output.text for output in stored.cells[0].outputs] == ["a number\n"]
    assert stored.metadata.language_info == PYTHON
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    assert capsys.readouterr().err == "on the way\n"


def test_what_was_edited_during_a_run_is_not_overwritten(small):
    path = small("from pathlib import Path\nPath('small.ipynb').write_text('my own')")
    with pytest.raises(SystemExit, match=r"small.ipynb was changed while it ran, so its outputs are not stored"):
        run(path)
    assert path.read_text() == "my own"


def test_every_figure_says_what_it_shows(chapter):
    for cell in code_cells(chapter):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt")  # a demo brings its own
                assert len(alt or cell.metadata.mystnb.image.alt) > 40


def test_under_each_demo_stands_what_to_try_with_its_sliders(chapter):
    demos = 0
    for cell, below in pairwise(chapter.cells):
        if cell.cell_type != "code" or not re.search(r"^(live|frames)\(", cell.source, re.MULTILINE):
            continue
        demos += 1
        alt = "".join(output.get("metadata", {}).get("image/png", {}).get("alt", "") for output in cell.outputs)
        sliders = re.findall(r"(\S+) = ", alt)  # as "λ = 0.1, at epoch 100: ..."
        assert sliders
        assert below.cell_type == "markdown", f"nothing stands under {alt[:60]}"
        tip = below.source.split("\n\n")[0]
        assert not re.match("#|(The same )?[Ii]n print", tip), f"nothing to try stands under {alt[:60]}"
        assert any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", tip) for name in sliders), f"no {sliders} in: {tip}"
    assert demos


def test_headings_skip_no_level(chapter):
    text = re.sub(r"```.*?```", "", prose(chapter), flags=re.DOTALL)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels[0] == 1 < min(levels[1:])
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_prose_reads_well_without_the_book(chapter):
    assert not re.search(r"\{[a-z:]+\}`|^:::|^```\{", prose(chapter), re.MULTILINE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", prose(chapter))  # what an unescaped \frac or \top leaves


NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e[-−]?\d+)?(?!\w)")
# What no cell can compute: what sources and data sets say of themselves.
QUOTED = {
    "binary-addition": {"0.005", "390,000", "97"},
    "dropout": {"70,000", "31", "1,797"},
    "gluon": {"0.046675965"},
    "in-practice": {"4.50"},
    "weissi": {"31"},
}


def number(text):
    return float(text.replace(",", "").replace("−", "-"))


def written(chapter):
    """The numbers that stand in a chapter's code, also in its strings."""
    for cell in code_cells(chapter)[1:]:
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
                yield float(node.value)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from map(number, NUMBER.findall(node.value))


def typed(text):
    """The numbers that are typed into prose: outside formulas, code, links, lists' numbers, years, and the sources."""
    text = text.split("## Sources")[0]
    for left_out in (
        r"```.*?```",
        r"\$\$.*?\$\$",
        r"\$[^$]*\$",
        r"`[^`]*`",
        r"\]\([^)]*\)",
        r"<[^>]*>",
        r"^\s*\d+\.\s",
        r"\*\*\d+\.\*\*",
    ):
        text = re.sub(left_out, " ", text, flags=re.DOTALL | re.MULTILINE)
    return [found for found in NUMBER.findall(text) if not re.fullmatch(r"(19|20)\d\d", found)]


def test_results_are_printed_and_not_typed(request, chapter):
    """A number in prose is a setting that a cell has too, or is quoted; what a cell finds out, `say` says."""
    name = request.node.callspec.id
    known = set(written(chapter))
    assert [
        one for one in typed(prose(chapter)) if number(one) not in known and one not in QUOTED.get(name, set())
    ] == []


PAGES = sorted((ROOT / "book").glob("*.md"))
# What no cell of a chapter has: sources, versions, addresses, numbers of papers, and closed forms.
QUOTED_ON_PAGES = {
    "cheat-sheet": {"0.53", "5e-4"},
    "classroom": {"43"},
    "convert": {"0.61", "3.15"},
    "hub": {"127.0", "8866", "2026.4", "3.11"},
    "notation": {"2.718", "3.142"},
    "reproduction": {"0.046675965", "2003.01897", "2007.10099", "2008.02965", "3,665", "117", "55"},
}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_pages_quote_results_and_type_none(page):
    """As in the chapters: a number on a page is a setting that some cell has too, or it is quoted, or glued."""
    text = re.sub(r"\A---\n.*?\n---\n|\{glue:text\}`[^`]*`|^:\w+:[^\n]*$", " ", page.read_text(encoding="utf-8"),
                  flags=re.DOTALL | re.MULTILINE)  # fmt: skip
    known = {one for path in CHAPTERS for one in written(nbformat.read(path, as_version=4))}
    known |= {
        number(one) for cell in re.findall(r"```\{code-cell\}.*?```", text, re.DOTALL) for one in NUMBER.findall(cell)
    }
    quoted = QUOTED_ON_PAGES.get(page.stem, set())
    assert [one for one in typed(text) if number(one) not in known and one not in quoted] == []


def test_a_typed_result_is_found():
    assert typed("In $x = 5$ of 12 seeds, [more](a3.md), `n = 7`, in 2019 it was 13.08 or 2e-5.") == [
        "12",
        "13.08",
        "2e-5",
    ]


def letters(formula):
    """The letters of a formula: Greek ones by their names in TeX, the others as they are; no words."""
    formula = re.sub(r"\\(text|operatorname|mathrm|begin|end|underbrace)\*?\{[^}]*\}", " ", formula)
    formula = formula.replace("\\epsilon", "\\varepsilon")
    greek = "alpha beta gamma delta varepsilon eta theta lambda mu xi pi rho sigma tau phi varphi omega Delta ell"
    named = set(re.findall(r"\\([a-zA-Z]+)", formula)) & set(greek.split())
    return named | set(re.findall(r"[A-Za-z]", re.sub(r"\\[a-zA-Z]+|\dpt\b", " ", formula)))


def formulas(text):
    return [one or other for one, other in re.findall(r"\$\$(.*?)\$\$|\$([^$]+)\$", text, re.DOTALL)]


def noted():
    """The letters of the page on notation: those that hold everywhere, and (letter, chapter) once for each meaning."""
    rows = [
        re.split(r" *\| *", line.strip("| "))
        for line in (ROOT / "book/notation.md").read_text(encoding="utf-8").splitlines()
    ]
    rows = [row for row in rows if len(row) == 3]
    own = [
        (letter, name)
        for symbol, _, where in rows
        for name in re.findall(r"\]\(([\w-]+)\.ipynb\)", where)
        for letter in letters(symbol)
    ]
    everywhere = [symbol for symbol, _, where in rows if ".ipynb" not in where and "$" in symbol]
    return set().union(*(letters("".join(formulas(symbol))) for symbol in everywhere)), own


def test_a_chapter_uses_no_letter_that_the_notation_lacks(request, chapter):
    everywhere, own = noted()
    known = everywhere | {letter for letter, name in own if name == request.node.callspec.id}
    assert set().union(*map(letters, formulas(prose(chapter)))) - known == set()


def test_within_a_chapter_a_letter_has_one_meaning():
    _, own = noted()
    assert len(own) > 50
    assert sorted({one for one in own if own.count(one) > 1}) == []


def test_the_notation_names_no_chapter_that_lacks_its_letter():
    used = {}
    for path in CHAPTERS:
        chapter = nbformat.read(path, as_version=4)
        printed = [output.data.get("text/markdown", "") for cell in code_cells(chapter) for output in cell.outputs
                   if "data" in output]  # fmt: skip
        trees = (ast.walk(ast.parse(cell.source)) for cell in code_cells(chapter)[1:])
        names = {node.id for nodes in trees for node in nodes if isinstance(node, ast.Name)}
        used[path.stem] = names.union(*map(letters, formulas("\n".join([prose(chapter), *printed]))))
    assert [(letter, name) for letter, name in noted()[1] if letter not in used[name] and name in used] == []


def test_the_letters_of_a_formula_are_found():
    assert letters(r"\hat w_j \le \epsilon\,\text{steps} + \tfrac12\|\Delta x\|") == {
        "w",
        "j",
        "varepsilon",
        "Delta",
        "x",
    }


def test_exercises_have_executed_solutions_and_sources_are_named(chapter):
    text = prose(chapter)
    assert "## What to remember" in text
    assert "## Exercises" in text
    assert text.index("## Sources") > text.index("## Exercises")
    solutions = [cell for cell in code_cells(chapter) if "hide-cell" in cell.metadata.get("tags", [])]
    assert any(cell.outputs for cell in solutions)


def test_the_device_is_chosen_in_one_place(chapter):
    source = "\n".join(cell.source for cell in code_cells(chapter))
    assert ".cuda(" not in source
    assert "is_available" not in source


@pytest.mark.parametrize("name", ["README.md", "CITATION.cff", "CONTRIBUTING.md"])
def test_the_repository_has_one_address(name):
    addresses = set(re.findall(r"https://github\.com/[\w-]+/[\w-]+", (ROOT / name).read_text(encoding="utf-8")))
    assert addresses <= {REPOSITORY}


def test_what_is_asked_for_is_pinned_and_no_lock_names_an_address():
    asked = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in asked)
    locked = (ROOT / "constraints.txt").read_text()
    assert set(asked) <= set(locked.splitlines())
    assert "://" not in locked
    assert "@" not in locked


def test_third_party_scripts_stand_with_their_licence():
    for folder in (ROOT / "vendor").iterdir():
        if folder.is_dir():
            assert list(folder.glob("LICENSE*")), f"{folder.name} has no licence"
    assert (ROOT / "src/weightdecay/vendor/uPlot.LICENSE").exists()


def test_only_our_scripts_are_on_every_page():
    scripts = {path.name for path in (ROOT / "book/_static").rglob("*.js")}
    assert scripts == {"host.js", "prose.js", "site.js", "search.js", "trainer.js"}  # the last two where asked for
