"""The list of places that is read off a page, the words that readers use for them, and what finds both."""

import json
import re

import pytest
import yaml
from docutils import nodes
from notebooks import ROOT
from py_mini_racer import MiniRacer
from search import COMMENT, MINISEARCH, WORDS, Places, add_words, name_blocks
from sphinx.errors import ExtensionError

PAGE = """
<nav><p>Not the page</p></nav><article role="main">
<section id="a-page"><h1>A page<a class="headerlink" href="#a-page">¶</a></h1>
<p>First.</p><p id="p-1">Then <span class="katex" data-text="ηλ"><span>x</span><i>y</i></span>, &amp; so on.<br></p>
<details><summary>code</summary><pre>import torch</pre><p>folded</p></details>
<section id="long"><span id="q-name"></span><h3>Why?<a class="headerlink">¶</a></h3>
<p>Because.</p><p><a href="b.html">See there</a></p></section>
<section id="demos"><h2>Demos</h2><p class="wd-title">A &amp; B</p><div class="wd-still"><p>A still picture</p></div>
<ul><li id="p-2"><p>One</p><p>two</p></li></ul><table>
<thead><tr><th>head</th></tr></thead><tr id="p-3"><td>three</td><td>four</td></tr></table></section>
<section id="exercises"><h2>Exercises</h2><p id="exercise-1"><strong>1.</strong> Do it.</p></section>
<dl class="glossary"><dt id="term-x">x</dt><dd><p>A letter.</p></dd></dl>
</section></article><footer><p>Nor this</p></footer>
"""


def test_places_are_read_in_their_order_with_what_a_reader_sees():
    assert Places(PAGE).places == [
        ["c", "", "A page", "First."],
        ["p", "p-1", "", "Then ηλ, & so on."],
        ["q", "q-name", "Why?", "Because.", "See there"],
        ["s", "demos", "Demos", "One two"],
        ["d", "demo=A+%26+B", "A & B", ""],
        ["p", "p-3", "", "three four"],
        ["s", "exercises", "Exercises", ""],
        ["x", "exercise-1", "Exercise 1", "Do it."],
        ["t", "term-x", "x", "A letter."],
    ]


def test_words_are_put_to_their_places_and_a_vanished_place_is_an_error():
    found = [{"page": "book/a.html", "title": "A page", "places": Places(PAGE).places}]
    add_words(found, {"a": "page one", "a#q-name": "how come"})
    assert [place[4:] for place in found[0]["places"][:3]] == [["page one"], [], ["See there, how come"]]
    with pytest.raises(ExtensionError, match="a#q-nam, b"):
        add_words(found, {"a#q-nam": "how come", "b": "page", "a#demos": "sliders"})


def test_blocks_have_addresses_that_stay_when_others_change():
    def names(*texts):
        parts = [nodes.paragraph("", text) for text in texts]
        document = nodes.section("", *parts, ids=["exercises"])
        name_blocks(app, nodes.section("", document, ids=["page"]), "page")
        return [one["ids"] for one in parts]

    app = type("App", (), {"builder": type("Builder", (), {"name": "html"})})
    first, second = names("One way.", "Another."), names("New.", "Another.", "1. Do it.", "Another.")
    assert re.fullmatch("p-[0-9a-f]{5}", first[1][0])
    assert second[1:] == [first[1], ["exercise-1"], []]  # an address belongs to one place only


def test_words_name_each_place_once_and_in_few_words():
    lines = [line.split(":")[0] for line in WORDS.read_text(encoding="utf-8").splitlines() if line[:1].isalpha()]
    assert len(lines) == len({*lines})
    for place, words in yaml.safe_load(WORDS.read_text(encoding="utf-8")).items():
        split = words.split(", ")
        assert len(split) == len({*split}), place
        assert all(0 < len(word) < 60 for word in split), place


def test_twenty_queries_are_held_out_and_none_is_asked_twice():
    asked = json.loads((ROOT / "tests/search.json").read_text(encoding="utf-8"))
    assert {kind: len(rows) for kind, rows in asked.items()} == {"tuning": 40, "sentences": 64, "held out": 20}
    queries = [row["query"].lower() for rows in asked.values() for row in rows]
    assert len(queries) == len({*queries})
    assert all(row["answers"] for rows in asked.values() for row in rows)


PAGES = [
    {
        "page": "book/questions.html",
        "title": "Questions",
        "places": [
            ["q", "q-bias", "Should biases be decayed?", "No. A bias shifts the output.", "偏置"],
            ["q", "q-l2", "Is it L2 regularisation?", "With SGD.", "no_decay, 权重衰减"],
        ],
    },
    {
        "page": "book/a.html",
        "title": "A chapter",
        "places": [
            ["c", "", "A chapter", "Layers and neural networks."],
            ["s", "bias", "Should biases be decayed?", "No. A bias shifts the output."],
            ["s", "tune", "Fine-tuning", "Freezing a network."],
            ["p", "p-1", "", "Colours of optimisers, λ = 3."],
        ],
    },
]


@pytest.fixture(scope="module")
def find():
    engine = MiniRacer()
    script = COMMENT.sub("", (MINISEARCH / "minisearch.js").read_text(encoding="utf-8"))
    engine.eval(
        "globalThis.setTimeout = (task) => task(); var weightdecay = { bring(name, one) { this[name] = one; } };"
    )
    engine.eval(script + (ROOT / "book/_static/search.js").read_text(encoding="utf-8"))
    engine.eval(f"var {{ find }} = weightdecay.search.finder({json.dumps(PAGES)}, MiniSearch); 0")

    def find(text):
        return json.loads(
            engine.eval(f"JSON.stringify(find({json.dumps(text)}).map(({{ page, at }}) => page[5] + '#' + at))")
        )

    yield find
    engine.close()


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("bias", "q#q-bias"),  # a question before a section of the same words
        ("Bias", "q#q-bias"),
        ("biasse", "q#q-bias"),
        ("regularization", "q#q-l2"),
        ("regularizer", "q#q-l2"),
        ("regularis", "q#q-l2"),
        ("no_decay", "q#q-l2"),
        ("no-decay", "q#q-l2"),
        ("权重衰减", "q#q-l2"),
        ("什么是权重衰减", "q#q-l2"),
        ("偏置", "q#q-bias"),
        ("finetuning", "a#tune"),
        ("fine tuning", "a#tune"),
        ("freeze", "a#tune"),
        ("optimizer", "a#p-1"),
        ("color", "a#p-1"),
        ("lambda", "a#p-1"),
        ("fine tuning with low wd", "a#tune"),
        ("frozen", "a#tune"),
        ("network", "a#"),
    ],
)
def test_one_word_in_many_forms_leads_to_one_place(find, text, first):
    assert find(text)[0] == first


def test_nothing_and_nonsense_find_nothing(find):
    assert find("") == find("   ") == find("zzzzqqq") == []


def test_words_without_meaning_count_only_where_there_are_no_others(find):
    assert find("should the bias be in it") == find("bias")
    assert find("should it")
