"""The forms on the built pages, against the Python that they speak for."""

import math
import random

import pytest
from playwright.sync_api import expect
from test_site import PHONE

from weightdecay.convert import FORMS, LOSSES, ONE_OUTPUT, RANGE, NoEquivalent, convert
from weightdecay.diagnose import ADAM, BOTH, SCHEDULES, VERDICTS, diagnose

READ = """(form) => ({
    message: form.querySelector(".wd-message").textContent,
    rows: Object.fromEntries([...form.querySelectorAll("td")].map((one) => [one.dataset.name, one.dataset.value])),
    notes: Object.fromEntries([...form.querySelectorAll("td")].map(
        (one) => [one.dataset.name, one.parentNode.querySelector("small")?.textContent ?? ""])),
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
        "schedule": rng.choice([False, True]),
        "loss": rng.choice(list(LOSSES)),
        "target_loss": rng.choice(list(LOSSES)),
        "momentum": rng.choice([0, 0, 0.9, None]),
        "lr": rng.choice([None, 10 ** rng.uniform(-5, 0), 10 ** rng.uniform(-5, 0), 1e-320]),
        "n": rng.choice([None, rng.randint(1, 10**6)]),
        "batch_size": batch_size,
        "m": rng.choice([None, None, batch_size and rng.randint(1, batch_size)]),
        "outputs": rng.choice([None, 1, 3]),
        "epochs": rng.choice([None, rng.randint(1, 1000)]),
    }


def ask(options, target):
    """What Python answers: (kind, the number with its remark, or the beginning of the sentence)."""
    try:
        return "number", convert(**options, target=target)
    except NoEquivalent as reason:
        return "none", str(reason)
    except ValueError as reason:
        return ("none", RANGE) if str(reason) == RANGE else ("asked", "Give ")


def test_the_converter_gives_what_python_gives(converter):
    rng, told = random.Random(0), {"number": 0, "none": 0, "asked": 0}
    for _ in range(200):
        values = draw(rng)
        source = FORMS[values["source"]]
        seen = converter.evaluate(FILL_AND_READ, values)
        if source.inverse and not values["lambd"]:
            assert seen["message"] == "C must be a finite number above 0, but it is 0."
            continue
        assert seen["message"] == ""
        options = values | ({"optimizer": source.optimizers[0]} if len(source.optimizers) == 1 else {})
        remarks = {title: sentence for titles, sentence in seen["remarks"] for title in titles.split("; ")}
        assert remarks.get(f"Where your λ comes from: {source.title}", "") == source.remark
        for target, form in FORMS.items():
            kind, expected = ask(options, target)
            told[kind] += 1
            if kind == "number":
                assert float(seen["rows"][target]) == pytest.approx(expected.lambd, rel=1e-12)
                assert form.remark in seen["notes"][target]
                assert (remarks.get(form.title) == ONE_OUTPUT) == (ONE_OUTPUT in expected.remark)
            else:
                assert remarks[form.title].startswith(expected)
    assert min(told.values()) > 200
    seen = converter.evaluate(FILL_AND_READ, {"lambd": 0, "source": "penalty", "n": 10})
    assert seen["rows"]["logistic"] == "Infinity"
    expect(converter.locator("td[data-name=logistic]")).to_have_text("inf")  # as Python writes it


COUNTS = {
    1e4: ["1e4", "10000", " 10000 ", "+10000", "1e+4", "10000,0"],
    6e4: ["60_000", "60 000", "60\u00a0000", "60\u202f000", "60\u2009000", "60'000", "60’000"],
    1281167: ["1281167", "1,281,167", "1.281.167", "1 281 167"],
    1024: ["1,024.0", "1.024,0", "1 024,0", "1_024.0"],
}
QUANTITIES = {
    1e-4: ["1e-4", "1E-4", "1e−4", "0.0001", "0,0001"],
    0.125: ["0.125", "0,125", ".125", ",125"],
    1.024: ["1.024", "1,0240"],
    1234.567: ["1234,567", "1234.567", "1 234,567", "1,234.567", "1.234,567"],
    5: ["5.", "5,"],
}
REFUSED = [
    ("n", "60,000", "60,000 can be read as 60000 or as 60: write 60000 or 60."),
    ("n", "60.000", "60.000 can be read as 60000 or as 60: write 60000 or 60."),
    ("batch_size", "1,024", "1,024 can be read as 1024 or as 1.024: write 1024."),
    ("batch_size", "1.024", "1.024 can be read as 1024 or as 1.024: write 1024."),
    ("epochs", "1,024", "1,024 can be read as 1024 or as 1.024: write 1024 or 1.0240."),
    ("lambd", "1,024", "1,024 can be read as 1024 or as 1.024: write 1024 or 1.024."),
    ("n", "2.5", "n must be a whole number above 0, but it is 2.5."),
    ("batch_size", "2,5", "B must be a whole number above 0, but it is 2,5."),
    ("m", "0.5", "m must be a whole number above 0, but it is 0.5."),
    ("outputs", "1.5", "k must be a whole number above 0, but it is 1.5."),
    ("n", "1_0", "n must be a whole number above 0, but it is 1_0."),
    ("n", "0x10", "n must be a whole number above 0, but it is 0x10."),
    ("n", "1,28,167", "n must be a whole number above 0, but it is 1,28,167."),
    ("n", "1,281.167.3", "n must be a whole number above 0, but it is 1,281.167.3."),
    ("n", "Infinity", "n must be a whole number above 0, but it is Infinity."),
    ("lambd", "-1", "λ must be a finite number that is not negative, but it is -1."),
    ("lambd", "−1", "λ must be a finite number that is not negative, but it is −1."),
    ("lambd", "much", "λ must be a finite number that is not negative, but it is much."),
    ("lambd", "1e999", "λ must be a finite number that is not negative, but it is 1e999."),
    ("lambd", "", "Give λ, the number to be converted."),
]


def test_a_number_may_be_typed_in_many_ways(converter):
    for number, ways in COUNTS.items():
        for typed in ways:
            seen = converter.evaluate(FILL_AND_READ, {"lambd": 1, "n": typed})
            assert (seen["message"], float(seen["rows"]["ridge"])) == ("", number), typed
    for number, ways in QUANTITIES.items():
        for typed in ways:
            seen = converter.evaluate(FILL_AND_READ, {"lambd": typed})
            assert (seen["message"], float(seen["rows"]["torch-sgd"])) == ("", number), typed


def test_what_is_ambiguous_or_no_such_number_is_refused_in_one_sentence(converter):
    fine = {"lambd": 0.01, "n": 1000, "batch_size": 10, "m": None, "outputs": None, "epochs": 30}
    for name, typed, sentence in REFUSED:
        seen = converter.evaluate(FILL_AND_READ, fine | {name: typed})
        assert (seen["message"], seen["rows"]) == (sentence, {}), typed


def test_a_form_says_what_makes_no_sense_and_stays_usable(converter):
    before = converter.evaluate(READ)
    converter.get_by_label("λ", exact=True).fill("much")
    expect(converter.get_by_role("alert")).to_contain_text("but it is much.")
    expect(converter.locator("td")).to_have_count(0)
    converter.get_by_label("λ", exact=True).fill(before["values"]["lambd"].replace(".", ","))  # a comma will do
    assert converter.evaluate(READ) == before | {"values": before["values"] | {"lambd": "0,01"}}


def test_what_stands_in_the_form_reaches_the_model_as_it_is_meant(converter):
    converter.get_by_label("learning rate is", exact=True).select_option("scheduled")
    converter.get_by_label("stands in", exact=True).select_option("paper")
    where = "Where your λ comes from: AdamW and SGDW as in their paper"
    expect(converter.locator("dt").first).to_have_text(where)
    expect(converter.locator("td[data-name=unscheduled]")).to_have_count(0)


def test_no_field_is_wider_than_its_place(visit):
    for name in ("book/convert.html", "book/in-practice.html"):
        page = visit(name, **PHONE)
        fields = page.locator(".wd-field")
        assert fields.count() > 4
        assert fields.evaluate_all(
            "(all) => all.every((one) => [...one.children].every((part) => part.offsetWidth <= one.clientWidth))"
        )


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
    forgetful = {"lr": 0.01, "lambd": 1, "steps": 4000, "momentum": 0, "dampening": 0, "steps_per_epoch": 1000}
    for i in range(300):
        values = {
            "lr": 10 ** rng.uniform(-6, 1),
            "lambd": rng.choice([0, 10 ** rng.uniform(-4, 2)]),
            "steps": rng.choice([1, 2, round(10 ** rng.uniform(0, 4))]),
            "momentum": rng.choice([0, None, rng.random()]),
            "dampening": rng.choice([None, 0, rng.random()]),
            "nesterov": rng.choice([False, False, True]),
            "steps_per_epoch": rng.choice([None, 10 ** rng.uniform(0, 4)]),
            "schedule": rng.choice(list(SCHEDULES)),
        } | (forgetful if i < 5 else {})
        seen = diagnosis.evaluate(FILL_AND_READ, values)
        if values["nesterov"] and values["dampening"]:
            assert seen["message"] == BOTH
            continue
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
        assert seen["remarks"] == [["torch.optim.Adam", ADAM]]
        verdicts.add(expected.verdict)
    assert verdicts == set(VERDICTS.values())


def test_the_diagnosis_asks_for_what_is_missing(diagnosis):
    steps = diagnosis.get_by_label("steps", exact=True)
    for typed, sentence in (
        ("2.5", "The number of steps must be a whole number from 1 to 2000000, but it is 2.5."),
        ("10,000", "10,000 can be read as 10000 or as 10: write 10000 or 10."),
        ("", "Give η, λ and the number of steps."),
    ):
        steps.fill(typed)
        expect(diagnosis.get_by_role("alert")).to_have_text(sentence)
