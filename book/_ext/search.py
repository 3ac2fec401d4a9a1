"""The search, and one list of all places of the book, each with its address.

A place is a chapter, section, paragraph, demo, exercise, term or question. The list is read off
the finished pages, so that it has what a reader sees; `book/words.yml` adds what readers call
it. `book/_static/search.js` finds places in it, with MiniSearch.
"""

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote_plus

import yaml
from docutils import nodes
from prose import Fold
from sphinx.errors import ExtensionError

BOOK = Path(__file__).parents[1]
WORDS = BOOK / "words.yml"
MINISEARCH = BOOK.parent / "vendor" / "minisearch"
UNREAD = re.compile(r"<(pre|math|svg)\b.*?</\1>", re.DOTALL)
COMMENT = re.compile(r"^ */\*\*.*?\*/\n|^//# sourceMapping.*\n?", re.DOTALL | re.MULTILINE)
EXERCISE = re.compile(r"(\d+)\. ")
BLOCKS = nodes.paragraph | nodes.list_item | nodes.row
OTHERS = nodes.section | nodes.definition | nodes.thead | Fold
# What of a page nobody looks for, or only as the place that it names.
ASIDE = {"wd-still", "wd-take", "headerlink", "wd-routes", "wd-needs", "math", "all-code"}
ASIDE_TAGS = {"details", "pre", "thead", "nav", "script", "style", "svg", "form", "button"}
VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
# Sphinx's own search, and what the theme would do with it.
UNUSED = {
    "doctools.js",
    "documentation_options.js",
    "language_data.js",
    "searchtools.js",
    "sphinx_highlight.js",
}


def blocks(node):
    """The paragraphs, list items and rows of a section that are in no other, and not folded."""
    for child in node.children:
        if isinstance(child, BLOCKS):
            yield child
        elif isinstance(child, nodes.Element) and not isinstance(child, OTHERS):
            yield from blocks(child)


def name_blocks(app, doctree, docname):
    """Give each an address that stays while its text does; exercises, that of their number."""
    if app.builder.name != "html":
        return
    taken = {name for node in doctree.findall(nodes.Element) for name in node["ids"]}
    for section in doctree.findall(nodes.section):
        for block in blocks(section):
            if block["ids"]:
                continue
            text = block.astext()
            number = EXERCISE.match(text) if "exercises" in section["ids"] else None
            mark = hashlib.sha256(text.encode()).hexdigest()[:5]
            name = f"exercise-{number[1]}" if number else f"p-{mark}"
            if name not in taken:
                block["ids"].append(name)
                taken.add(name)


