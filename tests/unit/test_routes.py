"""What each section needs before it, the routes through the book, and where the list of reproductions points."""

import ast
import re
from graphlib import TopologicalSorter

import pytest
import yaml
from notebooks import ROOT
from routes import (
    BOOK,
    NAMES,
    NEEDS,
    ROUTES,
    UNREAD,
    chapter_of,
    demo_minutes,
    draw_chapters,
    minutes,
    needed_chapters,
    sections,
    within,
)

CHAPTERS = {path.stem for path in BOOK.glob("*.ipynb")}
CONTENTS = [
    one["file"].removeprefix("book/")
    for part in yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    for one in part["chapters"]
]
ASIDE = {"what-to-remember", "exercises", "sources", "keeping-the-record"}
routes = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route["name"])


def test_every_chapter_is_in_the_graph_whole_or_with_all_its_sections():
    assert list(NAMES) == [name for name in CONTENTS if name in CHAPTERS]
    for name in CHAPTERS:
        places = {place for place in NEEDS if chapter_of(place) == name}
        parts = {f"{name}#{slug}" for slug, part in sections(name).items() if part.level == 2 and slug not in ASIDE}
        assert places in ({name}, parts)


def test_what_is_needed_is_there_and_never_in_a_circle():
    assert {need for needs in NEEDS.values() for need in needs} <= NEEDS.keys()
    assert len(list(TopologicalSorter(NEEDS).static_order())) == len(NEEDS)


def test_the_book_can_be_read_in_its_order():
    order = list(NEEDS)
    assert [chapter_of(place) for place in order] == sorted(map(chapter_of, order), key=CONTENTS.index)
    for name in CHAPTERS:
        slugs = [place.partition("#")[2] for place in order if chapter_of(place) == name]
        assert slugs == [slug for slug in sections(name) if slug in slugs] or slugs == [""]
    assert [(place, need) for place in order for need in NEEDS[place] if order.index(need) > order.index(place)] == []


@routes
def test_a_route_visits_nothing_before_what_it_needs(route):
    stops = route["stops"]
    assert len({*stops}) == len(stops)
    assert {stop for stop in stops if stop not in NEEDS} <= {*CONTENTS} - CHAPTERS  # other pages of the book
    early = [(stop, need) for i, stop in enumerate(stops) for need in NEEDS.get(stop, []) if need not in stops[:i]]
    assert early == []


@routes
def test_a_route_keeps_its_promise(route):
    assert 0.6 * route["promise"] < sum(map(minutes, route["stops"])) <= route["promise"]


def test_the_way_of_who_practises_leads_to_cheat_sheet_converter_and_audit():
    (route,) = [route for route in ROUTES if "practice" in route["name"]]
    assert {"cheat-sheet", "convert", "in-practice#an-audit-of-your-model"} <= {*route["stops"]}


def test_every_route_leads_to_what_answers_questions_and_none_twice_to_a_place():
    for route in ROUTES:
        assert "questions" in route["at-hand"]
        assert not {*route["at-hand"]} & {*route["stops"]}
        assert all(within(place) for place in route["at-hand"])
    for place in ("cheat-sheet", "convert", "in-practice#an-audit-of-your-model"):
        assert sum(place in route["stops"] + route["at-hand"] for route in ROUTES) >= 2


def test_every_demo_of_a_chapter_has_its_minutes():
    counted = demo_minutes().keys()
    of_chapters = {(name, demo) for name in CHAPTERS for part in within(name) for demo in part.demos}
    assert of_chapters == {one for one in counted if one[0] in CHAPTERS} != set()


def test_minutes_are_words_and_demos():
    assert minutes("pytorch#λ-under-a-slider") == pytest.approx(8 + words(within("pytorch#λ-under-a-slider")) / 200)
    assert minutes("pytorch") > sum(minutes(place) for place in NEEDS if chapter_of(place) == "pytorch")


def words(parts):
    text = " ".join(text for part in parts for text in part.prose)
    return len(UNREAD.sub(" ", text).split())


def test_the_drawing_has_a_link_to_every_chapter_and_an_arc_to_each_from_what_it_needs():
    drawing = draw_chapters(lambda name: f"{name}.html")
    assert re.findall(r'href="([\w-]+)\.html"', drawing) == list(NAMES)
    needed = needed_chapters()
    assert re.search('d="([^"]+)"', drawing)[1].count("M") == sum(map(len, needed.values())) > 8
    for name, needs in needed.items():
        says = re.search(rf'href="{name}\.html" aria-label="([^"]+)"', drawing)[1]
        assert all(NAMES[need] in says for need in needs)


def rows():
    """The rows of the list of reproductions, each as its three columns."""
    text = (BOOK / "reproduction.md").read_text(encoding="utf-8").split("\n:::\n")[0]
    _, _, *rows = text.split("\n* - ")
    return [row.split("\n  - ") for row in rows]


def backing(part):
    """What the executed cells of a section give a name to, and whether one of them asserts something."""
    cells = [cell for cell in part.cells if cell["execution_count"]]
    marks = (output.get("metadata", {}).get("scrapbook") for cell in cells for output in cell["outputs"])
    trees = (ast.walk(ast.parse("".join(cell["source"]))) for cell in cells)
    asserts = any(isinstance(node, ast.Assert) for nodes in trees for node in nodes)
    return {mark["name"] for mark in marks if mark}, asserts


GLUED = re.compile(r"\{glue:text\}`([\w-]+)\.ipynb::(\w+):s`")
LINK = re.compile(r"\]\(([\w-]+)\.ipynb#([^)]+)\)")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_a_conclusion_names_the_sections_whose_cells_back_it(row):
    """Each link of the third column leads to cells that print a number of the row, or assert; no number lacks one."""
    numbers, links = {*GLUED.findall(" ".join(row))}, LINK.findall(row[2])
    assert len(row) == 3
    assert links
    assert numbers
    for name, slug in links:
        names, asserts = backing(sections(name)[slug])
        backed = {(name, key) for key in names}
        assert asserts or numbers & backed, slug
        numbers -= backed
    assert numbers == set()
