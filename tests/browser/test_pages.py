"""What every page of the site is: lean, whole by itself, found by search engines, and read on a phone."""

import gzip
import re
from functools import cache
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup
from playwright.sync_api import expect
from servers import DESK, HTML, PAGES, ROOT, lay_out_all
from test_site import PHONE

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
HOME = CONFIG["html"]["baseurl"]
each_page = pytest.mark.parametrize("name", PAGES)
# Waits until something has not moved in the window for thirty frames.
STILL = """(selector) => new Promise((resolve) => {
    let last, frames = 0;
    const look = () => {
        const { top } = document.querySelector(selector).getBoundingClientRect();
        frames = Math.abs(top - last) < 1 ? frames + 1 : 0;
        last = top;
        frames < 30 ? requestAnimationFrame(look) : resolve();
    };
    look();
})"""


@cache
def soup(name):
    return BeautifulSoup((HTML / name).read_text(encoding="utf-8"), "html.parser")


def meta(name, kind):
    (tag,) = soup(name).select(f'meta[name="{kind}"], meta[property="{kind}"]')
    return tag["content"]


def web(name):
    return HOME + ("" if name == "index.html" else name)


@each_page
def test_a_page_says_what_it_is(name):
    assert soup(name).html["lang"] == "en"
    assert soup(name).select_one("article h1")
    assert [link["href"] for link in soup(name).select("link[rel=canonical]")] == [web(name)] == [meta(name, "og:url")]
    assert 40 < len(meta(name, "description")) <= 202
    assert not re.search(r"[\\${}]", meta(name, "description"))
    assert meta(name, "og:description") == meta(name, "description")
    assert meta(name, "og:title") in soup(name).title.string
    assert (HTML / meta(name, "og:image").removeprefix(HOME)).is_file()
    assert len(soup(name).select("meta[name=viewport]")) == 1


def test_no_two_pages_say_the_same():
    assert (
        len({meta(name, "description") for name in PAGES})
        == len({soup(name).title.string for name in PAGES})
        == len(PAGES)
    )


def test_the_map_of_the_site_lists_its_pages():
    places = ElementTree.parse(HTML / "sitemap.xml").getroot().iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")
    assert sorted(place.text for place in places) == sorted(map(web, PAGES))


def test_old_and_wrong_addresses_lead_on(visit):
    page = visit("index.html")
    home = page.url
    page.goto(home.replace("index.html", "book/index.html#demo"))  # where links to its demo led once
    page.wait_for_url(f"{home}#demo")
    assert (HTML / "favicon.ico").read_bytes()[:4] == b"\0\0\1\0"
    lost = soup("404.html")
    assert not lost.select("link[href^='_'], link[href^='.'], script, img")  # it is shown at any address
    assert {link["href"] for link in lost.select("a")} == {HOME, f"{HOME}search.html"}


@each_page
def test_nothing_holds_a_page_up_but_one_file_of_styles(name):
    page = soup(name)
    styles = [link["href"].partition("?")[0].rpartition("/")[2] for link in page.select("link[rel=stylesheet]")]
    assert styles == ["maths.css" if page.select(".katex") else "book.css"]
    assert not [script for script in page.select("script[src]") if not script.has_attr("defer")]
    data = page.select("script:not([src]):not([type^='application/'])")
    assert sum(len(script.string) for script in data) < 200


def test_nothing_of_other_themes_is_left():
    files = [path.relative_to(HTML).as_posix().lower() for path in HTML.rglob("*")]
    assert not [
        name for name in files if re.search("mathjax|thebe|awesome|book-theme|bootstrap|togglebutton|design", name)
    ]
    styles = len(gzip.compress((HTML / "_static" / "book.css").read_bytes()))
    formulas = len(gzip.compress((HTML / "_static" / "maths.css").read_bytes())) - styles
    assert styles < 20e3
    assert formulas < 50e3


MOVED = """() => new Promise((done) => {
    let sum = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => done(sum), 300);
})"""


@each_page
def test_a_page_is_light_and_moves_nothing_when_it_opens(watched, site, name):
    """Before anybody touches it, on a phone; what lies below the window comes when it is near."""
    with watched(site["http"], **PHONE) as page:
        got = []
        page.on("response", lambda answer: got.append(answer))
        page.goto(site["http"] + name)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(500)
        assert page.evaluate(MOVED) <= 0.02
        weight = sum(len(gzip.compress(answer.body())) for answer in got)
        assert weight <= 160e3
        assert len(got) <= 20


