"""JupyterLab, where a kernel retrains the model at every move of a slider."""

import ast
import inspect
import random
import re
import subprocess

import nbformat
import pytest
from playwright.sync_api import expect
from servers import HANDLE, ROOT, press_button

FULL = re.compile(r"\bwd-full\b")
WINDOW = {"viewport": {"width": 1280, "height": 900}}
CHAPTER = "pytorch.ipynb"
OWN_CELLS = [
    """
    from matplotlib import pyplot as plt

    from weightdecay import frames, live, sweep
    """,
    """
    def steady(lambd):
        for step in range(1, 51):
            yield step, {"loss": (1 - lambd / 10) ** step}


    def fragile(lambd):
        if lambd == 1:
            raise ArithmeticError("no run at 1,\\nas a second line explains")
        yield from steady(lambd)


    live(fragile, sweep(steady, lambd=[0, 1, 2]), title="fragile")
    """,
    """
    def descend(lr):
        w = 1.0
        for step in range(1, 301):
            w -= lr * 10 * w
            yield step, {"loss": w * w}


    live(descend, sweep(descend, lr=[0.01, 1]), title="diverging")
    """,
    """
    def validate(lambd):
        for step in range(11):
            yield step, {"accuracy": 0.5 + lambd / 4} if step in (0, 10) else {"loss": 1}


    live(validate, sweep(validate, lambd=[0, 1]), panels={"": ["accuracy"]}, limits={"": (0, 1)}, title="gaps")
    """,
    """
    def draw(lambd):
        figure, axes = plt.subplots()
        axes.plot([0, lambd])
        axes.set(ylim=(0, 3))
        return figure


    frames(draw, "A line that climbs to {lambd}.".format, lambd=[1, 2], title="pictures")
    """,
    """
    import time


    def slow(lambd):
        time.sleep(0.7)
        yield from steady(lambd)


    live(steady, sweep(slow, lambd=[0, 1, 2]), title="slow")
    """,
    """
    from weightdecay.convert import converter

    form = converter(lambd=3, n=20)
    form
    """,
]


@pytest.fixture(scope="module")
def chapter(lab, watched):
    """A page where all cells of the chapter were run."""
    with watched(lab.url, **WINDOW) as page:
        lab.run(page, CHAPTER)
        yield page


@pytest.fixture(scope="module")
def in_kernel(lab, chapter):
    """Evaluates an expression in the chapter's kernel."""
    with lab.kernel(CHAPTER) as client:

        def evaluate(expression):
            asked = {"user_expressions": {"value": expression}, "silent": True}
            reply = client.execute("import threading", **asked, reply=True, timeout=30)
            return ast.literal_eval(reply["content"]["user_expressions"]["value"]["data"]["text/plain"])

        yield evaluate


@pytest.fixture
def demo(chapter):
    """The chapter's first demo, as it is before anybody moves its slider."""
    demo = chapter.locator(".wd-demo").first
    press_button(demo, "Reset")
    expect(demo.locator(".wd")).to_have_attribute("data-at", "0")
    return demo


@pytest.fixture(scope="module")
def own_demos(lab, watched):
    """Demos by their title: some that go wrong on purpose, and one of pictures."""
    cells = [nbformat.v4.new_code_cell(inspect.cleandoc(cell)) for cell in OWN_CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), lab.folder / "own.ipynb")
    with watched(lab.url, **WINDOW) as page:
        lab.run(page, "own.ipynb")
        yield lambda title: page.locator(f".wd-demo:has([aria-label='{title}']), form[aria-label='{title}']")


def test_every_cell_of_the_chapter_runs(chapter):
    expect(chapter.locator("[data-mime-type='application/vnd.jupyter.error']")).to_have_count(0)


