"""What makes the pages a website: styles, descriptions, the front page at the root, a map."""

import json
import re
from html import escape
from pathlib import Path
from urllib.parse import unquote

import furo
from docutils import nodes
from maths import katex_styles, plain
from PIL import Image
from prose import Fold
from sphinx.addnodes import pending_xref
from sphinx.builders.html import StandaloneHTMLBuilder

from weightdecay.chart import Chart
from weightdecay.form import Form

THEME = Path(__file__).parents[1] / "_theme"
EMPTY_HEAD = re.compile(r"<th[^>]*>(?:<p></p>)?</th>")
FAR = re.compile(r'wd-far-(\d+)-(\d+)([^"]*)"')
# How high in lines of code, beyond its text.
HIGH = {
    nodes.image: 20,
    nodes.math_block: 4,
    nodes.list_item: 1,
    nodes.definition: 2,
    nodes.row: 1,
    Fold: 1,
}
IMAGE = re.compile(r'<img ([^>]*)src="([^"]*_images/([^"]+\.png))"')


class Website(StandaloneHTMLBuilder):
    """Pages as usual, except that the front page is the site's own index.html."""

    name = "html"
    search = False  # search.py has another

    def get_target_uri(self, docname, typ=None):
        if docname == self.config.root_doc:
            return "index.html"
        return super().get_target_uri(docname, typ)

    def get_outfilename(self, pagename):
        return super().get_outfilename(
            "index" if pagename == self.config.root_doc else pagename
        )


def address(app, docname):
    """Where a page stands on the web."""
    uri = app.builder.get_target_uri(docname)
    return app.config.html_baseurl + ("" if uri == "index.html" else uri)


def write_styles(app, builder):
    """All styles in one file, with one request; those of formulas only where there are any."""
    parts = [
        furo.get_pygments_stylesheet(),
        (furo.THEME_PATH / "static" / "styles" / "furo.css").read_text(encoding="utf-8"),
        *(
            Path(app.srcdir, "book", "_static", name).read_text(encoding="utf-8")
            for name in ("site.css", "prose.css")
        ),
        Chart._css,
        Form._css,
    ]
    static = Path(app.outdir, "_static")
    static.mkdir(parents=True, exist_ok=True)
    (static / "book.css").write_text("\n".join(parts), encoding="utf-8")
    (static / "maths.css").write_text(
        "\n".join([katex_styles(app.env), *parts]), encoding="utf-8"
    )


def holds_demo(block):
    """Whether a demo stands in this part of a page. Its full screen has to leave its place."""
    return any("wd-place" in raw.astext() for raw in block.findall(nodes.raw))


def mark_far(app, doctree, docname, near=4000):
    """Mark what is further down than so many characters, with how much it is: see site.css."""
    read = 0
    for section in doctree.findall(nodes.section):
        for block in section.children:
            if not isinstance(block, nodes.section | nodes.title):
                if read > near and not holds_demo(block):
                    block["classes"].append("wd-far-{}-{}".format(*measure(block)))
                read += len(block.astext())


def measure(block):
    """About how much a part of a page is: characters of text, and lines of code or as high."""
    code = list(shown(block, nodes.literal_block))
    lines = sum(len(one.astext().splitlines()) + 1.5 for one in code)
    for kind, high in HIGH.items():
        lines += sum(high for _ in shown(block, kind))
    text = sum(len(one) for one in shown(block, nodes.Text))
    return text - sum(len(one.astext()) for one in code), round(lines)


def shown(block, kind):
    """What is of a kind in a part of a page, the part included, but for what is folded away."""
    if isinstance(block, kind):
        yield block
    if not isinstance(block, Fold):
        for child in block.children:
            yield from shown(child, kind)


def first_words(part):
    """The first paragraph of a part of a page as plain text."""
    words = next(part.findall(nodes.paragraph)).deepcopy()
    for formula in list(words.findall(nodes.math)):
        formula.parent.replace(formula, nodes.Text(plain(formula.astext())))
    for citation in list(words.findall(pending_xref)):
        if citation.get("refdomain") == "cite":
            citation.parent.remove(citation)
    return re.sub(r" (?=[.,;](?: |$))", "", " ".join(words.astext().split()))


def describe(doctree, most=200):
    """The first paragraph of a page, as far as whole sentences fit."""
    text = first_words(doctree)
    if len(text) <= most:
        return text
    cut = max(text.rfind(end, 0, most) for end in (". ", "? ", "! ")) + 1
    return text[:cut] if cut > most // 3 else f"{text[: text.rfind(' ', 0, most)]} …"


