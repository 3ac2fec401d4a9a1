"""Formulas, set while the book is built: KaTeX's HTML, and MathML for those who listen.

A formula that KaTeX refuses fails the build. Headings, alt texts, descriptions and the results
of the search show formulas as plain text.
"""

import atexit
import base64
import io
import re
import unicodedata
from functools import cache
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from py_mini_racer import MiniRacer
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number

KATEX = Path(__file__).parents[2] / "vendor" / "katex"
SET = """(latex, displayMode) => {
    try { return { html: katex.renderToString(latex, { displayMode, strict: "error" }) }; }
    catch (error) { return { refused: error.message }; }
}"""
SOURCE = re.compile(
    r"<annotation.*?</annotation>", re.DOTALL
)  # the LaTeX again, which no reader of a page wants
MATHML = re.compile(r"<math.*</math>", re.DOTALL)
DOLLARS = re.compile(r"\$([^$]+)\$")

RAISED = str.maketrans("0123456789+−=()niT⊤", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱᵀᵀ")
LOWERED = str.maketrans("0123456789+−=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
ACCENTS = {"^": "\u0302", "ˉ": "\u0304", "~": "\u0303", "˙": "\u0307"}
SPACED = set("=≈≠≤≥<>≪≫+−×∈∼∝→←⟹⟺")


@cache
def engine():
    """KaTeX in a JavaScript engine, started by the first formula."""
    engine = MiniRacer()
    atexit.register(engine.close)  # later, when Python ends its threads, it could wait for ever
    engine.eval((KATEX / "katex.min.js").read_text(encoding="utf-8"))
    engine.eval(f"var set = {SET}")
    return engine


@cache
def set_formula(latex: str, display: bool = False) -> str:
    """The HTML of a formula. A ValueError says why KaTeX refuses it."""
    answer = engine().call("set", latex, display)
    if "refused" in answer:
        raise ValueError(f"the formula {latex.strip()} cannot be set: {answer['refused']}")
    html = SOURCE.sub("", answer["html"])
    text = escape(as_text(html))
    return html.replace('class="katex"', f'class="katex nohighlight" data-text="{text}"', 1)


def plain(latex: str) -> str:
    """A formula in one line of plain text: λ/2‖w‖²."""
    return as_text(set_formula(latex))


def as_text(html: str) -> str:
    """The plain text of a formula, by its MathML."""
    text = read(ElementTree.fromstring(MATHML.search(html)[0]))
    text = unicodedata.normalize("NFC", text).replace("∥", "‖")
    return re.sub(r"\s+", " ", re.sub("[\u200b\u2061-\u2064]", "", text)).strip()


def read(node):
    """The text of an element of MathML."""
    parts = [read(child) for child in node]
    match node.tag.rpartition("}")[2], parts:
        case "annotation", _:
            return ""
        case "mfrac", (above, below):
            return group(above, " ") + "/" + group(below)
        case "msqrt", _:
            return "√" + group("".join(parts))
        case "mover", (base, mark) if mark in ACCENTS:
            return base + ACCENTS[mark]
        case "msup", (base, above):
            return base + move(above, RAISED, "^")
        case "msub" | "munder", (base, below):
            return base + move(below, LOWERED, "_")
        case "msubsup" | "munderover", (base, below, above):
            return base + move(below, LOWERED, "_") + move(above, RAISED, "^")
        case "mo", _ if node.text in SPACED:
            return f" {node.text} "
        case "mspace" | "mtd", _:
            return " ".join(["", *parts])
    return (node.text or "") + "".join(parts)


def group(text, breaks=""):
    """In brackets, unless it holds together: one sign, a number, or text without `breaks`."""
    text = text.strip()
    whole = breaks not in text if breaks else len(text) == 1 or text.isdigit()
    return text if whole else f"({text})"


def move(text, signs, mark):
    """As an exponent or an index."""
    text = text.replace(" ", "")
    return (
        text.translate(signs)
        if all(ord(sign) in signs for sign in text)
        else mark + group(text)
    )


def set_page(app, doctree):
    """Set the formulas of a page that was read; in headings and alt texts, put plain text."""
    formulas = app.env.formulas[app.env.docname] = set()
    try:
        for node in list(
            doctree.findall(lambda one: isinstance(one, nodes.math | nodes.math_block))
        ):
            if isinstance(node.parent, nodes.title):
                node.parent.replace(node, nodes.Text(plain(node.astext())))
            else:
                formula = (node.astext(), isinstance(node, nodes.math_block))
                set_formula(*formula)
                formulas.add(formula)
        for image in doctree.findall(nodes.image):
            if "$" in image.get("alt", ""):
                image["alt"] = DOLLARS.sub(lambda found: plain(found[1]), image["alt"])
    except ValueError as error:
        raise ExtensionError(
            f"{app.env.doc2path(app.env.docname, base=False)}: {error}"
        ) from error


def forget_page(app, env, docname):
    env.formulas.pop(docname, None)


def start(app):
    if not hasattr(app.env, "formulas"):  # it is stored with the environment
        app.env.formulas = {}


def visit_formula(self, node):
    self.body.append(set_formula(node.astext()))
    raise nodes.SkipNode


def visit_display(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(set_formula(node.astext(), True) + "</div>\n")
    raise nodes.SkipNode


FACE = re.compile(r"@font-face\{[^}]*/([-\w]+)\.woff2[^}]*\}")
RULE = re.compile(
    r"([^{}]+)\{([^{}]*(?:font-family:KaTeX|font-weight:700|font-style:italic)[^{}]*)\}"
)


def fonts_of(classes: set[str], css: str) -> set[str]:
    """The files of the fonts that formulas with these classes ask for."""
    fonts = {"KaTeX_Main-Regular"}
    for selectors, style in RULE.findall(FACE.sub("", css)):
        if any(
            set(re.findall(r"\.([-\w]+)", selector)) <= classes
            for selector in selectors.split(",")
        ):
            family = re.search(r"KaTeX_\w+|$", style)[0] or "KaTeX_Main"
            kind = "Bold" * ("weight:700" in style) + "Italic" * ("italic" in style)
            fonts.add(f"{family}-{kind or 'Regular'}")
    return fonts


def cut_font(name: str, signs: str) -> str:
    """A font with these characters only, as a data URL, which needs no request."""
    font = TTFont(KATEX / "fonts" / f"{name}.woff2")
    subsetter = Subsetter(Options(layout_features=["*"], hinting=False))
    subsetter.populate(text=signs)
    subsetter.subset(font)
    font.flavor = "woff2"
    file = io.BytesIO()
    font.save(file)
    return f"data:font/woff2;base64,{base64.b64encode(file.getvalue()).decode()}"


def katex_styles(env) -> str:
    """KaTeX's styles with the fonts that occur, cut to the characters that occur."""
    htmls = [set_formula(*formula) for page in env.formulas.values() for formula in page]
    shown = " ".join(html.partition('<span class="katex-html"')[2] for html in htmls)
    names = re.findall(r'class="([^"]*)"', shown)
    signs = "".join(sorted({*re.sub("<[^>]*>", "", shown), *"&<>"}))
    css = (KATEX / "katex.min.css").read_text(encoding="utf-8")
    fonts = fonts_of({"katex", *" ".join(names).split()}, css)

    def face(found):
        source = f'src:url({cut_font(found[1], signs)}) format("woff2")'
        return re.sub(r"src:[^}]*", source, found[0]) if found[1] in fonts else ""

    licence = (KATEX / "LICENSE").read_text(encoding="utf-8")
    return f"/* KaTeX\n{licence}*/\n{FACE.sub(face, css)}"


def setup(app):
    app.add_html_math_renderer("katex", (visit_formula, None), (visit_display, None))
    app.connect("builder-inited", start)
    app.connect("env-purge-doc", forget_page)
    app.connect("doctree-read", set_page, priority=400)  # before titles are collected
    return {"parallel_read_safe": False, "parallel_write_safe": False}
