"""The whole book as one PDF: the built pages are joined to one, which the browser prints."""

import posixpath
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from bs4 import BeautifulSoup
from pypdf import PdfReader
from servers import CONTENTS, DESK, HTML, PAGES, ROOT, STILL, open_browser, serve_site

TARGET = ROOT / "_build" / "weight-decay.pdf"
TITLE = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["title"]
PARTS = {part["caption"]: [f"{one['file']}.html" for one in part["chapters"]] for part in CONTENTS["parts"]}
STYLE = """
article { break-before: page; }
article h1 { margin-top: 0; }
.cover { font-size: 1.15em; }
.cover h1 { font-size: 3em; margin: 4em 0 1em; }
.cover li { display: flex; list-style: none; gap: 0.5em; }
.cover li::before { content: ""; order: 1; flex: 1; border-bottom: 1px dotted; margin-bottom: 0.3em; }
.cover li span { order: 2; }
"""


def join_pages() -> str:
    """All pages as one, behind a cover with the contents; each id carries the name of its page, and so does a link."""
    texts = {page: (HTML / page).read_text(encoding="utf-8") for page in PAGES}
    texts = {page: STILL.sub("", text) for page, text in texts.items()}
    soups = {page: BeautifulSoup(text, "html.parser") for page, text in texts.items()}
    articles = {page: soup.find("article") for page, soup in soups.items()}
    titles = {page: article.h1.find(string=True) for page, article in articles.items()}
    for page, article in articles.items():
        article["id"] = f"page-{page}"
        for node in article.find_all(id=True):
            node["id"] = f"{page}--{node['id']}"
        for link in article.find_all("a", href=True):
            parts = urlsplit(link["href"])
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page), parts.path)) if parts.path else page
            if not parts.scheme and target in articles:
                link["href"] = f"#{target}--{parts.fragment}" if parts.fragment else f"#page-{target}"
    rows = "".join(
        f"<h2>{caption}</h2><ul>"
        + "".join(f'<li><a href="#page-{page}">{titles[page]}</a><span></span></li>' for page in pages)
        + "</ul>"
        for caption, pages in PARTS.items()
    )
    book = soups[PAGES[0]]
    book.select_one('link[href*="book.css"]')["href"] = "_static/maths.css"  # the front page alone has no formulas
    book.title.string = TITLE
    book.head.append(BeautifulSoup(f"<style>@media print {{{STYLE}}}</style>", "html.parser"))
    first = articles.pop(PAGES[0])
    first.insert_before(BeautifulSoup(f'<div class="cover"><h1>{TITLE}</h1>{rows}</div>', "html.parser"))
    for article in reversed(articles.values()):
        first.insert_after(article)
    return str(book)


def open_book(browser, site):
    """The joined page in the browser, as it goes to paper."""
    address = site + PAGES[0]
    page = browser.new_page(**DESK)
    page.route(address, lambda route: route.fulfill(body=join_pages(), content_type="text/html; charset=utf-8"))
    page.goto(address, timeout=300_000)  # a whole book is laid out
    return page


def print_book(page, path: Path) -> None:
    """Print the joined page twice: the first time tells the page numbers of the contents."""
    page.pdf(path=path, format="A4")
    reader = PdfReader(path)
    numbers = {
        name.removeprefix("/"): reader.get_destination_page_number(target) + 1
        for name, target in reader.named_destinations.items()
    }
    page.evaluate(
        """(numbers) => document.querySelectorAll(".cover li").forEach((line) => {
            line.querySelector("span").textContent = numbers[line.querySelector("a").hash.slice(1)];
        })""",
        numbers,
    )
    page.pdf(path=path, format="A4", outline=True, tagged=True)


if __name__ == "__main__":
    with open_browser() as browser, serve_site() as site:
        print_book(open_book(browser, site), TARGET)
    print(TARGET.relative_to(ROOT))