def test_no_question_about_news_pops_up(chapter):
    expect(chapter.get_by_text("Jupyter news")).to_have_count(0)
    expect(chapter.locator(".Toastify__toast")).to_have_count(0)
    started = subprocess.run(["make", "--dry-run", "lab"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "JUPYTER_CONFIG_PATH=present " in started  # the settings of these tests


def test_a_move_shows_the_recorded_curve_at_once_and_then_the_same_one_retrained(demo):
    chart, badge, summary = demo.locator(".wd"), demo.locator(".wd-badge"), demo.locator(".wd-summary")
    expect(badge).to_have_text("recorded")
    for key in ("ArrowRight", "End", "ArrowLeft"):
        before = summary.inner_text()
        # Looked at before the browser can hear of the kernel's answer.
        state, recorded = demo.locator(HANDLE).evaluate(
            """(handle, key) => {
                handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
                const chart = handle.closest(".wd-demo").querySelector(".wd");
                return [chart.dataset.state, chart.querySelector(".wd-summary").textContent];
            }""",
            key,
        )
        assert state == "recorded"
        assert recorded != before
        expect(chart).to_have_attribute("data-state", "done")
        expect(badge).to_have_text("live on cpu")
        expect(summary).to_have_text(recorded)


def test_a_burst_of_moves_leaves_the_curve_of_the_last_one(demo, in_kernel):
    chart, handle, mouse = demo.locator(".wd"), demo.locator(HANDLE), demo.page.mouse
    threads = in_kernel("[thread.ident for thread in threading.enumerate()]")
    track = demo.locator(".noUi-base").bounding_box()
    places = random.Random(0)
    handle.hover()
    mouse.down()
    for _ in range(50):
        mouse.move(track["x"] + places.random() * track["width"], track["y"])
    mouse.up()

    def check():
        last = int(float(handle.get_attribute("aria-valuenow")))
        expect(chart).to_have_attribute("data-state", "done")
        expect(chart).to_have_attribute("data-at", str(last))
        expect(demo.locator(".wd-badge")).to_have_text("live on cpu")
        expect(demo.locator(".wd-message")).to_be_empty()

    check()
    # `join` waits for a thread that has just shown its last curve; it returns None.
    others = f"(thread for thread in threading.enumerate() if thread.ident not in {threads})"
    assert in_kernel(f"[thread.name for thread in {others} if thread.join(5) or thread.is_alive()]") == []
    check()


def test_pinned_and_fresh_curves_stay_until_reset(demo):
    chart, legend = demo.locator(".wd"), demo.locator(".wd-legend").first
    press_button(demo, "Pin")
    demo.locator(HANDLE).press("End")
    expect(chart).to_have_attribute("data-state", "done")
    expect(legend).to_contain_text("pinned λ = 0")
    press_button(demo, "Reset")
    expect(legend).not_to_contain_text("pinned")
    expect(chart).to_have_attribute("data-at", "0")
    # That no fresh curve comes can only be waited for: one takes about a tenth of a second.
    demo.page.wait_for_timeout(1000)
    expect(chart).to_have_attribute("data-state", "recorded")
    expect(demo.locator(".wd-badge")).to_have_text("recorded")


def test_an_exception_in_train_is_one_line_and_the_next_move_works(own_demos):
    demo = own_demos("fragile")
    chart, handle, message = demo.locator(".wd"), demo.locator(HANDLE), demo.locator(".wd-message")
    handle.press("ArrowRight")
    expect(chart).to_have_attribute("data-state", "error")
    expect(message).to_have_text("λ = 1: ArithmeticError: no run at 1,")
    handle.press("ArrowRight")
    expect(chart).to_have_attribute("data-state", "done")
    expect(chart).to_have_attribute("data-at", "2")
    expect(message).to_be_empty()


def test_a_diverged_run_says_at_which_step(own_demos):
    demo = own_demos("diverging")
    demo.locator(HANDLE).press("ArrowRight")
    expect(demo.locator(".wd")).to_have_attribute("data-state", "diverged")
    # The loss is 81 to the power of the step, and 81¹⁶² is the first that is no finite float.
    expect(demo.locator(".wd-message")).to_contain_text("diverged: at step 162 the loss is inf")


# How many pixels of the chart's middle column are as blue as the first curve.
BLUE = """(chart) => {
    const canvas = chart.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(canvas.width / 2, 0, 1, canvas.height);
    return data.filter((v, i) => i % 4 === 2 && v - data[i - 2] > 60 && data[i + 1] > 60).length;
}"""


def test_a_line_joins_values_that_are_there_and_no_value_is_made_up(own_demos):
    demo = own_demos("gaps")
    chart = demo.locator(".wd")
    for state in ("recorded", "done"):
        expect(chart).to_have_attribute("data-state", state)
        value = "0.5" if state == "recorded" else "0.75"
        expect(demo.locator(".wd-value")).to_have_text(value)
        expect(demo.locator(".wd-summary")).to_contain_text(f"at step 10: accuracy {value}")
        assert chart.evaluate(BLUE) > 1
        demo.locator(".wd-canvas").press("ArrowLeft")
        expect(demo.locator(".wd-value")).to_have_text("–")
        demo.locator(".wd-canvas").press("ArrowRight")
        demo.locator(HANDLE).press("ArrowRight")


def test_pictures_follow_the_slider(own_demos):
    demo = own_demos("pictures")
    picture = demo.locator(".wd-frame")
    expect(picture).to_have_attribute("alt", "A line that climbs to 1.")
    before = picture.get_attribute("src")
    demo.locator(HANDLE).press("ArrowRight")
    expect(picture).to_have_attribute("alt", "A line that climbs to 2.")
    expect(picture).not_to_have_attribute("src", before)
    assert picture.evaluate("(picture) => picture.decode().then(() => picture.naturalWidth)") > 0


def test_the_bar_of_a_sweep_leaves_nothing_behind(own_demos):
    cell = own_demos("slow").locator("xpath=ancestor::*[contains(@class, 'jp-CodeCell')]")
    expect(cell.locator(".jp-OutputArea-child")).to_have_count(1)


def test_a_form_answers_and_tells_python_what_was_typed(lab, own_demos):
    form = own_demos("The λ converter")
    expect(form.locator("td[data-name=ridge]")).to_have_text("60")
    form.get_by_label("training samples n").fill("50")
    expect(form.locator("td[data-name=ridge]")).to_have_text("150")
    with lab.kernel("own.ipynb") as client:
        asked = {"user_expressions": {"n": "form.values['n']"}, "silent": True}
        reply = client.execute("", **asked, reply=True, timeout=30)
    assert reply["content"]["user_expressions"]["n"]["data"]["text/plain"] == "50"


ENDLESS = """
import time

from weightdecay import live, sweep


def last(lambd, seconds=0):
    for step in range(1, 101):
        time.sleep(seconds)
        yield step, {"loss": lambd + step}


curves = sweep(last, lambd=[0, 1, 2])
live(lambda lambd: last(lambd, 2 * (lambd > 0)), curves, title="endless")
"""


@pytest.mark.parametrize("end", ["restarted", "dead"])
def test_a_kernel_that_is_gone_leaves_a_demo_that_replays(lab, watched, end):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(ENDLESS)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), lab.folder / "mortal.ipynb")
    with watched(lab.url, **WINDOW) as page:
        lab.run(page, "mortal.ipynb")
        demo = page.locator(".wd-demo")
        chart, badge = demo.locator(".wd"), demo.locator(".wd-badge")
        demo.locator(HANDLE).press("ArrowRight")
        expect(chart).to_have_attribute("data-state", "running")
        if end == "restarted":
            lab.restart("mortal.ipynb")
        else:
            with lab.kernel("mortal.ipynb") as client:
                client.execute("import os; os._exit(1)")
            page.get_by_role("button", name="Ok").click()
        expect(badge).to_have_text("stopped")
        expect(demo.locator(".wd-message")).to_contain_text("the kernel that trained this is gone")
        press_button(demo, "Reset")
        expect(badge).to_have_text("recorded")
        demo.get_by_role("button", name="Play").click()
        expect(chart).to_have_attribute("data-at", "2")
        expect(demo.get_by_role("button", name="Play")).to_be_visible()


