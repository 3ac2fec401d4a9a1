"""Every page, held to the rules of the accessibility checker axe, in light and in dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from servers import HTML

PAGES = sorted(path.relative_to(HTML).as_posix() for path in [*HTML.glob("book/*.html"), HTML / "search.html"])
# What is folded away is read too. A page has thousands of coloured words of code, which take axe very long: the first
# of each kind speaks for the others.
PREPARE = """() => {
    document.querySelectorAll("details").forEach((one) => { one.open = true; });
    const seen = new Set();
    for (const word of document.querySelectorAll("pre span")) {
        const kind = `${word.closest("pre").parentElement.parentElement.className} ${word.className}`;
        if (seen.has(kind)) word.replaceWith(...word.childNodes);
        seen.add(kind);
    }
}"""


@pytest.mark.parametrize("name", PAGES)
def test_no_serious_violation(visit, name):
    page = visit(name)
    # Colours are judged when they have arrived.
    page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    page.evaluate(PREPARE)
    found = []
    only_colours = {"runOnly": ["color-contrast", "link-in-text-block"]}  # nothing else is other in the dark
    for theme, rules in (("light", {}), ("dark", only_colours)):
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        # Without preload axe leaves stylesheets to the browser, instead of asking for them again at wrong addresses.
        result = Axe().run(page, options={"resultTypes": ["violations"], "preload": False} | rules)
        for rule in result.response["violations"]:
            if rule["impact"] in ("serious", "critical"):
                found += [f"{theme}: {rule['id']}: {node['target']} {node['html'][:200]}" for node in rule["nodes"]]
    assert not found, "\n".join(found)
