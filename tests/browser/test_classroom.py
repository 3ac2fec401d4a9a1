"""What a teacher does with a demo on the built pages: full screen, keys, predictions, links."""

import re
import zipfile

import numpy as np
import pytest
from playwright.sync_api import expect
from servers import DEMO, DESK, HANDLE, HTML, PAGES, ROOT, ZIP, copy_until_demo, press_button
from test_site import CHAPTER, HOME, PHONE, demos, each_page_with_demos, look, read_specs

PROJECTOR = {"viewport": {"width": 1920, "height": 1080}}
FULL = re.compile(r"\bwd-full\b")
SHOWN = ".wd-canvas, .wd-frame"


def open_full(demo):
    demo.locator(HANDLE).first.press("f")
    expect(demo).to_have_class(FULL)


def wait_for_move(demo, before):
    expect(demo.locator(".wd")).not_to_have_attribute("data-at", before["at"])


def test_the_zip_holds_the_site_and_opens_at_its_front_page(visit):
    with zipfile.ZipFile(ZIP) as packed:
        assert {name for name in packed.namelist() if not name.endswith("/")} == {
            path.relative_to(HTML).as_posix() for path in HTML.rglob("*") if path.is_file()
        }
        for page in PAGES:
            assert packed.read(page) == (HTML / page).read_bytes()  # not of an earlier build
    assert ZIP.stat().st_size < 30e6
    expect(visit(HOME, "file").locator("article h1")).to_be_visible()


