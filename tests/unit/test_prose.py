"""What is folded on the site: what a cell is for, and how a page is arranged, on a small page of its own."""

import re
import subprocess
import sys

import nbformat
import pytest
from bs4 import BeautifulSoup
from notebooks import ROOT
from prose import LABELS, count, kind_of

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("setup", "import numpy as np\n\nfrom weightdecay import say"),
        ("setup", "try:\n    import transformers\nexcept ModuleNotFoundError:\n    transformers = None"),
        ("setup", 'n, seed = 20, 0\nplt.style.use("weightdecay.book")'),
        ("sentence", 'assert x < 1\nsay("It is {x}.", x=x)'),
        ("sentence", 'for x in xs:\n    say("It is {x}.", x=x)'),
        ("sentence", 'if mx is None:\n    say("No.")\nelse:\n    say("Yes.")'),
        ("sentence", 'def tell(x):\n    """One line."""\n    say("It is {x}.", x=x)'),
        ("check", "gap = apart(a, b)\nassert gap < 1e-12"),
        ("check", "np.testing.assert_allclose(a, b)"),
        ("check", "for a in steps:\n    assert a > 0"),
        ("figure", "figure, axes = plt.subplots()\nfor x in xs:\n    axes.plot(x)"),
        ("figure", 'def draw(p):\n    """The picture."""\n    plt.plot(p)'),
        ("demo", "curves = sweep(train, lambd=[0, 1])\nlive(train, curves)"),
        ("demo", 'for name in names:\n    times[name].attrs["long_name"] = "λ"\nlive(None, times)'),
        ("output", 'for x in xs:\n    print(f"{x:.2f}")'),
        ("helper", "by_hand = train_by_hand(lr=0.1)\nends = by_hand[-1]"),
        ("helper", "torch.manual_seed(0)\nscores = score(net)"),
        ("open", 'def train(lambd):\n    """The loop."""\n    yield 1, {}'),
        ("open", "class Net(nn.Module):\n    pass"),
        ("open", "def train(lambd):\n    yield 1, {}\n\n\nlive(train, sweep(train, lambd=[0, 1]))"),
        ("open", "for _ in range(100):\n    w = w - lr * (gradient(w) + lambd * w)"),
        ("open", "loss.backward()\noptimizer.step()"),
        ("open", "sp.diff(loss, w)"),
        ("open", "%timeit train(1)"),
    ],
)
def test_a_cell_says_what_it_is_for(kind, source):
    assert kind_of(source) == kind
    assert kind == "open" or kind in LABELS


def test_what_draws_is_known_by_its_figure():
    assert kind_of("heat(curves)") == "open"
    assert kind_of("heat(curves)", has_figure=True) == "figure"


def test_a_demo_is_no_figure_though_it_brings_one_along():
    assert kind_of("live(train, curves)", has_figure=True) == "demo"
    assert kind_of("def train(lambd):\n    yield 1, {}\n\n\nlive(train, curves)", has_figure=True) == "open"


@pytest.mark.parametrize(
    ("kind", "source", "tag"),
    [
        ("open", "theory = lr / (2 - lr * lambd)", "show-code"),
        ("open", 'say("It is 1.")', "show-code"),
        ("helper", "def joined(runs):\n    return xr.concat(runs)", "fold-code"),
        ("helper", "data.shape", "fold-code"),
        ("sentence", 'say("It is 1.")', "fold-code"),
        ("demo", "converter(lr=0.1)", "hide-input"),
        ("demo", "def train(lambd):\n    yield 1, {}\n\n\nlive(train, sweep(train, lambd=[0]))", "hide-input"),
        ("setup", "import pandas\n\npandas.DataFrame(record)", "hide-input"),
        ("install", 'get_ipython().run_line_magic("pip", "install x")', "install"),
    ],
)
def test_tags_overrule(kind, source, tag):
    assert kind_of(source, [tag]) == kind


CONF = f"""
import sys

sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_nb", "prose"]
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
html_static_path = [{str(ROOT / "book" / "_static")!r}]
"""


