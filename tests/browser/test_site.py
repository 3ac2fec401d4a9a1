"""The built site, where there is no kernel: from a server and from disk, on a desk and on a phone."""

import base64
import csv
import io
import re
from contextlib import contextmanager
from functools import reduce
from html.parser import HTMLParser
from operator import getitem
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from ipywidgets.embed import embed_data
from PIL import Image
from playwright.sync_api import expect
from servers import DESK, HANDLE, HTML, PAGES, PLACE, lay_out_all, open_page, press_button, read_demos
from widgets import pack

from weightdecay import live, sweep


def read_charts(name):
    """The models of a built page's charts."""
    demos = read_demos(name)
    charts = [(demo, demo["models"][demo["root"]]["state"].get("children")) for demo in demos]
    return [demo["models"][children[-1].removeprefix("IPY_MODEL_")] for demo, children in charts if children]


HOME, CHAPTER = "index.html", "book/pytorch.html"
WITH_DEMOS = [name for name in PAGES if (HTML / name).exists() and any(read_charts(name))]
PHONE = {"viewport": {"width": 375, "height": 667}, "has_touch": True, "is_mobile": True}
# Without a build there are no pages with demos: then the tests have to fail, not to vanish.
each_page_with_demos = pytest.mark.parametrize("name", WITH_DEMOS or [CHAPTER])


def demos(page):
    return page.locator(".wd-demo").all()


def look(demo):
    """What a demo shows: where its sliders stand, its sentence, and the pixels of its charts or its picture."""
    return demo.locator(".wd").evaluate(
        """(chart) => ({
            at: chart.dataset.at,
            summary: chart.querySelector(".wd-summary").textContent,
            picture: [...chart.querySelectorAll("canvas, img")].map((one) => one.src ?? one.toDataURL()).join(),
        })"""
    )


def press_arrow(handle):
    handle.press("ArrowLeft" if float(handle.input_value()) else "ArrowRight")


def ends_of_drag(handle):
    """Where a drag of the slider starts, and the end of its track that is further away."""
    box, share = handle.bounding_box(), handle.evaluate("(one) => one.value / one.max")
    y, thumb = box["y"] + box["height"] / 2, 16
    x = box["x"] + thumb / 2 + share * (box["width"] - thumb)
    return (x, y), (box["x"] + (2 if share > 0.5 else box["width"] - 2), y)


def drag(handle):
    start, end = ends_of_drag(handle)
    mouse = handle.page.mouse
    mouse.move(*start)
    mouse.down()
    mouse.move(*end, steps=5)
    mouse.up()


def swipe(handle):
    """The same with a finger, which Playwright can only tap with."""
    devtools = handle.page.context.new_cdp_session(handle.page)
    start, end = ends_of_drag(handle)
    for kind, points in (("touchStart", [start]), ("touchMove", [end]), ("touchEnd", [])):
        touches = [{"x": x, "y": y} for x, y in points]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


@pytest.fixture(scope="module", params=WITH_DEMOS or [CHAPTER])
def opened(request, site, watched):
    """A page by its name, opened once for all the tests that only look at it."""
    with watched(site["http"], **DESK) as page:
        open_page(page, site["http"], request.param)
        yield request.param, page


def test_home_page_and_chapter_have_demos():
    assert {HOME, CHAPTER} <= set(WITH_DEMOS)


@each_page_with_demos
@pytest.mark.parametrize(
    ("scheme", "device", "pull"), [("http", DESK, drag), ("file", PHONE, swipe)], ids=["http-desk", "file-phone"]
)
def test_every_slider_moves_its_chart(visit, name, scheme, device, pull):
    page = visit(name, scheme, **device)
    for demo in demos(page):
        for handle in demo.locator(HANDLE).all():
            for move in (press_arrow, pull):
                handle.scroll_into_view_if_needed()
                before = look(demo)
                move(handle)
                expect(demo.locator(".wd")).not_to_have_attribute("data-at", before["at"])
                for _ in range(100):  # what trains here has its first frame a moment later
                    after = look(demo)
                    if all(before[key] != after[key] for key in before):
                        break
                    page.wait_for_timeout(100)
                assert all(before[key] != after[key] for key in before), move


def read_specs(name):
    """What the charts of a built page hold, in their order, with the arrays as bytes."""
    charts = read_charts(name)
    for chart in charts:
        for buffer in chart["buffers"]:
            *path, key = buffer["path"]
            reduce(getitem, path, chart["state"])[key] = base64.b64decode(buffer["data"])
    return [chart["state"]["spec"] for chart in charts]


