"""How long a reader waits after moving a slider: for the recorded curve on the page, for a fresh one with a kernel."""

from servers import DEMO, HANDLE, open_browser, open_page, serve_site, start_lab

# Moves the page's first slider by arrow keys. Gives, for every move, the milliseconds from the key to the moment at
# which the chart stood at the new position in each of some states.
MOVE = """async ([moves, states, handles]) => {
    const demo = document.querySelector(".wd-demo");
    const [handle, chart] = [demo.querySelector(handles), demo.querySelector(".wd")];
    const position = (which = "now") =>
        Number(handle[which === "now" ? "value" : which] ?? handle.getAttribute(`aria-value${which}`));
    const times = [];
    let key = "ArrowRight";
    for (let i = 0; i < moves; i++) {
        if (position() === position("min")) key = "ArrowRight";
        if (position() === position("max")) key = "ArrowLeft";
        const start = performance.now(), reached = {};
        handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        await new Promise((resolve) => {
            const look = () => {
                if (Number(chart.dataset.at) !== position()) return;
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


def measure_lab():
    """`lab_latency` in the PyTorch chapter."""
    with open_browser() as browser, start_lab() as lab:
        page = browser.new_page()
        lab.run(page, "pytorch.ipynb")
        demo = page.locator(".wd-demo").first
        demo.locator(HANDLE).focus()  # JupyterLab holds what is out of sight back
        demo.locator(DEMO).wait_for()
        return lab_latency(page)
