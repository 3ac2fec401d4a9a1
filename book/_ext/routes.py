"""Which section needs which, and routes through them, as `book/routes.yml` has it.

A place is a chapter or page by its name, or chapter#section, as in a link. `sections` reads
what stands there; the tests use it too.
"""

import json
import re
from functools import cache
from html import escape
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from myst_parser.mdit_to_docutils.base import default_slugify
from sphinx.util.docutils import SphinxDirective, SphinxRole

BOOK = Path(__file__).parents[1]
DATA = BOOK / "routes.yml"
NAMES, NEEDS, ROUTES = yaml.safe_load(DATA.read_text(encoding="utf-8")).values()
PACE = 200  # words a minute
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
UNREAD = re.compile(r"\]\([^)]*\)|<[^>]*>")  # addresses and tags
TITLE = re.compile(r'title="([^"]+)"')
ROW = re.compile(
    r'^<a href="([\w-]+)\.html#demo=[^>]*>([^<]+)</a>, (\d+) minutes$', re.MULTILINE
)


class Section(NamedTuple):
    """A heading, and what stands between it and the next one."""

    level: int
    title: str
    prose: list[str]  # what is read: text, and sentences that cells print
    demos: list[str]  # their titles
    cells: list[dict]  # of code


@cache
def sections(name: str) -> dict[str, Section]:
    """The sections of a chapter or page in their order, by the names that links give them."""
    if name in NAMES:
        cells = json.loads((BOOK / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    else:
        text = (BOOK / f"{name}.md").read_text(encoding="utf-8")
        cells = [{"cell_type": "markdown", "source": re.sub(r"\A---\n.*?\n---\n", "", text)}]
    found, section = {}, None
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text, *rest = HEADING.split(FENCED.sub("", source))
            if section:
                section.prose.append(text)
            for marks, title, text in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
                section = Section(len(marks), title, [text], [], [])
                found[default_slugify(title.replace("`", ""))] = section
            continue
        section.cells.append(cell)
        if re.search(r"^(live|frames)\(", source, re.MULTILINE):
            section.demos.extend(TITLE.findall(source))
        if "hide-cell" not in cell["metadata"].get("tags", []):  # a solution is hidden
            printed = (one.get("data", {}).get("text/markdown", "") for one in cell["outputs"])
            section.prose.extend("".join(lines) for lines in printed)
    return found


def within(place: str) -> list[Section]:
    """What is read at a place: a section with those below it, or a whole chapter or page."""
    name, _, slug = place.partition("#")
    parts = list(sections(name).items())
    start = [one for one, _ in parts].index(slug) if slug else 0
    first, *others = [part for _, part in parts[start:]]
    ends = (i for i, other in enumerate(others) if other.level <= first.level)
    return [first, *others[: next(ends, None)]]


@cache
def demo_minutes() -> dict[tuple[str, str], int]:
    """How long each demo takes, by chapter and title, as the page for teachers says."""
    rows = ROW.findall((BOOK / "classroom.md").read_text(encoding="utf-8"))
    return {(name, demo): int(time) for name, demo, time in rows}


def minutes(place: str) -> float:
    """How long a place takes: its words, and its demos as the page for teachers counts them."""
    takes = demo_minutes()
    texts = [UNREAD.sub(" ", text) for part in within(place) for text in part.prose]
    demos = [(chapter_of(place), demo) for part in within(place) for demo in part.demos]
    return sum(len(text.split()) for text in texts) / PACE + sum(takes[demo] for demo in demos)


def chapter_of(place: str) -> str:
    return place.partition("#")[0]


def link(place: str) -> str:
    """A link in Markdown, named after a section or page, or by the short name of a chapter."""
    name, _, slug = place.partition("#")
    kind = "ipynb" if name in NAMES else "md"
    title = next(iter(sections(name).values())).title
    title = sections(name)[slug].title if slug else NAMES.get(name, title)
    return f"[{title}]({name}.{kind}{slug and '#' + slug})"


def after(needs) -> str:
    """What stands behind the name of something that needs others, by their names."""
    return "".join(f"{', after' if i == 0 else ' and'} {one}" for i, one in enumerate(needs))


def needed_chapters() -> dict[str, list[str]]:
    """The chapters that each needs before it, without what these need themselves."""
    direct = {name: set() for name in NAMES}
    for place, needs in NEEDS.items():
        direct[chapter_of(place)] |= {chapter_of(need) for need in needs} - {chapter_of(place)}

    def all_before(name):
        return direct[name].union(*map(all_before, direct[name]))

    last = {name: needs.difference(*map(all_before, needs)) for name, needs in direct.items()}
    return {name: [other for other in NAMES if other in needs] for name, needs in last.items()}


def draw_chapters(address, step=28, left=132) -> str:
    """The chapters as links under one another, with an arc from each to those that need it.

    address: gives the address of a chapter's page.
    """
    high = {name: step * (i + 0.5) for i, name in enumerate(NAMES)}
    arcs, rows = [], []
    for name, needs in needed_chapters().items():
        to = high[name]
        for other in needs:
            out = left - 30 - 0.4 * (to - high[other])
            bend = f"C{out:g} {high[other]} {out:g} {to}"
            arcs.append(f"M{left - 4} {high[other]}{bend} {left - 9} {to}")
        if needs:
            arcs.append("m-4-4 8 4-8 4")  # the head of the arrow
        says = NAMES[name] + after(NAMES[one] for one in needs)
        rows.append(
            f'<a href="{address(name)}" aria-label="{escape(says)}">'
            f'<text x="{left + 4}" y="{to + 5}">{escape(NAMES[name])}</text></a>'
        )
    return (
        f'<svg class="wd-graph" viewBox="0 0 300 {step * len(NAMES)}" role="group" '
        'aria-label="The chapters, each with those that it comes after">'
        f'<path d="{"".join(arcs)}"/>{"".join(rows)}</svg>'
    )


class Written(SphinxDirective):
    """A directive whose content is Markdown that it writes itself, a line after the other."""

    def run(self):
        for path in (DATA, BOOK / "classroom.md", *BOOK.glob("*.ipynb")):
            self.env.note_dependency(str(path))
        holder = nodes.container("", classes=[self.kind])
        self.state.nested_parse(StringList(list(self.write()), str(DATA)), 0, holder)
        return [holder]


class Routes(Written):
    """The routes, each with its stops and how long it takes."""

    kind = "wd-routes"

    def write(self):
        for route in ROUTES:
            yield from (f"- **{route['name']}.** {route['why']}", "")
            for name, group in groupby(route["stops"], chapter_of):
                stops = list(group)
                takes = f"{max(1, round(sum(map(minutes, stops))))} min"
                if stops == [name]:
                    yield f"  1. {link(name)}, {takes}"
                else:
                    yield f"  1. {NAMES[name]}, {takes}: {', '.join(map(link, stops))}"
            at_hand = ", ".join(map(link, route["at-hand"]))
            takes = round(sum(map(minutes, route["stops"])))
            yield from ("", f"  In all {takes} minutes. At hand afterwards: {at_hand}.", "")


class Needs(Written):
    """Every section with a number, and behind it the numbers of those that come before it."""

    kind = "wd-needs"

    def write(self):
        groups = {name: list(places) for name, places in groupby(NEEDS, chapter_of)}
        number = {place: i for places in groups.values() for i, place in enumerate(places, 1)}
        for name, places in groups.items():
            if places != [name]:
                yield f"- {NAMES[name]}"
            for place in places:
                others = [chapter_of(need) for need in NEEDS[place]]
                called = ["" if other == name else f"{NAMES[other]} " for other in others]
                needs = [number[need] for need in NEEDS[place]]
                behind = after(f"{one}{i}" for one, i in zip(called, needs, strict=True))
                yield ("- " if place == name else f"  {number[place]}. ") + link(place) + behind


class Graph(SphinxDirective):
    """The graph of the chapters."""

    def run(self):
        self.env.note_dependency(str(DATA))
        page, builder = self.env.docname, self.env.app.builder
        drawing = draw_chapters(lambda name: builder.get_relative_uri(page, f"book/{name}"))
        return [nodes.raw("", drawing, format="html")]


class Minutes(SphinxRole):
    """How many minutes a place takes."""

    def run(self):
        return [nodes.Text(str(round(minutes(self.text))))], []


def setup(app):
    app.add_directive("reading-routes", Routes)
    app.add_directive("section-needs", Needs)
    app.add_directive("chapter-graph", Graph)
    app.add_role("minutes", Minutes())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