def questions(doctree):
    """What a page of questions asks and answers, for search engines; empty for other pages."""
    asked = [
        {
            "@type": "Question",
            "name": section.next_node(nodes.title).astext(),
            "acceptedAnswer": {"@type": "Answer", "text": first_words(section)},
        }
        for section in doctree.findall(nodes.section)
        if any(one.startswith("q-") for one in section["ids"])
    ]
    if not asked:
        return ""
    page = {"@context": "https://schema.org", "@type": "FAQPage", "mainEntity": asked}
    return json.dumps(page, ensure_ascii=False).replace("<", "\\u003c")


def size_images(app, body):
    """Say how large each figure is, so that nothing moves when it arrives, as it comes near."""
    files = {name: path for path, name in app.builder.images.items()}

    def size(found):
        with Image.open(Path(app.srcdir, files[unquote(found[3])])) as image:
            width, height = image.size
        return (
            f'<img loading="lazy" width="{width}" height="{height}" {found[1]}src="{found[2]}"'
        )

    return IMAGE.sub(size, body)


def complete_page(app, pagename, templatename, context, doctree):
    """What the templates need to know; one file of styles; no script that holds the page up."""
    for script in context["script_files"]:
        if script.filename:
            script.attributes["defer"] = "defer"
    context["css_files"].clear()
    app.builder.add_css_file("maths.css" if app.env.formulas.get(pagename) else "book.css")
    context["metatags"] = ""  # a second viewport, from docutils
    # The titles of the parts call themselves headings, without a level.
    tree = context["furo_navigation_tree"]
    context["furo_navigation_tree"] = tree.replace(' role="heading"', "")
    context["home"] = app.config.html_baseurl
    context["author"] = app.config.author
    if doctree is None:
        return
    context["pageurl"] = address(app, pagename)
    context["description"] = escape(describe(doctree))
    context["questions"] = questions(doctree)
    # A name that says less than the text which it hides from those who listen.
    body = context["body"].replace(' aria-label="Toggle hidden content"', "")
    body = EMPTY_HEAD.sub("<td></td>", body)  # the corner of a table heads nothing
    body = FAR.sub(r'wd-far\3" style="--text: \1; --lines: \2"', body)
    context["body"] = size_images(app, body)


def add_pages(app):
    """The page for addresses that lead nowhere."""
    yield "404", {}, "404.html"


def pack_figures(site):
    """Few colours are all that a drawing needs; with them its file is a third as large."""
    for path in site.glob("_images/*.png"):
        with Image.open(path) as image:
            if image.mode != "P":
                image.convert("RGB").quantize(256, dither=0).save(path, optimize=True)


def write_files(app, exception):
    """The map of the site, a sign at the front page's old address, and figures made small."""
    if exception or app.builder.name != "html":
        return
    site, home = Path(app.outdir), app.config.html_baseurl
    pack_figures(site)
    pages = sorted(app.env.found_docs)
    links = "".join(f"<url><loc>{escape(address(app, name))}</loc></url>\n" for name in pages)
    (site / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{links}</urlset>\n',
        encoding="utf-8",
    )
    (site / f"{app.config.root_doc}.html").write_text(
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">\n'
        f"<title>{escape(app.config.html_title)}</title>\n"
        f'<link rel="canonical" href="{home}"><meta name="robots" content="noindex">\n'
        '<link rel="icon" href="../_static/favicon.svg">\n'
        '<script>location.replace("../index.html" + location.hash)</script>\n'
        '<noscript><meta http-equiv="refresh" content="0; url=../index.html"></noscript>\n'
        '</head>\n<body><main><h1>Moved</h1><a href="../index.html">Home</a></main></body>\n'
        "</html>\n",
        encoding="utf-8",
    )


def setup(app):
    app.setup_extension("furo")  # whose options are read before the theme is
    app.add_config_value("comments_config", {}, "")  # which Jupyter Book sets in any case
    app.add_html_theme("book", str(THEME))
    app.add_builder(Website, override=True)
    app.connect("write-started", write_styles)
    app.connect("doctree-resolved", mark_far)
    app.connect("html-page-context", complete_page, priority=900)  # after all other listeners
    app.connect("html-collect-pages", add_pages)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
