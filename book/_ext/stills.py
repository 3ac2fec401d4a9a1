"""What stands in the place of a demo until scripts have drawn it, or where they cannot run."""

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

VIEW = "application/vnd.jupyter.widget-view+json"
STANDS_FOR_IT = ["image/png", "text/markdown"]
NEEDS = "needs JavaScript and a browser from spring 2022 or later."
SENTENCES = {
    "image/png": f"A still picture: the demo itself, which moves, {NEEDS}",
    "text/markdown": f"The form itself {NEEDS}",
}


class PlaceStills(SphinxPostTransform):
    """Put what a widget brings along, a picture or a text, into its place, with a sentence."""

    default_priority = 3  # MyST-NB chooses one MIME type of each output at 4
    formats = ("html",)

    def run(self, **kwargs):
        for bundle in list(self.document.findall(nodes.container)):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            shown = {part["mime_type"]: part for part in bundle.children}
            still = next((name for name in STANDS_FOR_IT if name in shown), None)
            if VIEW not in shown or still is None:
                continue
            picture = [node.deepcopy() for node in shown[still].children]
            for image in (one for one in picture if isinstance(one, nodes.image)):
                image["alt"] = shown["text/plain"].astext()
            sentence = nodes.paragraph("", SENTENCES[still])
            before = [raw('<div class="wd-place"><div class="wd-still">'), *picture, sentence]
            shown[VIEW].children[:0] = [*before, raw("</div>")]
            shown[VIEW].append(raw("</div>"))  # site.js says when the demo takes the place


def raw(text):
    return nodes.raw("", text, format="html")


def setup(app):
    app.add_post_transform(PlaceStills)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