@each_page
def test_figures_say_how_large_they_are_and_come_when_needed(name):
    for image in soup(name).select("article img"):
        assert image.has_attr("width")
        assert image.has_attr("height")
        assert image["loading"] == "lazy"


@each_page
@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_is_wider_than_the_page_unless_it_scrolls_in_itself(visit, name, device):
    page = visit(name, **device)
    lay_out_all(page)
    page.locator("details").evaluate_all("(all) => all.forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= device["viewport"]["width"]
    wide = page.locator("article :is(pre, .math-wrapper, .table-wrapper)").evaluate_all(
        "(all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.outerHTML.slice(0, 200))"
    )
    if device is DESK:
        assert [one for one in wide if not one.startswith("<div")] == []  # 96 columns of code fit
        page.set_viewport_size({"width": 1024, "height": 768})  # a tablet, where the sidebar stays
        assert page.evaluate("document.documentElement.scrollWidth") <= 1024


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("place", ["pytorch.html#two-controls-that-were-missing", "weissi.html#the-experiment"])
def test_a_link_leads_to_its_place_however_much_is_laid_out_on_the_way(site, watched, place, device):
    with watched(site["http"], **device) as page:
        page.goto(f"{site['http']}book/{place}")
        page.evaluate(STILL, f"#{place.partition('#')[2]}")
        top = page.locator(":target").evaluate("(one) => one.getBoundingClientRect().top")
        assert 0 <= top <= 80


def test_what_scrolls_in_itself_does_so_with_the_keyboard(visit):
    page = visit("book/l2-derivation.html", **PHONE)
    wide = page.locator(".math-wrapper").evaluate_all(
        "(all) => all.findIndex((one) => one.scrollWidth > one.clientWidth + 1)"
    )
    assert wide >= 0
    formula = page.locator(".math-wrapper").nth(wide)
    formula.scroll_into_view_if_needed()
    expect(formula).to_have_attribute("tabindex", "0")
    formula.press("ArrowRight")
    page.wait_for_function("(one) => one.scrollLeft > 0", arg=formula.element_handle())


def test_formulas_bring_their_fonts_from_a_disk_too(visit):
    for name in ("book/l2-derivation.html", "book/weissi.html"):
        page = visit(name, "file")
        page.evaluate("document.fonts.ready")
        lay_out_all(page)
        page.evaluate("document.fonts.ready")
        missing = page.evaluate(
            """() => {
                const there = new Set([...document.fonts].map((one) => `${one.family} ${one.style} ${one.weight}`));
                const asked = new Set();
                for (const one of document.querySelectorAll(".katex-html *")) {
                    if (![...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
                    const { fontFamily, fontStyle, fontWeight } = getComputedStyle(one);
                    asked.add(`${fontFamily.split(",")[0]} ${fontStyle} ${fontWeight}`);
                }
                return [...asked].filter((one) => !there.has(one));
            }"""
        )
        assert missing == []


def test_formulas_are_as_dark_or_light_as_the_text(visit):
    page = visit("book/notation.html", color_scheme="dark")
    colour = "(one) => getComputedStyle(one).color"
    assert page.locator(".katex-html").first.evaluate(colour) == page.locator("article").evaluate(colour)


def test_the_theme_can_be_chosen_and_stays(visit):
    page = visit("book/notation.html")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="theme").locator("visible=true").click()
    assert page.evaluate(background) != light
    page.reload()
    assert page.evaluate(background) != light


def test_code_can_be_copied(visit):
    page = visit("book/pytorch.html")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    cell = page.locator(".cell_input:visible").first
    cell.hover()
    cell.get_by_role("button", name="copy").click()
    expect(cell.get_by_role("button", name="copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == cell.locator("pre").inner_text().rstrip()


def test_a_chapter_leads_to_colab_binder_and_its_repository():
    repository = CONFIG["repository"]["url"]
    links = {link["href"] for link in soup("book/pytorch.html").select("a[href^=http]")}
    place = repository.removeprefix("https://github.com/")
    assert f"https://colab.research.google.com/github/{place}/blob/main/book/pytorch.ipynb" in links
    assert f"https://mybinder.org/v2/gh/{place}/main?urlpath=lab/tree/book/pytorch.ipynb" in links
    assert repository in links
    assert any(link.startswith(f"{repository}/issues/new") for link in links)
    assert not soup("book/notation.html").select(".wd-take")  # no notebook
    footer = soup("book/notation.html").footer.get_text()
    assert f"By {CONFIG['author']}. {CONFIG['html']['extra_footer']}" in footer
