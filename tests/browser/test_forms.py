"""The forms on the built pages, against the Python that they speak for."""

import math
import random

import pytest
from playwright.sync_api import expect

from weightdecay.convert import FORMS, LOSSES, NoEquivalent, convert
from weightdecay.diagnose import SCHEDULES, VERDICTS, diagnose

READ = """(form) => ({
    message: form.querySelector(".wd-message").textContent,
    rows: Object.fromEntries([...form.querySelectorAll("td")].map((one) => [one.dataset.name, one.dataset.value])),
    remarks: [...form.querySelectorAll("dt")].map((one) => [one.textContent, one.nextElementSibling.textContent]),
    values: Object.fromEntries([...form.elements].map((one) => [one.name, one.value])),
})"""
FILL_AND_READ = f"""(form, values) => {{
    for (const [name, value] of Object.entries(values)) form.elements[name].value = value ?? "";
    form.elements[0].dispatchEvent(new Event("input"));
    return ({READ})(form);
}}"""


@pytest.fixture(params=["http", "file"])
def converter(visit, request):
    return visit("book/convert.html", request.param).locator("form.wd-form").first


def draw(rng):
    """Random contents of the converter, with some fields empty."""
    batch_size = rng.choice([None, rng.randint(1, 512)])
    return {
        "lambd": rng.choice([0, 10 ** rng.uniform(-6, 1)]),
        "source": rng.choice(list(FORMS)),
        "optimizer": rng.choice(["sgd", "adam"]),
        "schedule": rng.choice(["", "yes"]),
        "loss": rng.choice(list(LOSSES)),
        "target_loss": rng.choice(list(LOSSES)),
        "momentum": rng.choice([0, 0, 0.9, None]),
        "lr": rng.choice([None, 10 ** rng.uniform(-5, 0)]),
        "n": rng.choice([None, rng.randint(1, 10**6)]),
        "batch_size": batch_size,
        "m": rng.choice([None, None, batch_size and rng.randint(1, batch_size)]),
        "epochs": rng.choice([None, rng.randint(1, 1000)]),
    }


def ask(options, target):
    """What Python answers: (kind, the number or the beginning of the sentence)."""
    try:
        return "number", convert(**options, target=target).lambd
    except NoEquivalent as reason:
        return "none", str(reason)
    except ValueError:
        return "asked", "Give "


def test_the_converter_gives_what_python_gives(converter):
    rng, told = random.Random(0), {"number": 0, "none": 0, "asked": 0}
    for _ in range(200):
        values = draw(rng)
        seen = converter.evaluate(FILL_AND_READ, values)
        assert seen["message"] == ""
        allowed = FORMS[values["source"]].optimizers
        options = values | {"schedule": bool(values["schedule"]), "momentum": values["momentum"] or 0}
        options["optimizer"] = values["optimizer"] if len(allowed) == 2 else allowed[0]
        remarks = {title: sentence for titles, sentence in seen["remarks"] for title in titles.split("; ")}
        for target, form in FORMS.items():
            kind, expected = ask(options, target)
            told[kind] += 1
            if kind == "number":
                assert float(seen["rows"][target]) == pytest.approx(expected, rel=1e-12)
            else:
                assert remarks[form.title].startswith(expected)
    assert min(told.values()) > 200


def test_a_form_says_what_makes_no_sense_and_stays_usable(converter):
    before = converter.evaluate(READ)
    for typed, sentence in (
        ("-1", "λ must be a finite number that is not negative, but it is -1."),
        ("much", "λ must be a finite number that is not negative, but it is much."),
        ("1e999", "λ must be a finite number that is not negative, but it is 1e999."),
        ("", "Give λ, the number to be converted."),
    ):
        converter.get_by_label("λ", exact=True).fill(typed)
        expect(converter.get_by_role("alert")).to_have_text(sentence)
        expect(converter.locator("td")).to_have_count(0)
    converter.get_by_label("λ", exact=True).fill(before["values"]["lambd"].replace(".", ","))  # a comma will do
    assert converter.evaluate(READ) == before | {"values": before["values"] | {"lambd": "0,01"}}


def test_a_form_works_by_keyboard(converter):
    converter.get_by_label("stands in", exact=True).focus()
    converter.page.keyboard.type("PyTorch AdamW")
    expect(converter.get_by_label("optimizer", exact=True)).to_be_disabled()
    expect(converter.get_by_label("optimizer", exact=True)).to_have_value("adam")
    expect(converter.locator("td[data-name=paper]")).to_have_text("0.001")


@pytest.fixture(params=["http", "file"])
def diagnosis(visit, request):
    return visit("book/in-practice.html", request.param).locator("form.wd-form").first


def test_the_diagnosis_gives_what_python_gives(diagnosis):
    rng, verdicts = random.Random(0), set()
    for _ in range(120):
        values = {
            "lr": 10 ** rng.uniform(-6, 1),
            "lambd": rng.choice([0, 10 ** rng.uniform(-4, 2)]),
            "steps": rng.choice([1, 2, round(10 ** rng.uniform(0, 4))]),
            "momentum": rng.choice([0, 0, rng.random()]),
            "steps_per_epoch": rng.choice([None, 10 ** rng.uniform(0, 4)]),
            "schedule": rng.choice(list(SCHEDULES)),
        }
        seen = diagnosis.evaluate(FILL_AND_READ, values)
        assert seen["message"] == ""
        expected = diagnose(**values)
        numbers = {"shrink": 100 * (1 - expected.left)} | {
            name: getattr(expected, name) for name in ("timescale", "epochs", "runs")
        }
        rows = {name: float(value) for name, value in seen["rows"].items() if value}
        assert rows.keys() == {name for name, number in numbers.items() if math.isfinite(number)}
        for name, number in rows.items():
            assert number == pytest.approx(numbers[name], rel=1e-6, abs=1e-9), (name, values)
        assert diagnosis.locator(".wd-group").inner_text() == expected.verdict
        verdicts.add(expected.verdict)
    assert verdicts == set(VERDICTS.values())


def test_the_diagnosis_asks_for_what_is_missing(diagnosis):
    diagnosis.get_by_label("steps", exact=True).fill("2.5")
    expect(diagnosis.get_by_role("alert")).to_have_text("The number of steps must be a whole number, but it is 2.5.")
    diagnosis.get_by_label("steps", exact=True).fill("")
    expect(diagnosis.get_by_role("alert")).to_have_text("Give η, λ, the number of steps and μ.")
