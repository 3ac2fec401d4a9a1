"""How long a reader waits after moving a slider: for the recorded curve on the page, for a fresh one with a kernel."""

import time

from servers import DEMO, HANDLE, open_browser, open_page, serve_site, start_lab

# Moves the page's first slider by arrow keys. Gives, for every move, the milliseconds from the key to the moment at
# which the chart stood at the new position in each of some states.
MOVE = """async ([moves, states, handles]) => {
    const demo = document.querySelector(".wd-demo");
    const [handle, chart] = [demo.querySelector(handles), demo.querySelector(".wd")];
    const times = [];
    for (let i = 0; i < moves; i++) {
        const before = chart.dataset.at, key = i % 2 ? "ArrowLeft" : "ArrowRight";
        const start = performance.now(), reached = {};
        handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        await new Promise((resolve) => {
            const look = () => {
                if (chart.dataset.at === before) return;
                for (const state of states) {
                    if (state.includes(chart.dataset.state)) reached[state] ??= performance.now() - start;
                }
                if (Object.keys(reached).length < states.length) return;
                observer.disconnect();
                resolve();
            };
            const observer = new MutationObserver(look);
            observer.observe(chart, { attributes: true });
        });
        times.push(states.map((state) => reached[state]));
        await new Promise(requestAnimationFrame);  // let the browser paint
    }
    return times;
}"""


def static_redraw_ms(page, moves=40):
    """Milliseconds from the key to the redrawn chart, on a built page."""
    return [drawn for (drawn,) in page.evaluate(MOVE, [moves, ["recorded"], HANDLE])]


def lab_latency(page, moves=15):
    """Milliseconds from the key to the first frame of the fresh curve, and to its last, with a kernel."""
    return [list(times) for times in zip(*page.evaluate(MOVE, [moves, ["running done", "done"], HANDLE]), strict=True)]


def measure_static():
    """`static_redraw_ms` on the built PyTorch chapter."""
    with open_browser() as browser, serve_site() as site:
        page = browser.new_page()
        open_page(page, site, "book/pytorch.html")
        return static_redraw_ms(page)


# Types a value into the first slider of a demo that trains here. Gives the milliseconds from then to the first frame of
# the fresh curve, and those that the training itself took.
TRAIN = """async ([demo, value]) => {
    const chart = demo.querySelector(".wd"), field = demo.querySelector(".wd-number");
    const start = performance.now();
    let first = null;
    field.value = value;
    field.dispatchEvent(new Event("change"));
    await new Promise((resolve) => {
        new MutationObserver((_, observer) => {
            if (["running", "done", "diverged"].includes(chart.dataset.state)) first ??= performance.now() - start;
            if (["done", "diverged"].includes(chart.dataset.state)) resolve(observer.disconnect());
        }).observe(chart, { attributes: true });
    });
    return [first, 1000 * Number(chart.querySelector(".wd-badge").textContent.match(/in ([\\d.e-]+) s/)[1])];
}"""


def measure_training(name, moves=5):
    """For each demo of a built page that trains there: its title, and per move the milliseconds of `TRAIN`.

    The first move loads the runtime, and is left out. Also gives how many milliseconds that took.
    """
    with open_browser() as browser, serve_site() as site:
        page = browser.new_page()
        open_page(page, site, name)
        found, loaded = {}, None
        for demo in page.locator(".wd-demo:has([data-trains])").all():
            place, times = demo.element_handle(), []
            for k in range(moves + 1):
                began = time.perf_counter()
                times.append(page.evaluate(TRAIN, [place, f"{0.01137 + 0.00113 * k:.5f}"]))
                loaded = loaded or 1000 * (time.perf_counter() - began) - times[0][1]
            found[demo.locator(".wd").get_attribute("aria-label")] = times[1:]
        return found, loaded


def measure_lab():
    """`lab_latency` in the PyTorch chapter."""
    with open_browser() as browser, start_lab() as lab:
        page = browser.new_page()
        lab.run(page, "pytorch.ipynb")
        demo = page.locator(".wd-demo").first
        demo.locator(HANDLE).focus()  # JupyterLab holds what is out of sight back
        demo.locator(DEMO).wait_for()
        return lab_latency(page)
