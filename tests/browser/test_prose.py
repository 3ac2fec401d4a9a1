"""The built pages as a text to read: where code is folded, how it is opened, and what is printed."""

import pytest
from playwright.sync_api import expect
from servers import DESK, HTML, PAGES, ROOT, lay_out_all

CHAPTERS = [f"book/{path.stem}.html" for path in sorted((ROOT / "book").glob("*.ipynb"))]
CHAPTER, OTHER = "book/pytorch.html", "book/adamw.html"
PHONE = {"viewport": {"width": 375, "height": 667}, "has_touch": True, "is_mobile": True}
SEEN = """(selector) => [...document.querySelectorAll(selector)]
    .filter((one) => one.checkVisibility()).map((one) => one.textContent)"""
# Every mark that does not stand at the end of its sentence, in the last line of it.
ASTRAY = """() => [...document.querySelectorAll(".said > p + .code-mark")].filter((mark) => {
    if (!mark.checkVisibility()) return false;
    const line = [...mark.previousElementSibling.getClientRects()].at(-1), box = mark.getBoundingClientRect();
    return Math.abs(box.left - line.right) > 4 || box.bottom < line.top || box.top > line.bottom;
}).map((mark) => mark.previousElementSibling.textContent)"""


def code_seen(page):
    return page.evaluate(SEEN, "article .cell_input")


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_shows_sentences_and_not_their_code(visit, name, device):
    page = visit(name, **device)
    lay_out_all(page)
    assert page.locator(".said > p").count() >= 5
    assert page.evaluate(ASTRAY) == []
    shown = len(page.evaluate(SEEN, ".said"))
    assert code_seen(page)
    assert [code for code in code_seen(page) if "say(" in code] == []
    # Not in a solution that is opened either.
    page.locator("details.solution").evaluate_all("(all) => all.forEach((one) => { one.open = true; })")
    assert len(page.evaluate(SEEN, ".said")) > shown
    assert [code for code in code_seen(page) if "say(" in code] == []
    assert page.evaluate(ASTRAY) == []


def test_a_mark_opens_by_click_and_by_key(visit):
    page = visit(CHAPTER)
    fold = page.locator(".code-mark").first
    mark, code = fold.locator("summary"), fold.locator(".cell_input").last
    expect(mark).to_have_accessible_name("code of this sentence")
    expect(code).to_be_hidden()
    mark.click()
    expect(code).to_be_visible()
    expect(code).to_contain_text("say(")
    mark.click()
    expect(code).to_be_hidden()
    mark.press("Enter")
    expect(code).to_be_visible()


def test_a_mark_opens_by_touch(visit):
    fold = visit(CHAPTER, **PHONE).locator(".code-mark").first
    fold.locator("summary").tap()
    expect(fold.locator(".cell_input").last).to_be_visible()


def test_a_mark_is_quieter_than_its_sentence_until_one_points_at_it(visit):
    page = visit(CHAPTER)
    mark = page.locator(".code-mark summary").first
    strength = "(one) => Number(getComputedStyle(one, '::before').opacity)"
    size = "(one) => parseFloat(getComputedStyle(one, '::before').fontSize)"
    assert mark.evaluate(strength) < 1
    assert mark.evaluate(size) < page.locator(".said > p").first.evaluate(
        "(p) => parseFloat(getComputedStyle(p).fontSize)"
    )
    mark.hover()
    assert mark.evaluate(strength) == 1
    page.mouse.move(0, 0)
    mark.focus()
    page.keyboard.press("Shift+Tab")
    assert mark.evaluate(strength) < 1
    page.keyboard.press("Tab")
    assert mark.evaluate(strength) == 1


def test_the_switch_opens_all_code_and_is_remembered(visit):
    page = visit(CHAPTER)
    switch, folds = page.get_by_role("button", name="show all code"), page.locator(".code-fold")
    closed = page.locator(".code-fold:not([open])")
    assert folds.count() == closed.count() > 20
    switch.press("Enter")
    expect(closed).to_have_count(0)
    expect(switch).to_have_attribute("aria-pressed", "true")
    expect(page.locator("details.solution[open]")).to_have_count(0)  # an answer is no code
    page.goto(page.url.replace(CHAPTER, OTHER))
    expect(page.locator(".code-fold").first).to_have_attribute("open", "")
    expect(closed).to_have_count(0)
    switch.click()
    assert closed.count() == folds.count()
    page.reload()
    expect(switch).to_have_attribute("aria-pressed", "false")
    assert closed.count() == folds.count()


def test_only_pages_with_more_than_one_fold_of_code_have_a_switch():
    texts = {name: (HTML / name).read_text(encoding="utf-8") for name in PAGES}
    switched = {name for name, text in texts.items() if 'class="all-code"' in text}
    assert switched == {name for name, text in texts.items() if text.count('<details class="code-fold') > 1}
    assert CHAPTER in switched
    assert "index.html" not in switched


def test_without_scripts_every_sentence_and_every_fold_works(site, browser):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(site["http"] + CHAPTER)
        expect(page.locator(".all-code")).to_be_hidden()
        expect(page.locator(".said > p").first).to_be_visible()
        page.locator(".code-mark summary").first.click()
        expect(page.locator(".code-mark .cell_input").last).to_be_hidden()
        expect(page.locator(".code-mark .cell_input").first).to_be_visible()


@pytest.mark.parametrize("pressed", [False, True])
def test_paper_has_the_code_that_teaches_and_every_solution(visit, pressed):
    page = visit(CHAPTER)
    if pressed:
        page.get_by_role("button", name="show all code").click()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate(SEEN, ".code-fold") == page.evaluate(SEEN, ".code-fold .cell_input, .all-code") == []
    code = "".join(code_seen(page))
    assert "def train(lambd" in code
    assert "def descend_without_half" in code  # of a solution
    assert "say(" not in code
    assert len(page.evaluate(SEEN, "details.solution .said > p")) >= 4
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert (page.locator(".code-fold[open]").count() > 0) == pressed