def last_values(spec, at):
    """The numbers that belong into the sentence: of every recorded curve, in the last column that any is drawn in, and
    in the last that it is drawn in itself.
    """
    curves = []
    for panel in spec["panels"]:
        for series in panel["series"]:
            values = np.frombuffer(series["values"], np.float32).reshape(*spec["shape"], -1)[at]
            drawn = np.isfinite(values) & ((values > 0) | (not panel["log"]))
            curves.append((series["name"], np.where(drawn, values, np.nan)))
    last = max(column for _, values in curves for column in np.flatnonzero(np.isfinite(values)))
    own = {name: [np.nan, *values[np.isfinite(values)]][-1] for name, values in curves}
    return {name: (float(values[last]), float(own[name])) for name, values in curves}


def test_the_sentence_says_what_was_recorded_at_every_position(opened):
    name, page = opened
    for demo, spec in zip(demos(page), read_specs(name), strict=True):
        for number, handle in enumerate(demo.locator(HANDLE).all()):
            if spec["shape"][number] == 1:
                continue  # of what no record holds
            handle.press("Home")
            for index in range(spec["shape"][number]):
                at_index = re.compile(rf"^(\d+,){{{number}}}{index}\b")
                expect(demo.locator(".wd")).to_have_attribute("data-at", at_index)
                seen = look(demo)
                at = tuple(
                    0 if size == 1 else int(place)
                    for place, size in zip(seen["at"].split(","), spec["shape"], strict=True)
                )
                assert at[number] == index
                if "frames" in spec:
                    assert seen["summary"] == spec["alts"][np.ravel_multi_index(at, spec["shape"])]
                else:
                    for variable, (value, own) in last_values(spec, at).items():
                        pattern = rf"[:,] {re.escape(variable)} (–|[-+.e\d]*\d)( \(at )?"
                        printed, earlier = re.search(pattern, seen["summary"]).groups()
                        assert np.isnan(value) or not earlier  # else it was not measured so late
                        value = own if earlier else value
                        assert printed == "–" if np.isnan(value) else float(printed) == float(f"{value:.3g}")
                handle.press("ArrowRight")


def test_charts_change_their_ink_with_the_theme(opened):
    _, page = opened
    canvas = page.locator(".wd canvas").first
    # The darkest of the pixels that are not see-through: text and curves.
    darkest = """(canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let least = 255;
        for (let i = 0; i < data.length; i += 4) {
            if (data[i + 3] > 200) least = Math.min(least, Math.max(data[i], data[i + 1], data[i + 2]));
        }
        return least;
    }"""
    page.evaluate("document.body.dataset.theme = 'light'")
    assert canvas.evaluate(darkest) < 64
    page.evaluate("document.body.dataset.theme = 'dark'")
    assert canvas.evaluate(darkest) > 128


@each_page_with_demos
def test_slider_and_first_chart_fit_on_a_phone(visit, name):
    page = visit(name, **PHONE)
    for demo in demos(page):
        demo.evaluate("(demo) => demo.scrollIntoView({ behavior: 'instant' })")
        for part in (demo.locator(HANDLE).first, demo.locator(".wd-canvas, .wd-frame").first):
            expect(part).to_be_in_viewport(ratio=1)
        assert demo.locator(HANDLE).first.evaluate(
            """(handle) => {
                const { x, y, width, height } = handle.getBoundingClientRect();
                return handle.contains(document.elementFromPoint(x + width / 2, y + height / 2));
            }"""
        ), "the page's own bar lies over the slider"


@each_page_with_demos
def test_text_is_there_before_the_widgets(browser, site, name):
    held_back = []
    with browser.new_page() as page:
        page.route("**/_static/demos/*", lambda request: held_back.append(request))
        with page.expect_request("**/_static/demos/*"):
            page.goto(site["http"] + name, wait_until="domcontentloaded")
            page.locator(".wd-place").first.scroll_into_view_if_needed()
        expect(page.locator("article h1")).to_be_visible()
        expect(page.locator("article p").first).to_be_visible()
        expect(page.locator(".wd")).to_have_count(0)
        for request in held_back:
            request.abort()


def test_demos_have_names(opened):
    _, page = opened
    for chart in page.locator(".wd").all():
        expect(chart).to_have_attribute("aria-label", re.compile(r"\w"))
        for picture in chart.locator(".wd-canvas, .wd-frame").all():
            expect(picture).to_have_role("img")
            expect(picture).to_have_accessible_name(re.compile(r"\w"))


def test_arrow_keys_read_the_curves(opened):
    _, page = opened
    for canvas in page.locator(".wd-canvas").all():
        chart = canvas.locator("xpath=ancestor::*[@role='group']")
        canvas.focus()
        readings = set()
        for _ in range(3):
            page.keyboard.press("ArrowLeft")
            reading = chart.locator(".wd-summary").inner_text()
            readings.add(reading)
            # All panels of a chart read the same column.
            assert all(value in reading for value in chart.locator(".wd-value").all_inner_texts())
        assert len(readings) == 3


