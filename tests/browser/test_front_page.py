"""The front page: what it is in one screen, then ten findings with the demos that show them."""

import re

import pytest
from playwright.sync_api import expect
from servers import DESK
from test_classroom_page import demo_links, is_right
from test_pages import soup
from test_site import HOME, PHONE

FINDINGS = ".wd-findings > li"
LEAD = "a:not(.wd-number)"  # besides the numbers, which lead to where they are printed
both_devices = pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])


@both_devices
def test_the_first_screen_is_title_sentence_slider_and_chart(visit, device):
    page = visit(HOME, **device)
    slider = page.locator(".wd-demo :is([role=slider], input[type=range])").first
    parts = [page.locator("article h1"), page.locator("article p").first, slider, page.locator(".wd canvas").first]
    for part in parts:
        expect(part).to_be_in_viewport(ratio=1)
    tops = [part.bounding_box()["y"] for part in parts]
    assert tops == sorted(tops)
    assert not page.locator("article").get_by_role("button", name="code").count()
    for fold in page.locator("article details").all():
        expect(fold).not_to_have_attribute("open", "")


def test_ten_findings_each_with_its_number_and_a_demo_of_it():
    cards = soup(HOME).select(FINDINGS)
    assert len(cards) == 10
    leads = {link: (page, state) for link, page, state in demo_links(HOME)}
    assert len({card.select_one(LEAD)["href"] for card in cards}) == 10
    for card in cards:
        (link,) = card.select(LEAD)
        page, state = leads[link["href"]]
        assert {"demo", "at"} <= state.keys()
        assert is_right(page, state)
        assert link.get_text() == state["demo"][0]
        sentence = card.p.get_text()
        assert re.fullmatch(r"[A-Zλ].*[^.?!]\.", sentence)
        assert not re.search(r"[.?!] [A-Z]", sentence)  # one
        numbers = card.select("strong .pasted-text")  # of the code: no other can be pasted
        assert numbers
        assert all(re.search(r"\d", one.get_text()) for one in numbers)


@both_devices
def test_findings_stand_in_one_column_on_a_phone_and_in_two_on_a_desk(visit, device):
    page = visit(HOME, **device)
    lefts = {round(card.bounding_box()["x"]) for card in page.locator(FINDINGS).all()}
    assert len(lefts) == (2 if device is DESK else 1)


def test_findings_need_no_script_and_are_printed_whole(site, browser):
    with browser.new_context(java_script_enabled=False, **DESK) as context:
        page = context.new_page()
        page.goto(site["http"] + HOME)
        cards = page.locator(FINDINGS)
        for media in ("screen", "print"):
            page.emulate_media(media=media)
            assert [card for card in cards.all() if not card.is_visible()] == []
        page.emulate_media(media="screen")
        cards.first.locator(LEAD).click()
        expect(page.locator("h1")).to_contain_text("PyTorch")


def test_routes_and_signposts_lead_to_questions_cheat_sheet_converter_and_audit():
    page = soup(HOME)
    places = {f"book/{name}" for name in ("questions.html", "cheat-sheet.html", "convert.html")}
    audit = "book/in-practice.html#an-audit-of-your-model"
    for part in (".wd-routes", "#where-to-look"):
        assert places | {audit} <= {link["href"] for link in page.select(f"{part} a")}
    assert "book/in-practice.html" in {link["href"] for link in page.select("#where-to-look a")}
