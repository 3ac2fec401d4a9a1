"""The page of questions, and the terms that chapters explain: each answer leads to what shows it."""

import json
import re
from urllib.parse import urljoin

import pytest
from playwright.sync_api import expect
from servers import PAGES, ROOT
from terms import pattern
from test_pages import soup
from test_site import PHONE

QUESTIONS = "book/questions.html"
CHAPTERS = [name for name in PAGES if (ROOT / name.replace(".html", ".ipynb")).is_file()]


def sections():
    return [heading.parent for heading in soup(QUESTIONS).select("article h3")]


def text(tag):
    return " ".join(re.sub("[#¶]", "", tag.get_text()).split())


def test_each_question_has_a_short_answer_and_a_lasting_address():
    assert len(sections()) >= 60
    for section in sections():
        heading, answer, *_ = section.select("h3, p")
        (address,) = {
            one for one in [section["id"], *(span["id"] for span in section.select("span[id]"))] if one[:2] == "q-"
        }
        assert re.fullmatch(r"q-[a-z0-9-]+", address)
        assert 1 <= len(re.findall(r"[.?!](?= [A-Z“`τλ]|$)", text(answer))) <= 5, text(heading)
        assert not re.search(r"\bnan\b|\{|glue|ANSWER", text(answer))


def test_each_answer_leads_to_a_heading_that_is_there():
    for section in sections():
        *_, link = section.select("p a")
        page, _, anchor = link["href"].partition("#")
        target = soup(f"book/{page}")
        if anchor:
            place = target.find(id=anchor)
            assert place.name == "section" or place.find_parent("section"), link
        assert target.select_one("article h1")


def test_search_engines_get_the_same_questions_and_answers():
    (data,) = soup(QUESTIONS).select("script[type='application/ld+json']")
    asked = json.loads(data.string)
    assert asked["@type"] == "FAQPage"
    assert [one["name"] for one in asked["mainEntity"]] == [text(section.h3) for section in sections()]
    for one, section in zip(asked["mainEntity"], sections(), strict=True):
        said = one["acceptedAnswer"]["text"]
        assert len(said) > 60
        numbers = re.findall(r"\d+\.\d+", text(section.p))
        assert [number for number in numbers if number not in said] == [], said


def test_each_number_leads_to_the_sentence_that_prints_it():
    count = 0
    for name in PAGES:
        for link in soup(name).select("a.wd-number"):
            page, _, anchor = link["href"].partition("#")
            place = soup(urljoin(name, page)).find(id=anchor)
            near = [place, *(one for one in place.find_next_siblings() if not one.get("id", "").startswith("says-"))]
            assert any(text(link) in text(one).replace("−", "-") for one in near), link
            assert "`" not in text(link)
            count += 1
        assert len(soup(name).select("a.wd-number")) == len(soup(name).select(".pasted-text")), name
    assert count > 100


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_link_to_a_question_opens_it_and_its_answer_the_place(site, watched, scheme):
    with watched(site[scheme], **PHONE) as page:
        page.goto(f"{site[scheme]}{QUESTIONS}#q-loss-up")
        expect(page.locator("#q-loss-up h3, h3:near(#q-loss-up)").first).to_be_in_viewport()
        page.get_by_role("link", name="My loss went up when I switched it on").last.click()
        expect(page.get_by_role("heading", name="My loss went up when I switched it on")).to_be_in_viewport()


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_explains_each_term_once_and_where_it_stands_first(name):
    links = soup(name).select("a.wd-term")
    assert len(links) >= 3
    places = [link["href"] for link in links]
    assert len(set(places)) == len(places)
    for link in links:
        page, _, anchor = link["href"].partition("#")
        entry = soup(f"book/{page}").find(id=anchor)
        assert pattern(text(entry)).fullmatch(text(link))
        words = re.findall(r"[A-Za-z]{3,}", link["title"])
        assert len(words) > 3
        assert set(words) <= set(re.findall(r"[A-Za-z]{3,}", text(entry.find_next("dd").p)))
        assert not link.find_parent(["h1", "h2", "h3", "pre", "table"])
    assert not soup(name).select("#sources a.wd-term")


def test_each_term_leads_to_where_it_is_explained():
    entries = soup("book/glossary.html").select("dl.glossary > dt")
    assert len(entries) > 50
    for entry in entries:
        link = [
            one for one in entry.find_next("dd").select("a") if ".html" in one["href"] and "glossary" not in one["href"]
        ]
        assert link, text(entry)


@pytest.mark.parametrize(
    ("term", "sentence", "found"),
    [
        ("bias", "Biases stay, as a bias does.", "Biases"),
        ("bias", "It is biased.", None),
        ("AdamW", "by AdamW's step", "AdamW"),
        ("AdamW", "`torch.optim.adamw`", None),
        ("L2 penalty", "an L2 penalty", "L2 penalty"),
        ("L2-SP", "called L2-SP.", "L2-SP"),
        ("early stopping", "Early stopping is", "Early stopping"),
        ("‖w‖", "see ‖w‖ fall", "‖w‖"),
    ],
)
def test_a_term_is_a_word_by_itself(term, sentence, found):
    match = pattern(term).search(sentence)
    assert (match and match[0]) == found