@each_page_with_demos
@pytest.mark.parametrize("device", [PROJECTOR, PHONE], ids=["projector", "phone"])
def test_full_screen_and_every_key(visit, name, device):
    page = visit(name, **device)
    keys = page.keyboard
    for demo, spec in zip(demos(page), read_specs(name), strict=True):
        chart, note = demo.locator(".wd"), demo.locator(".wd-note")
        start = look(demo)
        open_full(demo)
        page.wait_for_function("document.fullscreenElement?.matches('.wd-full')")
        assert demo.bounding_box() == {"x": 0, "y": 0} | device["viewport"]
        expect(demo.locator(".wd-question")).to_have_text(spec["question"] or spec["title"])
        if device is PROJECTOR:
            for part in demo.locator(f".wd-question, [role=slider], {SHOWN}, .wd-summary").all():
                expect(part).to_be_in_viewport(ratio=0.99)
        page.evaluate("document.activeElement.blur()")  # the keys work wherever the focus is

        keys.press("ArrowLeft" if start["at"].split(",")[0] != "0" else "ArrowRight")
        wait_for_move(demo, start)
        moved = look(demo)
        keys.press("r")
        expect(chart).to_have_attribute("data-at", start["at"])
        keys.press("?")
        lacking = ["P", "D"] if "frames" in spec else []
        lacking += [] if demo.locator("[data-trains]").count() else ["T"]
        expect(demo.locator(".wd-keys kbd")).to_have_text(
            ["← →", *(key for key in ["Space", "P", "H", "T", "F", "R", "L", "D", "?"] if key not in lacking)]
        )
        expect(demo.locator(".wd-keys")).to_be_visible()
        keys.press("?")
        expect(demo.locator(".wd-keys")).not_to_be_visible()
        if "panels" in spec:
            keys.press("p")
            expect(demo.locator(".wd-legend").first).to_contain_text("pinned")
        keys.press("Space")
        wait_for_move(demo, start)  # by itself
        keys.press("Space")
        expect(demo.locator("[data-key=' ']")).to_have_text("Play")
        keys.press("h")
        expect(demo.locator(".wd-summary")).to_contain_text("hidden until you reveal it")
        # The sentence below the buttons takes room from the charts, which the next frame sees.
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        hidden = look(demo)["picture"]
        if "panels" in spec:
            assert set(demo.locator(".wd-value").all_inner_texts()) == {"?"}
            keys.press("ArrowLeft" if moved["at"] > start["at"] else "ArrowRight")
            if device is PROJECTOR:  # on a phone a longer sentence takes room from the chart
                assert look(demo)["picture"] == hidden  # nothing of the curve shines through
        else:
            expect(demo.locator(".wd-frame")).to_be_hidden()
        keys.press("h")
        expect(demo.locator(".wd-summary")).not_to_contain_text("hidden")
        keys.press("l")
        expect(note).to_contain_text("opens what is shown here")
        assert "full=1" in page.url
        keys.press("r")
        expect(chart).to_have_attribute("data-at", start["at"])
        if "frames" in spec:  # from where it starts, so that no slider moves
            keys.press("h")
            expect(demo.locator(".wd-frame")).to_be_hidden()
            keys.press("r")
            expect(demo.locator(".wd-frame")).to_be_visible()
        expect(demo.locator(".wd-bar")).not_to_contain_text("Reveal")
        keys.press("f")
        expect(demo).not_to_have_class(FULL)
        page.wait_for_function("document.fullscreenElement === null")
        expect(chart).to_have_attribute("data-at", start["at"])


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "book").glob("*.ipynb")))
def test_full_screen_and_every_key_with_a_kernel(lab, watched, name):
    sources = copy_until_demo(name, lab.folder, -1)
    with watched(lab.url, **DESK) as page:
        lab.run(page, name)
        expect(page.locator("[data-mime-type='application/vnd.jupyter.error']")).to_have_count(0)
        keys, cells = page.keyboard, page.locator(".jp-Notebook .jp-CodeCell").count()
        for demo, source in zip(page.locator(".wd-demo").all(), sources, strict=True):
            demo.scroll_into_view_if_needed()
            demo.locator(DEMO).wait_for()
            chart = demo.locator(".wd")
            start = chart.get_attribute("data-at")
            demo.locator(HANDLE).first.press("f")
            expect(demo).to_have_class(FULL)
            page.wait_for_function("document.fullscreenElement?.matches('.wd-full')")
            expect(demo.locator(".wd-question")).to_be_visible()
            keys.press("Space")
            expect(chart).not_to_have_attribute("data-at", start)
            keys.press("Space")
            keys.press("r")
            expect(chart).to_have_attribute("data-at", start)
            keys.press("ArrowLeft" if not start.startswith("0") else "ArrowRight")
            expect(chart).not_to_have_attribute("data-at", start)
            if "live(" in source:
                if not re.search(r"live\(None|cuda", source):  # it retrains, with no GPU too
                    expect(demo.locator(".wd-badge")).to_contain_text("live on")
                keys.press("p")
                expect(demo.locator(".wd-legend").first).to_contain_text("pinned")
            keys.press("h")
            # While a model is being trained too.
            expect(demo.locator(".wd-summary")).to_contain_text("hidden until you reveal it")
            keys.press("h")
            expect(demo.locator(".wd-summary")).not_to_contain_text("hidden")
            keys.press("?")
            expect(demo.locator(".wd-keys kbd").first).to_be_visible()
            keys.press("?")
            keys.press("r")
            expect(chart).to_have_attribute("data-at", start)
            keys.press("f")
            expect(demo).not_to_have_class(FULL)
            expect(demo.locator(".wd-message:not(:empty)")).to_have_count(0)
        # JupyterLab has commands of its own on these letters.
        assert page.locator(".jp-Notebook .jp-CodeCell").count() == cells
    lab.end(name)


def truth(spec, panel, at):
    """The recorded curves of a panel at a position of the sliders: {name: values}, and the values of the x axis.

    What a slider moves that only trains is recorded at one value.
    """
    at = tuple(k if count > 1 else 0 for k, count in zip(at, spec["shape"], strict=True))
    curves = {
        series["name"]: np.frombuffer(series["values"], np.float32).reshape(*spec["shape"], -1)[at]
        for series in spec["panels"][panel]["series"]
    }
    return curves, np.frombuffer(spec["x"]["values"], np.float64)


def mark(page, demo, panel, across, up):
    """Click at shares of a panel's width and height."""
    box = demo.locator(".u-over").nth(panel).bounding_box()
    page.mouse.click(box["x"] + across * box["width"], box["y"] + (1 - up) * box["height"])
    return 2 / box["height"]  # the share of two pixels: a mouse stands on whole ones


