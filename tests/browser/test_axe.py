"""Every page, held to the rules of the accessibility checker axe, in light and in dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from servers import HANDLE, PAGES, lay_out_all
from test_site import CHAPTER

# What is folded away is read too. A page has thousands of coloured words of code, which take axe very long: the first
# of each kind speaks for the others.
PREPARE = """async () => {
    document.querySelectorAll("details").forEach((one) => { one.open = true; });
    // What scrolls in itself can be focused from when it first comes near the window on.
    for (const one of document.querySelectorAll("article :is(pre, .math-wrapper, .table-wrapper, .output)")) {
        if (one.scrollWidth <= one.clientWidth + 1) continue;
        one.scrollIntoView({ behavior: "instant" });
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    }
    const seen = new Set();
    for (const word of document.querySelectorAll("pre span")) {
        const kind = `${word.closest("pre").parentElement.parentElement.className} ${word.className}`;
        if (seen.has(kind)) word.replaceWith(...word.childNodes);
        seen.add(kind);
    }
}"""


ONLY_COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}  # nothing else is other in the dark


def violations(page, theme, rules=None, within=None):
    """What axe finds on a page, or a part of it, in a theme: each violation."""
    page.evaluate("(theme) => { document.body.dataset.theme = theme; }", theme)
    # Without preload axe leaves stylesheets to the browser, instead of asking for them again at wrong addresses.
    options = {"resultTypes": ["violations"], "preload": False, "rules": {"target-size": {"enabled": True}}} | (
        rules or {}
    )
    result = Axe().run(page, within, options)
    return [
        f"{theme}: {rule['id']}: {node['target']} {node['html'][:200]}"
        for rule in result.response["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("name", [*PAGES, "search.html", "404.html"])
def test_no_violation(visit, name):
    page = visit(name)
    # Colours are judged when they have arrived.
    page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    lay_out_all(page)
    page.evaluate(PREPARE)
    found = violations(page, "light") + violations(page, "dark", ONLY_COLOURS)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_violation_in_full_screen(visit, theme):
    page = visit(CHAPTER)
    page.evaluate("(theme) => { document.body.dataset.theme = theme; }", theme)
    page.locator(HANDLE).first.press("f")
    page.locator(".wd-full").wait_for()
    for key in "?ph":
        page.keyboard.press(key)
    found = violations(page, theme, within=".wd-full")
    assert not found, "\n".join(found)