def sentence(text):
    """What `say` displays: the sentence, and a number glued."""
    glued = {"scrapbook": {"name": text.split()[0], "mime_prefix": "application/papermill.record/"}}
    return [
        nbformat.v4.new_output("display_data", {"text/markdown": text, "text/plain": "<Markdown>"}),
        nbformat.v4.new_output("display_data", {"application/papermill.record/text/plain": "'1'"}, metadata=glued),
    ]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Four pages of HTML: a chapter, one whose code is all open, one with a single fold, and one without code."""
    folder = tmp_path_factory.mktemp("small-book")

    def code(source, outputs=(), *tags, **metadata):
        return nbformat.v4.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags), **metadata})

    def write(name, *cells):
        cells = [nbformat.v4.new_markdown_cell(one) if isinstance(one, str) else one for one in cells]
        language = {"kernelspec": {"name": "python3", "display_name": "x"}, "language_info": {"name": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=language), folder / f"{name}.ipynb")

    picture = nbformat.v4.new_output("display_data", {"image/png": DOT, "text/plain": "<Figure>"})
    printed = nbformat.v4.new_output("stream", name="stdout", text="1.00 2.00")
    write(
        "chapter",
        "# A chapter",
        code("import pip", (), "install"),
        code("import math"),
        code("first = 1"),
        'Text.\n\n## A part\n\n```python\nsay("quoted")\n```',
        code("def train(lambd):\n    yield 1, {}"),
        code("second = 2"),
        code('say("One is {x}.", x=1)', sentence("One is *1*.")),
        code("assert second > first"),
        code('say("Two is {x}.", x=2)', sentence("Two is 2.")),
        code("third = 3"),
        "More text.",
        code('say("Three.")', sentence("Three.")),
        "More text.",
        code("heights = [1, 2]"),
        code("plt.plot(heights)", [picture], mystnb={"image": {"alt": "A dot that stands for a figure."}}),
        code("print(heights)", [printed], "nbval-check-output"),
        "More text.",
        code("assert third"),
        code("fourth = 4"),
        "More text.\n\n## Exercises\n\n**1.** A question.",
        code("def solve():\n    return 5", (), "hide-cell"),
        code('say("Five.")', sentence("Five."), "hide-cell"),
        "**2.** Another.",
        code("6 * 7", (), "hide-cell"),
        "A list, and a cell of which nothing is left.",
        code('say("- Eight")', sentence("- Eight")),
        code("fifth = 5", (), "remove-input"),
        code("sixth = 6"),
        "A table, and two paragraphs.",
        code("say(rows)", sentence("| a |\n|---|\n| 1 |")),
        code("say(both)", sentence("Nine.\n\nTen.")),
    )
    write("open", "# All open", code("def train(lambd):\n    yield 1, {}"))
    write("single", "# One demo", code("live(train, curves)", [picture], "hide-input"), "What to try.")
    (folder / "none.md").write_text("# No code\n\nText.")
    (folder / "index.md").write_text("# Contents\n\n```{toctree}\nchapter\nopen\nsingle\nnone\n```")
    (folder / "conf.py").write_text(CONF)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-d", folder / "trees", folder, folder / "html"]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return {name: BeautifulSoup((folder / "html" / f"{name}.html").read_text(), "html.parser") for name in
            ("chapter", "open", "single", "none")}  # fmt: skip


def code_of(node):
    return [pre.get_text().strip() for pre in node.select("pre")]


def label(fold):
    return fold.summary.get("aria-label") or fold.summary.get_text()


def test_what_say_prints_is_one_paragraph_with_its_code_behind_a_mark(pages):
    said, alone, _, _ = (one for one in pages["chapter"].select(".said") if not one.find_parent("details"))
    assert [one.name for one in said.find_all(recursive=False)] == ["p", "details", "p", "details"]
    assert [one.get_text() for one in said.select("p")] == ["One is 1.", "Two is 2."]
    assert said.em.get_text() == "1"
    first, second = said.select("details")
    assert label(first) == label(second) == "code of this sentence"
    assert "</p><details" in str(said)  # the mark stands right behind the sentence
    assert code_of(first) == ["second = 2", 'say("One is {x}.", x=1)']
    assert code_of(second) == ["assert second > first", 'say("Two is {x}.", x=2)', "third = 3"]
    assert code_of(alone) == ['say("Three.")']


def test_everything_else_that_does_not_teach_is_one_line(pages):
    folds = pages["chapter"].select("details:not(.code-mark, .solution)")
    assert [(label(one), code_of(one)) for one in folds] == [
        ("how to install, imports and constants", ["import pip", "import math"]),
        ("helper code", ["first = 1"]),
        ("code of this figure", ["heights = [1, 2]", "plt.plot(heights)"]),
        ("code of this output", ["print(heights)"]),
        ("a check, helper code", ["assert third", "fourth = 4"]),
        ("code of this sentence", ['say("- Eight")']),  # no mark, which would stand alone
        ("helper code", ["sixth = 6"]),
        ("code of this table", ["say(rows)"]),
    ]


def test_two_paragraphs_of_one_sentence_stay_two(pages):
    nine, ten = pages["chapter"].select(".said")[-1].find_all("p", recursive=False)
    assert (nine.get_text(), nine.get("class")) == ("Nine.", ["apart"])
    assert (ten.get_text(), ten.get("class")) == ("Ten.", None)


def test_outputs_stay_as_they_were_with_their_code_behind_them(pages):
    figure, table = (one.parent for one in pages["chapter"].select(".cell > .cell_output + details"))
    assert figure.img["alt"] == "A dot that stands for a figure."
    assert not figure.img.find_parent("details")
    assert "tag_nbval-check-output" in table["class"]
    assert table.select_one(".cell_output").get_text().strip() == "1.00 2.00"


def test_code_that_teaches_and_code_in_the_text_stay_open(pages):
    shown = [pre for pre in pages["chapter"].select("pre") if not pre.find_parent("details")]
    assert [pre.get_text().strip() for pre in shown] == [
        'say("quoted")',
        "def train(lambd):\n    yield 1, {}",
        "1.00 2.00",
    ]


def test_a_solution_is_one_fold_in_which_code_is_folded_too(pages):
    first, second = pages["chapter"].select("details.solution")
    assert label(first) == "Solution"
    assert not first.has_attr("open")
    assert first.select_one(".said p").get_text() == "Five."
    assert code_of(first.select_one("details")) == ['say("Five.")']
    assert code_of(first) == ["def solve():\n    return 5", 'say("Five.")']
    assert code_of(second) == ["6 * 7"]


def test_all_code_is_still_there_in_its_order(pages):
    names = re.findall(r"first|second|third|heights|fourth|solve", " ".join(code_of(pages["chapter"])))
    assert list(dict.fromkeys(names)) == ["first", "second", "third", "heights", "fourth", "solve"]


def test_a_page_has_one_switch_if_it_has_more_than_one_thing_to_open(pages):
    (switch,) = pages["chapter"].select(".all-code button")
    assert switch.parent.find_previous_sibling().name == "h1"
    assert switch["aria-pressed"] == "false"
    assert not pages["open"].select("details, .all-code")
    assert [label(one) for one in pages["single"].select("details")] == ["code of this demo"]
    assert not pages["single"].select(".all-code")
    assert not pages["none"].select("details, .all-code")


def test_lines_are_counted(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in ("import math", "def f():\n    pass", 'say("a")')]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    assert count(tmp_path / "a.ipynb") == (2, 2)


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_chapter_keeps_code_open_and_folds_code_and_names_no_other_tag(path):
    shown, folded = count(path)
    assert min(shown, folded) >= 25
    tags = {tag for cell in nbformat.read(path, as_version=4).cells for tag in cell.metadata.get("tags", [])}
    assert tags <= {"install", "show-code", "fold-code", "hide-cell", "nbval-ignore-output"}
