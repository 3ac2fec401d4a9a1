"""The book on paper: what stands there for a demo, that nothing is cut off, and the PDF of all pages."""

import re

import pytest
from bs4 import BeautifulSoup
from pdf import TITLE, open_book, print_book
from pypdf import PdfReader
from servers import HTML, PAGES, PLACE, STILL

PAPER = {"viewport": {"width": 680, "height": 960}}  # the width of A4 within its margins
WIDE = """() => [...document.querySelectorAll("article :is(pre, table, img, .katex-html)")]
    .filter((one) => {
        const { left, right } = one.getBoundingClientRect();
        return left < 0 || right > innerWidth + 1 || (one.matches("pre") && one.scrollWidth > one.clientWidth + 1);
    })
    .map((one) => one.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def book(browser, site):
    page = open_book(browser, site["http"])
    yield page
    page.close()


@pytest.fixture(scope="module")
def pdf(book, tmp_path_factory):
    path = tmp_path_factory.mktemp("pdf") / "book.pdf"
    print_book(book, path)
    return PdfReader(path)


@pytest.mark.parametrize("name", PAGES)
def test_after_every_demo_comes_what_stands_for_it_on_paper(name):
    _, *after = PLACE.split(STILL.sub("", (HTML / name).read_text(encoding="utf-8")))
    for text in after[1::2]:  # the others are what the pattern has caught
        assert "<img " in text.split("</article>")[0] or "tag_print-only" in text


@pytest.mark.parametrize("name", ["index.html", "book/convert.html", "book/pytorch.html"])
def test_paper_has_no_controls_and_no_darkness(visit, name):
    page = visit(name, color_scheme="dark", **PAPER)
    theme = page.locator("body").get_attribute("data-theme")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    controls = "button, input, select, nav, canvas, summary, [role=slider], details:not([open])"
    seen = page.locator(controls).evaluate_all(
        "(all) => all.filter((one) => one.checkVisibility()).map((one) => one.outerHTML.slice(0, 200))"
    )
    assert seen == []
    assert page.locator("body").get_attribute("data-theme") == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.locator("body").get_attribute("data-theme") == theme
    assert page.locator("details[open]").count() == 0


def test_the_cheat_sheet_fits_on_one_page(visit, tmp_path):
    visit("book/cheat-sheet.html").pdf(path=tmp_path / "sheet.pdf", format="A4")
    assert len(PdfReader(tmp_path / "sheet.pdf").pages) == 1


def test_nothing_is_cut_off_on_paper(book):
    book.emulate_media(media="print")
    book.set_viewport_size(PAPER["viewport"])
    assert book.locator("article pre").count() > 500
    assert book.evaluate(WIDE) == []


def test_every_figure_says_what_it_shows(book):
    figures = BeautifulSoup(book.content(), "html.parser").select("article img")
    assert figures
    assert [figure["src"] for figure in figures if not re.search(r"\w+ \w+.{40}", figure.get("alt", ""))] == []


def test_the_pdf_has_every_page_of_the_book_and_every_figure(book, pdf):
    assert TITLE in pdf.pages[0].extract_text()
    for name in PAGES[1:]:  # to which the contents link
        title = book.locator(f"[id='page-{name}'] h1").first.evaluate("(one) => one.firstChild.textContent")
        start = pdf.get_destination_page_number(pdf.named_destinations[f"/page-{name}"])
        assert " ".join(title.split()) in " ".join(pdf.pages[start].extract_text().split())
    figures = [
        thing
        for page in pdf.pages
        for thing in page["/Resources"].get("/XObject", {}).values()
        if thing.get_object()["/Subtype"] == "/Image"
    ]
    assert len(figures) == book.locator("article img").count() > len(PAGES)


def test_the_pdf_brings_its_fonts(pdf):
    fonts = [font.get_object() for page in pdf.pages for font in page["/Resources"]["/Font"].values()]
    assert fonts
    for font in fonts:
        if font["/Subtype"] != "/Type3":  # whose glyphs are drawn in the file itself
            descriptor = font["/DescendantFonts"][0]["/FontDescriptor"]
            assert descriptor.keys() & {"/FontFile", "/FontFile2", "/FontFile3"}
