"""Explains a term of the glossary where it first stands in the text of a chapter."""

import re
from functools import cache

from docutils import nodes
from website import first_words

GLOSSARY = "book/glossary"
# Words that chapters also use in their everyday sense.
EVERYDAY = {"balanced", "capacity", "diagnosis", "gain", "margin", "schedule", "seed", "shrink"}
# A term is explained in running text only, and not where something else can be clicked.
CLOSED = (
    nodes.title,
    nodes.reference,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.table,
    nodes.caption,
    nodes.image,
)


@cache  # for all chapters of a build
def read_glossary(app):
    """The terms, the longest first, each with the anchor of its entry and what this says."""
    found = {}
    for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        term = item.next_node(nodes.term)
        found[term.astext()] = term["ids"][0], first_words(item)
    # So that a term is not found inside of another.
    return dict(sorted(found.items(), key=lambda one: -len(one[0])))


def pattern(term):
    """The term as a word by itself, singular or plural, or with a capital at the beginning."""
    first = re.escape(term[0])
    if term[0].islower():
        first = f"[{term[0].upper()}{term[0]}]"
    plural = "" if not term[-1].isalpha() else "(?:e?s)?"
    return re.compile(rf"(?<![\w‖/]){first}{re.escape(term[1:])}{plural}(?![\w‖-])")


def running_text(doctree):
    """The pieces of text in which a term may be explained."""
    for text in doctree.findall(nodes.Text):
        part = text.parent
        while part is not None and not (isinstance(part, CLOSED) or is_sources(part)):
            part = part.parent
        if part is None:
            yield text


def is_sources(part):
    """Whether this is the list at the end of a chapter, with the titles that others chose."""
    return isinstance(part, nodes.section) and "sources" in part["ids"]


def explain(app, doctree, docname):
    """Link the first place of each term to the glossary, with what it means as a hint."""
    if app.builder.name != "html" or not app.env.doc2path(docname, False).endswith(".ipynb"):
        return
    page, texts = app.builder.get_relative_uri(docname, GLOSSARY), list(running_text(doctree))
    for term, (anchor, meaning) in read_glossary(app).items():
        if term in EVERYDAY:
            continue
        words = pattern(term)
        for i, text in enumerate(texts):
            if found := words.search(text):
                link = nodes.reference("", found[0], internal=True, reftitle=meaning)
                link["refuri"] = f"{page}#{anchor}"
                link["classes"].append("wd-term")
                around = nodes.Text(text[: found.start()]), nodes.Text(text[found.end() :])
                text.parent.replace(text, [around[0], link, around[1]])
                texts[i : i + 1] = around
                break


def setup(app):
    app.connect("doctree-resolved", explain)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