def test_a_chart_keeps_the_focus_when_the_page_scrolls(visit):
    page = visit(CHAPTER)
    canvas = page.locator(".wd-canvas").first
    canvas.focus()
    for top in (900, 600):
        page.evaluate("(top) => scrollTo({ top, behavior: 'instant' })", top)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(page.locator("html")).to_have_class(
        re.compile("show-back-to-top")
    )  # the theme's mark, and no change of theme
    expect(canvas).to_be_focused()


def test_pinned_curves_stay_until_reset(visit):
    page = visit(CHAPTER)
    demo = demos(page)[0]
    handle, legend = demo.locator(HANDLE), demo.locator(".wd-legend").first
    before = look(demo)
    press_button(demo, "Pin")
    handle.press("End")
    expect(legend).to_contain_text("pinned λ = 0")
    expect(demo.locator(".wd")).not_to_have_attribute("data-at", before["at"])
    press_button(demo, "Reset")
    expect(demo.locator(".wd")).to_have_attribute("data-at", before["at"])
    expect(legend).not_to_contain_text("pinned")
    assert look(demo) == before


@each_page_with_demos
def test_the_numbers_of_a_demo_are_a_table(visit, name):
    page = visit(name)
    for demo, spec in zip(demos(page), read_specs(name), strict=True):
        if "frames" in spec:
            expect(demo.locator("[data-key=D]")).to_have_count(0)
            continue
        with page.expect_download() as download:
            press_button(demo, "CSV")
        assert download.value.suggested_filename.endswith(".csv")
        names, *rows = csv.reader(download.value.path().read_text(encoding="utf-8").splitlines())
        x = np.frombuffer(spec["x"]["values"], np.float64)
        there = ~np.isnan(x)
        assert len(rows) == np.prod(spec["shape"], dtype=int) * there.sum()
        series = [one for panel in spec["panels"] for one in panel["series"]]
        assert names[len(spec["shape"])] == spec["x"]["label"]
        assert [float(row[len(spec["shape"])]) for row in rows[: there.sum()]] == list(x[there])
        for one in series:
            column = [float(row[names.index(one["name"])] or "nan") for row in rows]
            values = np.frombuffer(one["values"], np.float32).reshape(-1, x.size)[:, there].ravel()
            np.testing.assert_allclose(column, values, rtol=1e-6, atol=1e-37)
        demo.locator(HANDLE).first.press("Home")
        assert rows[0][0] == demo.locator(HANDLE).first.get_attribute("aria-valuetext")


def test_a_menu_holds_what_is_seldom_used(visit):
    page = visit(CHAPTER, **PHONE)
    demo = demos(page)[0]
    row = demo.locator(".wd-bar > .wd-button, .wd-more > summary, .wd-badge")
    assert row.all_inner_texts() == ["recorded", "Play", "Predict", "Full screen", "More"]
    assert np.ptp([one.bounding_box()["y"] for one in row.all()]) < 10  # one row, on a phone too
    menu, more = demo.locator(".wd-menu"), demo.locator(".wd-more > summary")
    expect(menu).to_be_hidden()
    more.press("Enter")
    assert menu.locator("button").all_inner_texts() == ["Pin", "Train here", "Reset", "Link", "CSV", "Keys"]
    for close in (lambda: page.keyboard.press("Escape"), lambda: page.locator("article h1").click()):
        expect(menu).to_be_visible()
        close()
        expect(menu).to_be_hidden()
        more.click()
    menu.get_by_role("button", name="Keys").click()
    expect(menu).to_be_hidden()
    expect(demo.locator(".wd-keys")).to_be_visible()
    expect(more).to_be_focused()


def test_sliders_work_with_reduced_motion(visit):
    page = visit(CHAPTER, reduced_motion="reduce")
    for demo in demos(page):
        before = look(demo)
        press_arrow(demo.locator(HANDLE))
        expect(demo.locator(".wd")).not_to_have_attribute("data-at", before["at"])


