"""The page for teachers: a row with the question of every demo, and links that open what they name."""

import posixpath
import re
from functools import cache
from html import unescape
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from playwright.sync_api import expect
from servers import HANDLE, HTML, PAGES, read_demos
from test_site import HOME, WITH_DEMOS, Page, demos, each_page_with_demos, read_specs

CLASSROOM = "book/classroom.html"


@cache
def sliders(name):
    """What each slider of a page's demos can say, {title: [labels of each slider]}."""
    labels = []
    for demo in read_demos(name):
        states = {f"IPY_MODEL_{key}": model["state"] for key, model in demo["models"].items()}
        if parts := states[f"IPY_MODEL_{demo['root']}"].get("children"):
            labels.append([states[part]["_options_labels"] for part in parts[:-1]])
    return dict(zip([spec["title"] for spec in read_specs(name)], labels, strict=True))


def demo_links(name):
    """The links of a page that open a demo: (link, page that it leads to, state as {key: values})."""
    links = [(link, urlsplit(link)) for link in sorted(Page(HTML / name).links)]
    return [
        (
            link,
            posixpath.normpath(posixpath.join(posixpath.dirname(name), parts.path)) if parts.path else name,
            parse_qs(parts.fragment),
        )
        for link, parts in links
        if parts.fragment.startswith("demo=")
    ]


def test_every_demo_has_a_row_with_its_question():
    questions = {(name, spec["title"]): spec["question"] for name in WITH_DEMOS for spec in read_specs(name)}
    rows = {(page, state["demo"][0]) for _, page, state in demo_links(CLASSROOM) if state.keys() == {"demo", "full"}}
    assert rows == questions.keys() != set()
    text = unescape(re.sub(r"<[^>]+>", "", (HTML / CLASSROOM).read_text()))
    assert not [demo for demo, question in questions.items() if not question or f"Ask. {question}" not in text]


def test_a_title_names_one_demo_of_its_page():
    for name in WITH_DEMOS:
        titles = [spec["title"] for spec in read_specs(name)]
        assert len({*titles}) == len(titles)
        assert all(titles)


def is_right(page, state):
    """Whether a link's demo is on the page that it leads to, and its values on the sliders of that demo."""
    if page not in WITH_DEMOS or state["demo"][0] not in sliders(page):
        return False
    labels = sliders(page)[state["demo"][0]]
    places = [place.split(",") for place in [*state.get("at", []), *state.get("pin", [])]]
    recorded = next(spec["shape"] for spec in read_specs(page) if spec["title"] == state["demo"][0])
    needed = sum(size > 1 for size in recorded)  # what is recorded at one value only may be left out
    there = [needed <= len(place) <= len(labels) and all(map(list.__contains__, labels, place)) for place in places]
    return all(there) and state.keys() <= {"demo", "at", "pin", "full"}


def test_links_to_demos_name_what_is_there():
    links = [(name, *one) for name in PAGES for one in demo_links(name)]
    assert links
    assert not [(name, link) for name, link, page, state in links if not is_right(page, state)]


@pytest.mark.parametrize("start", [CLASSROOM, HOME])
def test_links_with_values_open_demos_as_they_say(visit, site, start):
    page = visit(start)
    prepared = [one for one in demo_links(start) if "at" in one[2]]
    assert prepared
    for link, name, state in prepared:
        page.wait_for_load_state("networkidle")
        page.goto("about:blank")  # so that a second demo of a page is opened by a new visit too
        page.goto(urljoin(f"{site['http']}{start}", link))
        opened = demos_by_title(page, name)[state["demo"][0]]
        filled = expect(opened).to_have_class if "full" in state else expect(opened).not_to_have_class
        filled(re.compile(r"\bwd-full\b"))
        page.wait_for_load_state("networkidle")
        assert 0 <= opened.bounding_box()["y"] <= 80
        for handle, value in zip(opened.locator(HANDLE).all(), state["at"][0].split(","), strict=False):
            expect(handle).to_have_attribute("aria-valuetext", value)
        expect(opened.locator(".wd-note")).to_be_empty()
        pinned = opened.locator(".wd-legend").first.get_by_text("pinned")
        expect(pinned).to_have_count(0) if "pin" not in state else expect(pinned.first).to_be_visible()


def demos_by_title(page, name):
    """The demos of an open page, once they are drawn."""
    specs = read_specs(name)
    expect(page.locator(".wd[data-at]")).to_have_count(len(specs))
    return dict(zip([spec["title"] for spec in specs], demos(page), strict=True))


@each_page_with_demos
def test_each_demo_stands_under_the_title_that_exercises_and_links_call_it(visit, name):
    page = visit(name)
    for title, demo in demos_by_title(page, name).items():
        heading = demo.locator("xpath=ancestor::*[@data-demo]/preceding-sibling::*[1]")
        expect(heading).to_have_text(title)
        assert heading.bounding_box()["y"] < demo.bounding_box()["y"]


def test_solutions_are_folded():
    folds = re.findall(r"<details[^>]*>", (HTML / CLASSROOM).read_text())
    assert folds
    assert not [tag for tag in folds if re.search(r"\bopen\b", tag)]
