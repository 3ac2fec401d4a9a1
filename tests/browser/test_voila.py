"""Voilà, as `make present` starts it: demos without code, and a kernel for each reader."""

import json

import psutil
import pytest
from demos import CHAPTERS
from playwright.sync_api import expect
from servers import DESK, copy_until_demo, press_button, start_voila

CHAPTER = "Weight decay in PyTorch"
# Press a key on a slider and look before the browser can hear of the kernel's answer; then note each state.
PRESS = """(demo, key) => {
    const chart = demo.querySelector(".wd");
    chart.states = [];
    new MutationObserver(() => chart.states.push(chart.dataset.state)).observe(chart, { attributes: true });
    demo.querySelector(".noUi-handle").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    return chart.querySelector(".wd-summary").textContent;
}"""


@pytest.fixture(scope="module")
def voila(tmp_path_factory):
    """The address and the process of a server whose chapter ends with its first demo, after which kernels rest."""
    folder = tmp_path_factory.mktemp("book")
    copy_until_demo("pytorch.ipynb", folder, 0)
    with start_voila(folder) as (address, process):
        yield address, psutil.Process(process.pid)


@pytest.fixture(scope="module")
def pages(voila, watched):
    """Two readers of one chapter, each from the list of chapters, as soon as the first demo is there."""
    address, _ = voila
    with watched(address, **DESK) as one, watched(address, **DESK) as other:
        for page in (one, other):
            page.goto(address)
            page.get_by_role("link", name=CHAPTER).click(timeout=60_000)
        for page in (one, other):
            page.locator(".wd-demo").first.wait_for(timeout=120_000)
            page.locator(".wd-demo").first.scroll_into_view_if_needed()  # out of sight it is not drawn
            page.locator(".wd[data-at]").first.wait_for()
        yield one, other


@pytest.fixture
def readers(pages):
    """Both readers, before anybody moves the slider."""
    for page in pages:
        press_button(page.locator(".wd-demo").first, "Reset")
        expect(page.locator(".wd").first).to_have_attribute("data-at", "0")
    return pages


def press(page, key):
    """Move λ in the first demo; gives the sentence about the recorded curve at its new place."""
    return page.locator(".wd-demo").first.evaluate(PRESS, key)


def expect_retrained(page, sentence):
    """The fresh curve came in parts, and ended as the recorded one does."""
    chart = page.locator(".wd-demo .wd").first
    expect(chart).to_have_attribute("data-state", "done")
    expect(chart.locator(".wd-badge")).to_have_text("live on cpu")
    expect(chart.locator(".wd-summary")).to_have_text(sentence)
    assert "running" in chart.evaluate("(chart) => chart.states")


def test_the_first_page_lists_the_chapters(voila, watched):
    address, _ = voila
    with watched(address) as page:
        page.goto(address)
        expect(page.get_by_role("listitem")).to_have_count(len(CHAPTERS))


def test_readers_see_text_and_demos_but_no_code(readers):
    for page in readers:
        expect(page.get_by_role("heading", name=CHAPTER)).to_be_visible()
        expect(page.locator(".wd-canvas").first).to_be_visible()
        expect(page.locator("mjx-container").first).to_be_visible()
        assert "def train(" not in page.content()


def test_a_move_retrains_and_streams(readers):
    page, _ = readers
    expect_retrained(page, press(page, "End"))


def test_readers_do_not_disturb_each_other(readers):
    one, other = readers
    sentences = press(one, "End"), press(other, "PageUp")
    assert sentences[0] != sentences[1]
    expect_retrained(one, sentences[0])
    expect_retrained(other, sentences[1])
    expect_retrained(one, press(one, "ArrowLeft"))
    expect_retrained(other, sentences[1])


def kernel_of(page, server):
    """The process that trains for a page."""
    kernel_id = json.loads(page.locator("#jupyter-config-data").text_content())["kernelId"]
    return next(child for child in server.children() if kernel_id in " ".join(child.cmdline()))


def test_who_leaves_ends_their_own_kernel_only(voila, readers):
    _, server = voila
    one, other = readers
    left, kept = kernel_of(one, server), kernel_of(other, server)
    one.close(run_before_unload=True)
    for _ in range(300):
        other.wait_for_timeout(100)
        if not left.is_running():
            break
    assert not left.is_running()
    assert kept.is_running()
    expect_retrained(other, press(other, "End"))