class Places(HTMLParser):
    """The places of a built page in their order, in `places`: [kind, anchor, title, text].

    The kind is the first letter: chapter, section, paragraph, demo, x for exercise, term,
    question. A paragraph belongs to the last place before it that has a title. The first of a
    section stands with its heading. The links below an answer are no part of it and count as
    words, as the fifth of a question.
    """

    def __init__(self, html):
        super().__init__()
        self.places, self.names = [], {}
        self.open = 0  # elements within what is read, or passed over, now
        self.aside = self.block = self.heading = None
        self.section = self.entry = None
        self.anchor, self.text = "", []
        self.link, self.loose = None, ""  # what stands in no link
        _, _, article = html.partition("<article")
        self.feed("<article" + UNREAD.sub("", article.partition("</article>")[0]))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        classes = {*(attrs.get("class") or "").split()}
        if tag in VOID:
            return
        self.open += 1
        if self.aside:
            return
        if "katex" in classes:
            self.text.append(attrs["data-text"])
        if "katex" in classes or tag in ASIDE_TAGS or classes & ASIDE:
            self.aside = self.open
        elif tag == "a":
            self.link = self.open
        elif tag == "section":
            self.anchor, self.section = attrs["id"], None
        elif tag == "span" and "id" in attrs and not self.section and not self.block:
            self.names[attrs["id"]], self.anchor = self.anchor, attrs["id"]
        elif self.block is None and self.heading is None:
            if re.fullmatch("h[1-6]", tag):
                self.heading, self.text = self.open, []
            elif tag in ("p", "li", "tr", "dt", "dd"):
                self.block, self.text, self.loose = self.open, [], ""
                self.what = tag, attrs.get("id", ""), classes

    def handle_data(self, data):
        if not self.aside:
            self.text.append(data)
            self.loose += "" if self.link else data

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        text = " ".join("".join(self.text).split())
        if self.aside:
            self.aside = None if self.aside == self.open else self.aside
        elif self.link == self.open:
            self.link = None
        elif self.heading == self.open:
            kind = "c" if tag == "h1" else "q" if self.anchor.startswith("q-") else "s"
            anchor = "" if kind == "c" else self.anchor
            self.section = self.entry = [kind, anchor, text, ""]
            self.places.append(self.section)
            self.heading = None
        elif self.block == self.open:
            self.take(text, *self.what)
            self.block = None
        elif tag in ("td", "th", "p", "li"):
            self.text.append(" ")
        self.open -= 1

    def take(self, text, tag, anchor, classes):
        """A block that has been read."""
        if not text or not self.section:
            return
        if self.entry[0] == "q" and not self.loose.strip(" ,"):
            self.entry.append(text)
            return
        if tag == "dt" and anchor:
            self.entry = ["t", anchor, text, ""]
        elif "wd-title" in classes:
            self.places.append(["d", f"demo={quote_plus(text)}", text, ""])
            return
        elif anchor.startswith("exercise-"):
            number = anchor.removeprefix("exercise-")
            self.entry = ["x", anchor, f"Exercise {number}", text.removeprefix(f"{number}. ")]
        elif self.entry[0] in "qt" or not (self.entry[3] or self.entry[0] == "x"):
            self.entry[3] = f"{self.entry[3]} {text}".strip()
            return
        else:
            self.places.append(["p", anchor or self.section[1], "", text])
            return
        self.places.append(self.entry)


def read_places(site, pages):
    """All places, by page: {"page": address, "title", "places"}."""
    found = []
    for address in pages:
        page = Places((site / address).read_text(encoding="utf-8"))
        title = page.places[0][2]
        found.append({"page": address, "title": title, "places": page.places})
    return found


def add_words(found, words):
    """Put readers' words to their places, in the fifth part. A vanished place is an error."""
    at = {}
    for page in found:
        name = Path(page["page"]).stem
        for place in page["places"]:
            at.setdefault(f"{name}#{place[1]}".removesuffix("#"), place)
    lost = sorted(words.keys() - at.keys())
    if lost:
        raise ExtensionError(f"{WORDS.name} has words for what is not there: {', '.join(lost)}")
    for name, said in words.items():
        at[name][4:] = [", ".join([*at[name][4:], said])]


def write_search(app, exception):
    """Write the list of places and MiniSearch, and remove what Sphinx would search with."""
    if exception or app.builder.name != "html":
        return
    static = Path(app.outdir, "_static")
    pages = [app.builder.get_target_uri(name) for name in sorted(app.env.found_docs)]
    found = read_places(Path(app.outdir), pages)
    add_words(found, yaml.safe_load(WORDS.read_text(encoding="utf-8")))
    data = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    (static / "places.js").write_text(f'weightdecay.bring("places", {data});\n', "utf-8")
    licence = (MINISEARCH / "LICENSE.txt").read_text(encoding="utf-8")
    script = COMMENT.sub("", (MINISEARCH / "minisearch.js").read_text(encoding="utf-8"))
    (static / "minisearch.js").write_text(f"/* MiniSearch\n{licence}*/\n{script}", "utf-8")
    for name in UNUSED:
        (static / name).unlink(missing_ok=True)


def leave_out(app, pagename, templatename, context, doctree):
    """No page needs the scripts of Sphinx's search."""
    context["script_files"][:] = [
        script
        for script in context["script_files"]
        if not script.filename or Path(script.filename).name not in UNUSED
    ]


def add_page(app):
    yield "search", {}, "search.html"


def setup(app):
    app.connect("doctree-resolved", name_blocks, priority=800)  # after what rewrites text
    app.connect("html-page-context", leave_out, priority=800)
    app.connect("html-collect-pages", add_page)
    app.connect("build-finished", write_search)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