# What edits or runs cells in JupyterLab's command mode or in that of Notebook 7.
COMMANDS = ["j", "k", "m", "y", "a", "b", "c", "x", "v", "d", "d", "z", "1", "o", "Enter", "Shift+Enter", "Shift+M"]
COMMANDS += ["Control+Enter", "Alt+Enter", "Control+x", "Control+v", "Control+a", "Control+Shift+-", "ArrowDown", "End"]
PARTS = {
    "a slider": ("fragile", ".noUi-handle"),
    "a chart": ("fragile", ".wd-canvas"),
    "a button": ("fragile", "[data-key=H]"),
    "a menu": ("fragile", ".wd-more > summary"),
    "a slider over pictures": ("pictures", ".noUi-handle"),
    "a list of choices": ("The λ converter", "select >> nth=1"),
    "a number of a form": ("The λ converter", "input >> nth=1"),
    "full screen": ("fragile", ""),
    "full screen over pictures": ("pictures", ""),
}


@pytest.mark.parametrize("part", PARTS)
def test_no_key_on_a_demo_edits_the_notebook(lab, own_demos, part):
    title, selector = PARTS[part]
    demo, path = own_demos(title), lab.folder / "own.ipynb"
    page = demo.page
    page.locator(".jp-Notebook .jp-InputPrompt").first.click()  # so that it is in command mode
    # Notebook 7 and older JupyterLabs listen while a key is on its way down.
    page.evaluate("""() => {
        window.heard = [];
        document.addEventListener("keydown", ({ key }) => heard.push(key), { capture: true, once: true });
    }""")
    if not selector:
        demo.locator(HANDLE).press("f")
        expect(demo).to_have_class(FULL)
        page.locator(".cm-content").first.focus()  # which lies behind it
    for key in COMMANDS:
        if selector:
            demo.locator(selector).focus()
        page.keyboard.press(key)
    assert page.evaluate("heard") == []
    if not selector:
        page.keyboard.press("Escape")
        expect(demo).not_to_have_class(FULL)
        selector = ".noUi-handle"
    with page.expect_response(lambda answer: answer.request.method == "PUT" and path.name in answer.url):
        demo.locator(selector).press("Control+s")  # which edits nothing
    cells = nbformat.read(path, as_version=4).cells
    assert [(cell.cell_type, cell.source) for cell in cells] == [("code", inspect.cleandoc(one)) for one in OWN_CELLS]
