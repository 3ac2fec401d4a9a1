"""Demos that train on the page itself, with no kernel: the same numbers as PyTorch's, and what goes wrong said."""

import base64
import csv
import re

import numpy as np
import pytest
from demos import demos_of_page
from playwright.sync_api import expect
from servers import DESK, HTML, PAGES, open_page, press_button
from test_site import HOME, WITH_DEMOS, demos, read_charts, read_specs

from weightdecay.sweep import follow
from weightdecay.tape import compare

TRAINS = [
    name for name in PAGES if (HTML / name).exists() and any(c["state"].get("program") for c in read_charts(name))
]
each_page_that_trains = pytest.mark.parametrize("name", TRAINS or [HOME])


def values_between(stops, seed):
    """A value for a slider that stands on none of its stops, as it would be typed."""
    rng = np.random.default_rng(seed)
    k = rng.integers(len(stops) - 1)
    low, high = sorted(stops)[k : k + 2]
    return float(f"{low + (0.3 + 0.4 * rng.random()) * (high - low):.3g}")


def train_here(demo, values):
    for field, value in zip(demo.locator(".wd-number").all(), values, strict=True):
        field.fill(f"{value:g}")
        field.press("Enter")
    ended = re.compile("done|diverged")
    expect(demo.locator(".wd-badge")).to_have_text(re.compile("trained here"), timeout=60_000)
    expect(demo.locator(".wd")).to_have_attribute("data-state", ended)


def read_table(page, demo, count):
    """The last rows of a demo's table: the fresh run."""
    with page.expect_download() as download:
        press_button(demo, "CSV")
    names, *rows = csv.reader(download.value.path().read_text(encoding="utf-8").splitlines())
    return names, rows[-count:]


def assert_trains_as_pytorch(page, demo, chart, spec, one, seed):
    """Train at values off the record, and compare what the page then has with what `train` itself yields there."""
    values = [values_between(stops, seed) for stops in spec["stops"]]
    train_here(demo, values)
    x = np.frombuffer(spec["x"]["values"], np.float64)
    names, rows = read_table(page, demo, int((~np.isnan(x)).sum()))
    assert [float(row[0]) for row in rows] == [values[0]] * len(rows)
    params = chart["state"]["program"]["params"]

    def train(factor=1):
        # By different powers: some demos know only the ratio of two parameters.
        at = {name: factor**k * value for k, (name, value) in enumerate(zip(params, values, strict=True), 1)}
        for step, numbers, _ in follow(one.train, at, dim=one.dim):
            if shown := {key: row[0] for key, row in numbers.items() if key in columns and np.isfinite(row[0])}:
                yield step, shown

    columns = {}
    for panel in spec["panels"]:
        columns |= dict(zip(panel["keys"], (names.index(series["name"]) for series in panel["series"]), strict=True))
    here = [
        (float(row[len(values)]), {key: (float(row[k]), None) for key, k in columns.items() if row[k]}) for row in rows
    ]
    here = [(step, numbers) for step, numbers in here if numbers]
    assert [(step, numbers.keys()) for step, numbers in here] == [(step, numbers.keys()) for step, numbers in train()]
    try:
        compare(here, train)
    except ValueError as error:
        pytest.fail(f"At {values} {error}.")
    with pytest.raises(ValueError, match=" tape"):  # it sees that much of a difference
        compare(here, lambda: train(1.03))


@each_page_that_trains
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_the_page_trains_as_pytorch_does(visit, name, scheme):
    page, trains, tried = visit(name, scheme), demos_of_page(name), 0
    for demo, chart, spec in zip(demos(page), read_charts(name), read_specs(name), strict=True):
        if not chart["state"].get("program"):
            expect(demo.locator("[data-trains]")).to_have_count(0)
            continue
        assert demo.locator(".wd").get_attribute("data-trains") is not None
        for seed in range(3) if scheme == "http" else [3]:
            assert_trains_as_pytorch(page, demo, chart, spec, trains[spec["title"]], seed)
        tried += 1
    assert tried


def turn_a_sign(route):
    """Answer with a program one of whose graphs adds where it should subtract."""
    script, turned = route.fetch().text(), False

    def turn(found):
        nonlocal turned
        data = base64.b64decode(found[1])
        # The field of an ONNX node that names its operation.
        other = data if turned else data.replace(b"\x22\x03Sub", b"\x22\x03Add", 1)
        turned |= other != data
        return f'"data":"{base64.b64encode(other).decode()}"'

    body = re.sub('"data":"([^"]*)"', turn, script)
    assert turned
    route.fulfill(body=body, content_type="text/javascript")


@pytest.mark.parametrize("name", [HOME, "book/how-it-trains.html"])
def test_a_graph_with_a_wrong_sign_is_caught(visit, name):
    page, chart, spec = visit(name), read_charts(name)[0], read_specs(name)[0]
    page.route("**/demos/*-program-*", turn_a_sign)
    with pytest.raises(pytest.fail.Exception, match="the tape says"):
        assert_trains_as_pytorch(page, demos(page)[0], chart, spec, demos_of_page(name)[spec["title"]], seed=0)
    page.unroute("**/demos/*-program-*")


def test_a_dozen_demos_train_in_seven_chapters():
    trainable = {name: [c for c in read_charts(name) if c["state"].get("program")] for name in WITH_DEMOS}
    assert sum(map(len, trainable.values())) >= 12
    assert sum(map(bool, trainable.values())) >= 7