class Page(HTMLParser):
    """The links and anchors of a built page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = set(), {"", "#"}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links |= {attrs[key] for key in ("href", "src") if attrs.get(key)}
        self.anchors |= {attrs[key] for key in ("id", "name") if attrs.get(key)}


def test_links_within_the_site_lead_somewhere(site):
    pages = {path: Page(path) for path in [*HTML.glob("*.html"), *HTML.glob("book/*.html")]}
    assert pages
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or parts.fragment.startswith("demo="):  # test_classroom_page has these
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or (target in pages and unquote(parts.fragment) not in pages[target].anchors):
                broken.append(f"{path.relative_to(HTML)}: {link}")
    assert not broken


def test_sliders_have_a_name_and_say_the_value_they_stand_at(opened):
    _, page = opened
    for demo in page.locator(".wd-demo").all():
        handle = demo.get_by_role("slider").first
        handle.press("Home")
        handle.press("ArrowRight")
        shown = demo.locator(".wd-slider").first.locator("output, .wd-number")
        said = handle.get_attribute("aria-valuetext")
        expect(shown).to_have_value(said) if shown.evaluate("(one) => one.matches('input')") else expect(
            shown
        ).to_have_text(said)
        assert handle.get_attribute("aria-label")


@contextmanager
def page_of(demo, site, watched):
    """The front page with another demo in it."""
    (place,) = PLACE.findall((HTML / HOME).read_text())
    models = embed_data(views=[demo], drop_defaults=False)["manager_state"]["state"]
    scripts = {}
    name, _ = pack("index", demo.model_id, models, scripts, "")
    script = scripts[name].replace(name, place)
    with watched(site["http"], **DESK) as page:
        page.route(f"**/{place}.js", lambda route: route.fulfill(body=script, content_type="text/javascript"))
        open_page(page, site["http"], HOME)
        yield page


def test_names_are_values_like_any_other(site, watched):
    def train(optimizer, momentum):
        yield from ((step, {"loss": step * len(optimizer) + momentum}) for step in range(1, 4))

    curves = sweep(train, optimizer=["sgd", "adam, 100 %"], momentum=[False, True])
    with page_of(live(train, curves, title="names"), site, watched) as page:
        demo = page.locator(".wd-demo")
        chart, note = demo.locator(".wd"), demo.locator(".wd-note")
        demo.locator(HANDLE).first.press("ArrowRight")
        expect(demo.locator(".wd-summary")).to_have_text(
            "optimizer = adam, 100 %, momentum = False, at step 3: loss 33."
        )
        press_button(demo, "Pin")
        press_button(demo, "Link")
        link = page.url
        for key in ("ArrowLeft", "r"):
            demo.locator(HANDLE).first.press(key)
        expect(chart).to_have_attribute("data-at", "0,0")
        page.evaluate("(link) => { location.hash = ''; location.hash = new URL(link).hash; }", link)
        expect(chart).to_have_attribute("data-at", "1,0")
        expect(demo.locator(".wd-legend")).to_contain_text("pinned optimizer = adam, 100 %, momentum = False")
        page.evaluate("(location.hash = new URLSearchParams({ demo: 'names', at: 'lion,True' }))")
        expect(note).to_have_text("The link asks for optimizer = lion; there is only sgd, adam, 100 %.")


def test_between_two_recorded_values_the_nearest_is_drawn_and_named(site, watched):
    def train(lambd):
        yield from ((step, {"loss": step + lambd}) for step in range(1, 4))

    with page_of(live(train, sweep(train, lambd=[0, 1, 2]), finer={"lambd": [1.9]}), site, watched) as page:
        summary = page.locator(".wd-summary")
        for value in ("1", "1.9", "2"):
            page.locator(HANDLE).press("ArrowRight")
            nearest = " (recorded at λ = 2)" if value == "1.9" else ""
            loss = "4" if value == "1" else "5"
            expect(summary).to_have_text(f"λ = {value}, at step 3: loss {loss}{nearest}.")


def seen_colours(part):
    """The colours of a part of a page as it is painted, of most pixels first."""
    picture = Image.open(io.BytesIO(part.screenshot())).convert("RGB")
    return [colour for _, colour in sorted(picture.getcolors(10**6), reverse=True)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_forced_colours_leave_the_colour_key_and_the_slider(visit, scheme):
    page = visit(CHAPTER, forced_colors="active", color_scheme=scheme)
    lay_out_all(page)  # or it moves meanwhile
    paper = (255, 255, 255) if scheme == "light" else (0, 0, 0)
    for demo in demos(page):
        swatches = [seen_colours(swatch)[0] for swatch in demo.locator(".wd-swatch").all()]
        assert len({*swatches, paper}) == len(swatches) + 1
        handle = demo.locator(HANDLE)
        handle.press("Home")
        handle.scroll_into_view_if_needed()
        track = handle.bounding_box()
        clip = {"x": track["x"] + track["width"] * 0.6, "y": track["y"] - 3, "width": 40, "height": track["height"] + 6}
        line = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("L")
        low, high = line.getextrema()
        assert high - low > 200
    form = visit("book/convert.html", forced_colors="active", color_scheme=scheme).locator("form.wd-form").first
    field = form.get_by_label("λ", exact=True)
    fine = field.evaluate("(field) => getComputedStyle(field).border")
    field.fill("much")
    assert field.evaluate("(field) => getComputedStyle(field).borderStyle") not in fine
