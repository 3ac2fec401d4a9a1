"""How long a reader waits after moving a slider: for the recorded curve on the page, for a fresh one with a kernel."""

from statistics import median, quantiles

from servers import DEMO, open_browser, serve_site, start_lab

# Moves the page's first slider by arrow keys. Gives, for every move, the milliseconds from the key to the moment at
# which the chart stood at the new position in each of some states.
MOVE = """async ([moves, states]) => {
    const demo = document.querySelector(".wd-demo");
    const [handle, chart] = [demo.querySelector(".noUi-handle"), demo.querySelector(".wd")];
    const position = (which = "now") => Number(handle.getAttribute(`aria-value${which}`));
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
    return [drawn for (drawn,) in page.evaluate(MOVE, [moves, ["recorded"]])]


def lab_latency(page, moves=15):
    """Milliseconds from the key to the first frame of the fresh curve, and to its last, with a kernel."""
    return [list(times) for times in zip(*page.evaluate(MOVE, [moves, ["running done", "done"]]), strict=True)]


def _print(name, times):
    print(f"{name}: median {median(times):.1f} ms, 95 % below {quantiles(times, n=20)[-1]:.1f} ms, n = {len(times)}")


if __name__ == "__main__":
    with open_browser() as browser:
        with serve_site() as site:
            page = browser.new_page()
            page.goto(f"{site}book/pytorch.html")
            page.locator(DEMO).first.wait_for()
            _print("from key to recorded curve", static_redraw_ms(page))
            page.close()
        with start_lab() as lab:
            page = browser.new_page()
            lab.run(page, "pytorch.ipynb")
            page.locator(DEMO).first.scroll_into_view_if_needed()
            first, last = lab_latency(page)
            _print("from key to first frame of the fresh curve", first)
            _print("from key to the whole fresh curve", last)
            page.close()
