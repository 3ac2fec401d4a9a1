"""Leads from a number that a page quotes to the sentence of the chapter that prints it."""

import json
from functools import cache
from pathlib import Path

from docutils import nodes
from myst_nb.ext.glue.utils import PendingGlueReference
from prose import is_cell, part
from sphinx.transforms.post_transforms import SphinxPostTransform


@cache  # for all pages of a build
def names_of(path):
    """The numbers that each cell of an executed chapter prints, by the cell's place in it."""
    found = {}
    for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        metadata = [output.get("metadata", {}) for output in cell.get("outputs", [])]
        if names := [one["scrapbook"]["name"] for one in metadata if "scrapbook" in one]:
            found[i] = names
    return found


def names_in(env, docname):
    path = Path(env.mystnb_config.output_folder, f"{docname}.ipynb")
    return names_of(path) if path.is_file() else {}


class LinkNumbers(SphinxPostTransform):
    """Makes a link of each number of another page. What it is called there is the address."""

    default_priority = 4  # MyST-NB pastes the number at 5
    formats = ("html",)

    def run(self, **kwargs):
        for number in list(self.document.findall(PendingGlueReference)):
            lists = names_in(self.env, number.refdoc).values()
            first = next((names[0] for names in lists if number.key in names), None)
            if first is None:  # which MyST-NB reports
                continue
            page = self.app.builder.get_relative_uri(self.env.docname, number.refdoc)
            address = f"{page}#says-{first}"
            link = nodes.reference("", "", internal=True, refuri=address, classes=["wd-number"])
            number.replace_self(link)
            link += number


class NameSentences(SphinxPostTransform):
    """Gives what a cell prints with numbers the address that LinkNumbers leads to."""

    default_priority = 180  # after the outputs are chosen, before prose takes cells apart
    formats = ("html",)

    def run(self, **kwargs):
        found = names_in(self.env, self.env.docname)
        for cell in self.document.findall(is_cell):
            output = part(cell, "cell_code_output")
            if output and cell["cell_index"] in found:
                output.children[0]["ids"].append(f"says-{found[cell['cell_index']][0]}")


def setup(app):
    app.add_post_transform(LinkNumbers)
    app.add_post_transform(NameSentences)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