def test_what_makes_no_sense_is_said_and_nothing_is_lost(visit):
    page = visit(HOME)
    demo = demos(page)[0]
    field, wrong, chart = demo.locator(".wd-number").first, demo.locator(".wd-wrong").first, demo.locator(".wd")
    before = chart.get_attribute("data-at")
    for typed in ("-1", "NaN", "much", "", "1e999"):
        field.fill(typed)
        field.press("Enter")
        expect(wrong).to_have_text(f"λ must be a finite number that is not negative, but it is {typed or 'nothing'}.")
        expect(chart).to_have_attribute("data-at", before)
    field.fill("1e9")
    field.press("Enter")
    expect(wrong).to_be_empty()
    expect(chart).to_have_attribute("data-state", "diverged")
    expect(demo.locator(".wd-message")).to_contain_text("diverged: at epoch 1 ")
    press_button(demo, "Reset")
    expect(chart).to_have_attribute("data-at", before)
    expect(demo.locator(".wd-badge")).to_have_text("recorded")


def test_a_share_of_units_to_drop_is_below_one(visit):
    page = visit("book/dropout.html")
    demo = page.locator(".wd-demo:has([data-trains])").first
    demo.scroll_into_view_if_needed()
    field = demo.locator(".wd-number").first
    for typed in ("1", "1.5", "-0.1"):
        field.fill(typed)
        field.press("Enter")
        expect(demo.locator(".wd-wrong").first).to_contain_text(f"must be at least 0 and below 1, but it is {typed}.")


def test_a_move_takes_the_place_of_the_last_and_a_link_opens_any_value(visit):
    page = visit(HOME)
    demo = demos(page)[0]
    field = demo.locator(".wd-number").first
    for value in np.geomspace(0.011, 7.7, 12):
        field.fill(f"{value:.4g}")
        field.press("Enter")
    expect(demo.locator(".wd-badge")).to_have_text(re.compile("trained here"))
    expect(demo.locator(".wd-summary")).to_contain_text("λ = 7.7,")
    press_button(demo, "Link")
    said = demo.locator(".wd-summary").inner_text()
    other = visit(HOME)
    other.goto("about:blank")
    other.goto(page.url)
    expect(other.locator(".wd-badge").first).to_have_text(re.compile("trained here"))
    expect(other.locator(".wd-summary").first).to_have_text(said)
    demos(other)[0].locator("input[type=range]").first.press("ArrowRight")  # to the stop beside it
    expect(other.locator(".wd-badge").first).to_have_text("recorded")
    expect(other.locator(".wd-summary").first).to_contain_text("λ = 10,")


NO_WASM = """window.Worker = class {
    postMessage() { setTimeout(() => this.onerror({ message: "no WebAssembly" })); }
    terminate() {}
};"""


@pytest.mark.parametrize(
    "failure", ["no WebAssembly", "window.Worker = function () { throw new Error('no workers') }", "offline"]
)
def test_where_nothing_can_train_the_record_stays(browser, site, failure):
    with browser.new_context(**DESK) as context:
        page = context.new_page()
        if failure == "offline":
            page.route("**/demos/runtime-*", lambda route: route.abort())
        elif failure == "no WebAssembly":
            page.add_init_script(NO_WASM)
        else:
            page.add_init_script(failure)
        page.goto(site["http"] + HOME)
        demo = page.locator(".wd-demo").first
        field = demo.locator(".wd-number").first
        field.fill("0.1234")
        field.press("Enter")
        expect(demo.locator(".wd-message")).to_contain_text("cannot train here")
        expect(demo.locator(".wd-summary")).to_contain_text("recorded at λ = 0.1")
        demo.locator("input[type=range]").first.press("ArrowRight")
        expect(demo.locator(".wd-message")).to_be_empty()
        if failure == "offline":  # and is there again
            page.unroute("**/demos/runtime-*")
            field.fill("0.1234")
            field.press("Enter")
            expect(demo.locator(".wd-badge")).to_have_text(re.compile("trained here"))


def test_where_one_demo_fails_the_others_train_on(browser, site):
    name = "book/pytorch.html"
    first = next(c["state"]["program"]["name"] for c in read_charts(name) if c["state"].get("program"))
    with browser.new_context(**DESK) as context:
        page = context.new_page()
        page.route(f"**/demos/{first}.js", lambda route: route.abort())
        open_page(page, site["http"], name)
        broken, sound = page.locator(".wd-demo:has([data-trains])").all()[:2]

        def ask(demo, value, said):
            demo.scroll_into_view_if_needed()
            field = demo.locator(".wd-number").first
            field.fill(value)
            field.press("Enter")
            expect(demo.locator(said)).to_have_text(re.compile("trained here|cannot train here"), timeout=60_000)

        ask(sound, "0.0123", ".wd-badge")
        ask(broken, "0.0123", ".wd-message")
        ask(sound, "0.0234", ".wd-badge")


def test_nothing_of_it_comes_before_it_is_asked_for(browser, site):
    with browser.new_context(**DESK) as context:
        page = context.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(site["http"] + HOME)
        demo = page.locator(".wd-demo").first
        demo.locator("input[type=range]").first.press("ArrowRight")
        page.wait_for_load_state("networkidle")
        assert not [url for url in asked if re.search("runtime|program|trainer", url)]
