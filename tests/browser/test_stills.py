"""Pages whose scripts cannot run, or not all of them: a picture and a sentence stand in the place of each demo."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from servers import DEMO, DESK, HANDLE, HTML, PLACE, ROOT, draw_all, open_page
from test_site import CHAPTER, PHONE, WITH_DEMOS, demos, each_page_with_demos, look, press_arrow, read_specs

POLICY = re.search(r"^default-src .*$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)[0]
SCRIPTS = {
    "of the page": r"/host\.js",
    "of the charts": r"/demos/widget-\w+\.js",
    "of the demos": r"/demos/pytorch-\w+\.js",
}
# What browsers of spring 2022 lack.
YOUNGER = """
    const { prototype } = Array;
    for (const name of ["findLast", "findLastIndex", "toSorted", "toReversed", "toSpliced"]) delete prototype[name];
    for (const name of ["any", "timeout"]) delete AbortSignal[name];
    delete AbortSignal.prototype.throwIfAborted;
    for (const [home, name] of [[Object, "groupBy"], [Promise, "withResolvers"], [Promise, "try"]]) delete home[name];
    delete Element.prototype.checkVisibility;
"""
FAILURES = {
    "no ResizeObserver": "delete window.ResizeObserver",
    "no drawing": "HTMLCanvasElement.prototype.getContext = () => null",
    "a drawing that stops half way": "Number.prototype.toPrecision = () => { throw new Error('half way') }",
    "a form that stops half way": "Element.prototype.toggleAttribute = () => { throw new Error('half way') }",
}


@pytest.fixture
def open_broken(browser, site):
    """Opens a page of the site where something is wrong, and gives it time to draw what it can."""
    contexts, asked = [], []

    def open_broken(name, policy=None, without="", script="", **options):
        contexts.append(browser.new_context(**(DESK | options)))
        page = contexts[-1].new_page()
        page.add_init_script(script)

        def answer(route):
            if without and re.search(without, urlsplit(route.request.url).path):
                return route.abort()
            asked.append(route.request.url)
            got = route.fetch()
            route.fulfill(response=got, headers=got.headers | ({"content-security-policy": policy} if policy else {}))

        page.route("**/*", answer)
        page.goto(site["http"] + name)
        for place in page.locator(".wd-place").all():  # which asks for their demos
            place.scroll_into_view_if_needed()
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1500)  # that nothing more comes can only be waited for
        return page

    yield open_broken
    assert [url for url in asked if not url.startswith(site["http"])] == []  # such as a substitute from another host
    for context in contexts:
        context.close()


def expect_stills(page, name):
    """In the place of every demo there is its picture, or what a form asks for, with one sentence, and nothing else."""
    places = page.locator(".wd-place")
    expect(places).to_have_count(len(PLACE.findall((HTML / name).read_text())))
    for place in places.all():
        still = place.locator(".wd-still")
        expect(still.locator("p").last).to_be_visible()
        expect(still.locator("p").last).to_contain_text("needs JavaScript")
        if still.locator("img").count():
            still.locator("img").scroll_into_view_if_needed()
            expect(still.locator("img")).to_be_visible()
            assert still.locator("img").evaluate("(img) => img.decode().then(() => img.naturalWidth > 300)")
            assert re.search(r"\w+ \w+.{20}", still.locator("img").get_attribute("alt"))
        else:
            expect(still.locator("p").first).to_contain_text("a form")
        for other in place.locator("> :not(.wd-still):not(script)").all():
            expect(other).to_be_hidden()


@each_page_with_demos
def test_without_javascript(open_broken, name):
    page = open_broken(name, java_script_enabled=False)
    expect_stills(page, name)
    assert page.locator(".wd-place").evaluate_all(
        "(all) => all.every((one) => one.clientHeight < one.firstElementChild.clientHeight + 2)"
    ), "room is kept for what never comes"


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_a_script(open_broken, script):
    expect_stills(open_broken(CHAPTER, without=SCRIPTS[script]), CHAPTER)


def test_with_a_policy_that_is_too_strict(open_broken):
    policy = POLICY.replace("script-src 'self' ", "script-src ")
    assert policy != POLICY
    expect_stills(open_broken(CHAPTER, policy=policy), CHAPTER)


@pytest.mark.parametrize("failure", FAILURES)
def test_where_a_script_fails(open_broken, failure):
    name = "book/convert.html" if "form" in failure else CHAPTER
    page = open_broken(name, script=FAILURES[failure])
    if "form" in failure:
        return expect_stills(page, name)
    # Pictures under a slider need none of that.
    expect(page.locator(".wd-drawn")).to_have_count(sum("frames" in spec for spec in read_specs(name)))
    lines = page.locator(".wd-place:not(:has(.wd-frame))")
    assert lines.count() > 1
    for still in lines.locator(".wd-still").all():
        expect(still).to_be_visible()
    for demo in lines.locator(".wd-demo").all():
        expect(demo).to_be_hidden()


@each_page_with_demos
def test_a_drawn_demo_takes_the_place_of_its_picture(visit, name):
    page = visit(name)
    expect(page.locator(".wd-drawn")).to_have_count(page.locator(".wd-place").count())
    for place in page.locator(".wd-place").all():
        expect(place.locator(".wd-still")).to_be_hidden()
        expect(place.locator(DEMO)).to_be_visible()


@each_page_with_demos
@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_there_is_room_for_a_demo_before_it_is_drawn(browser, site, name, device):
    heights = "() => [...document.querySelectorAll('.wd-place')].map((one) => one.clientHeight)"
    with browser.new_page(**device) as page:
        page.route("**/_static/demos/*", lambda route: route.abort())
        page.goto(site["http"] + name)
        kept = page.evaluate(heights)
    with browser.new_page(**device) as page:
        open_page(page, site["http"], name)
        assert page.evaluate(heights) == pytest.approx(kept, abs=2)
        taken = page.locator(".wd-demo, .wd-form").evaluate_all("(all) => all.map((one) => one.clientHeight)")
        assert taken == pytest.approx(kept, abs=80)


@pytest.mark.parametrize("name", [CHAPTER, "book/in-practice.html"])
def test_the_policy_of_the_readme_is_enough(open_broken, name):
    messages = []
    page = open_broken("book/notation.html", policy=POLICY)
    page.on("console", lambda said: said.type != "error" or messages.append(said.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(page.url.replace("book/notation.html", name))
    draw_all(page)
    expect(page.locator(DEMO)).to_have_count(page.locator(".wd-place").count())
    assert messages == []


@each_page_with_demos
def test_the_oldest_browsers(open_broken, name):
    page = open_broken(name, script=YOUNGER)
    expect(page.locator(".wd-drawn")).to_have_count(page.locator(".wd-place").count())
    for demo in demos(page):
        before = look(demo)
        press_arrow(demo.locator(HANDLE).first)
        expect(demo.locator(".wd")).not_to_have_attribute("data-at", before["at"])
        assert look(demo)["summary"] != before["summary"]


def test_there_are_pages_with_demos():
    assert len(WITH_DEMOS) > 5
