// Loads the widget scripts from this site, after the text has been painted, on pages that hold widgets.
(() => {
  if (!document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]')) return;
  const vendor = new URL(`${document.documentElement.dataset.content_root || "./"}vendor/`, document.baseURI).href;
  const load = (path) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = vendor + path;
      script.dataset.jupyterWidgetsCdn = vendor; // whatever is missing is asked of no other host
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${script.src} could not be loaded`));
      document.head.append(script);
    });
  const start = async () => {
    window.__jupyter_widgets_assets_path__ = `${vendor}html-manager/`;
    await load("requirejs/require.js");
    window.requirejs.config({ paths: { anywidget: `${vendor}anywidget/index` } });
    await load("html-manager/embed-amd.js");
  };
  // What the script of anywidget asks for, and browsers have since 2024 only.
  AbortSignal.any ??= (signals) => {
    const any = new AbortController();
    const stop = (signal) => any.abort(signal.reason);
    signals.forEach((one) => (one.aborted ? stop(one) : one.addEventListener("abort", () => stop(one))));
    return any.signal;
  };
  AbortSignal.timeout ??= (ms) => {
    const late = new AbortController();
    setTimeout(() => late.abort(), ms);
    return late.signal;
  };
  AbortSignal.prototype.throwIfAborted ??= function () {
    if (this.aborted) throw this.reason;
  };
  // A chart and a form set an attribute once they have drawn; then they take the place of their picture.
  document.querySelectorAll(".wd-place").forEach((place) => {
    place.classList.add("wd-coming");
    const wait = new MutationObserver(() => {
      if (!place.querySelector(".wd[data-at], .wd-form[data-state]")) return;
      wait.disconnect();
      place.classList.replace("wd-coming", "wd-drawn");
    });
    wait.observe(place, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-at", "data-state"] });
  });
  const soon = () => requestAnimationFrame(() => setTimeout(start));
  if (document.readyState === "complete") soon();
  else window.addEventListener("load", soon);
})();

// As it comes near the window: what is wider than the page, and so scrolls in itself, does so with the keyboard too;
// and code can be copied.
(() => {
  const look = ({ target }) => {
    if (target.scrollWidth > target.clientWidth + 1) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  };
  const offer = (cell) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "wd-copy", textContent: "copy" });
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(cell.querySelector("pre").textContent.trimEnd());
      button.textContent = "copied";
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
    cell.append(button);
  };
  const widths = new ResizeObserver((entries) => entries.forEach(look));
  const near = new IntersectionObserver((entries) => {
    for (const { target } of entries.filter((one) => one.isIntersecting)) {
      near.unobserve(target);
      if (target.matches(".cell_input")) offer(target);
      else widths.observe(target);
    }
  }, { rootMargin: "200px" });
  document.querySelectorAll("article :is(.cell_input, pre, .math-wrapper, .table-wrapper, .output)").forEach((one) => near.observe(one));
})();

// In what the search shows of a page, a formula is text, once.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const { htmlToText } = Search;
  Search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    page.querySelectorAll(".katex").forEach((one) => one.replaceWith(one.dataset.text));
    return htmlToText(page.documentElement.outerHTML, anchor);
  };
});

// The old role of a reference, which is no list item by today's rules: its list would count as empty.
document.querySelectorAll(".citation-list > [role=doc-biblioentry]").forEach((one) => { one.role = "listitem"; });

// On paper nobody can unfold anything, and ink is dark: print all that is folded away, in the light theme.
(() => {
  const { dataset } = document.body;
  let theme, unfolded = [];
  window.addEventListener("beforeprint", () => {
    theme = dataset.theme;
    dataset.theme = "light";
    unfolded = [...document.querySelectorAll("details:not([open])")];
    unfolded.forEach((one) => { one.open = true; });
  });
  window.addEventListener("afterprint", () => {
    dataset.theme = theme;
    unfolded.forEach((one) => { one.open = false; });
  });
})();