def numbers(sentence):
    return [float(number) for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", sentence)]


@pytest.mark.parametrize("device", [PROJECTOR, PHONE], ids=["projector", "phone"])
@pytest.mark.parametrize(("panel", "across", "up"), [(0, 0.5, 0.7), (0, 1, 0.2), (1, 0, 0.9), (1, 0.3, 0.5)])
def test_a_mark_is_measured_against_the_curve(visit, device, panel, across, up):
    page = visit(CHAPTER, **device)
    demo, spec = demos(page)[0], read_specs(CHAPTER)[0]
    open_full(demo)
    page.keyboard.press("h")
    share = mark(page, demo, panel, across, up)
    page.keyboard.press("h")
    said = demo.locator(".wd-note").inner_text()
    name, epoch, value, marked, off, side = re.fullmatch(
        r"A: (.+) at epoch (\d+) is (\S+), marked (\S+): (\S+) (?:times )?too (high|low)\.", said
    ).groups()
    epoch, value, marked, off = map(float, (epoch, value, marked, off))
    curves, x = truth(spec, panel, (0,))
    assert abs(epoch - x[round(across * (x.size - 1))]) <= 1
    low, high = spec["panels"][panel]["limits"]
    log = spec["panels"][panel]["log"]
    pixel = share * (np.log(high / low) if log else (high - low) / marked)
    assert marked == pytest.approx(low * (high / low) ** up if log else low + up * (high - low), rel=pixel)
    here = {key: curve[list(x).index(epoch)] for key, curve in curves.items()}
    distance = {key: abs(np.log(one / marked) if log else one - marked) for key, one in here.items()}
    assert name == min(distance, key=distance.get)
    assert value == float(f"{here[name]:.3g}")
    assert (np.log(off) if log else off) == pytest.approx(distance[name], abs=0.01 * max(1, marked))
    assert side == ("high" if marked > value else "low")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # from a chart the keys move the slider, now that nothing is hidden
    curves, _ = truth(spec, panel, tuple(map(int, look(demo)["at"].split(","))))
    shown = {f"{curve[list(x).index(epoch)]:.3g}" for curve in curves.values()}
    moved = re.search(r" is (\S+), marked (\S+):", demo.locator(".wd-note").inner_text())
    assert float(moved[1]) in {float(number) for number in shown}
    assert float(moved[2]) == marked
    page.keyboard.press("h")
    page.keyboard.press("h")
    assert demo.locator(".wd-note").inner_text() == ""  # a new prediction starts without marks


def test_a_mark_is_measured_against_the_best_place(visit):
    name = "book/l2-derivation.html"
    page = visit(name, **PROJECTOR)
    (demo, spec), *_ = [
        pair
        for pair in zip(demos(page), read_specs(name), strict=True)
        if any(series["best"] for panel in pair[1].get("panels", []) for series in panel["series"])
    ]
    open_full(demo)
    at = tuple(map(int, look(demo)["at"].split(",")))
    series = next(series for series in spec["panels"][0]["series"] if series["best"] == "lowest")
    curves, x = truth(spec, 0, at)
    best = x[np.nanargmin(curves[series["name"]])]
    assert best != x[-4]
    page.keyboard.press("h")
    demo.locator(".wd-canvas").focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    page.keyboard.press("h")
    said = demo.locator(".wd-note").inner_text()
    assert said.startswith(f"A: {series['name']} is lowest at ")
    assert said.endswith(f" times too {'large' if x[-4] > best else 'small'}.")
    off = max(x[-4] / best, best / x[-4])
    assert numbers(said)[:3] == pytest.approx([best, x[-4], off], rel=0.01)


def test_the_keyboard_marks_too(visit):
    page = visit(CHAPTER)
    demo, spec = demos(page)[0], read_specs(CHAPTER)[0]
    demo.locator(HANDLE).press("h")
    demo.locator(".wd-canvas").nth(1).focus()
    before = look(demo)["picture"]
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    assert look(demo)["picture"] != before
    page.keyboard.press("h")
    (_, x), (low, high) = truth(spec, 1, (0,)), spec["panels"][1]["limits"]
    said = numbers(demo.locator(".wd-note").inner_text())
    assert said[0] == x[-2]
    assert said[2] == pytest.approx(low + 0.54 * (high - low), rel=0.005)


@pytest.mark.parametrize("scheme", ["http", "file"])
@pytest.mark.parametrize("name", [CHAPTER, "book/adamw.html"])
def test_a_link_opens_what_it_was_made_from(visit, name, scheme):
    page = visit(name, scheme)
    number = 0
    demo = demos(page)[number]
    handles = demo.locator(HANDLE).all()
    press_button(demo, "Pin")
    for handle in handles:
        handle.press("End")
    press_button(demo, "Pin")
    for handle in handles:
        handle.press("ArrowLeft")
    handles[0].press("l")
    made = look(demo)
    other = visit(name, scheme)
    # As a reader does, who has the address and no page yet.
    other.wait_for_load_state("networkidle")
    other.goto("about:blank")
    other.goto(page.url)
    expect(other.locator(".wd[data-at]")).to_have_count(len(demos(page)))
    opened = demos(other)[number]
    expect(opened.locator(".wd")).to_have_attribute("data-at", made["at"])
    expect(opened.locator(".wd-legend").first).to_have_text(demo.locator(".wd-legend").first.text_content())
    expect(opened).to_be_in_viewport()
    expect(opened).not_to_have_class(FULL)
    assert look(opened)["summary"] == made["summary"]
    assert look(opened)["picture"] == made["picture"]
    for handle in opened.locator(HANDLE).all():
        expect(handle).to_have_attribute("aria-valuetext", re.compile(r"\d"))


def test_a_link_written_by_hand(visit):
    page = visit(CHAPTER)
    demo, title = demos(page)[0], read_specs(CHAPTER)[0]["title"]
    chart, note, number = demo.locator(".wd"), demo.locator(".wd-note"), demo.locator(".wd-number")

    def follow(state):
        page.evaluate("(state) => (location.hash = String(new URLSearchParams(state)))", {"demo": title} | state)

    follow({"at": "0.03", "full": "1"})
    expect(demo).to_have_class(FULL)
    expect(number).to_have_value("0.03")
    expect(note).to_be_empty()
    follow({"at": "0.045"})  # on no record: trained here
    expect(demo).not_to_have_class(FULL)
    expect(number).to_have_value("0.045")
    expect(note).to_be_empty()
    before = chart.get_attribute("data-at")
    for wrong in ("abc", "", "Infinity"):
        follow({"at": wrong})
        expect(note).to_have_text(f"The link asks for λ = {wrong or 'nothing'}, which is no number: write it as in 0.")
        expect(chart).to_have_attribute("data-at", before)
    name = "book/gluon.html"  # trains in a kernel alone
    page = visit(name)
    demo, title = demos(page)[0], read_specs(name)[0]["title"]
    follow({"at": "1.2,10"})
    expect(demo.locator(".wd-note")).to_have_text("The slider has no λ = 1.2; nearest is 1.")


def test_a_link_within_a_frame_is_shown_to_be_copied(browser, site):
    """A course page shows the book in a frame: its address is another."""
    course = f"{site['http']}week-3.html"
    frame = f'<iframe src="{site["http"]}{CHAPTER}" width="1000" height="700"></iframe>'
    with browser.new_context(**DESK) as context:
        page = context.new_page()
        page.route(course, lambda route: route.fulfill(body=frame, content_type="text/html"))
        page.goto(course)
        frame = page.frame_locator("iframe")
        frame.locator(".wd-place").first.scroll_into_view_if_needed()
        demo = frame.locator(".wd-demo").first
        demo.locator(HANDLE).press("End")
        expect(demo.locator(".wd")).not_to_have_attribute("data-at", "0")
        made = look(demo)
        press_button(demo, "Link")
        expect(demo.locator(".wd-note")).not_to_contain_text("address of this page")
        field = demo.get_by_role("textbox", name="Link")
        field.focus()
        assert field.evaluate("(field) => field.selectionEnd - field.selectionStart === field.value.length")
        address = field.input_value()
        field.press("r")  # which is no command here
        expect(demo.locator(".wd")).to_have_attribute("data-at", made["at"])
        assert page.url == course
        page.goto(address)
        opened = page.locator(".wd-demo").first
        expect(opened.locator(".wd")).to_have_attribute("data-at", made["at"])
        assert look(opened)["summary"] == made["summary"]
