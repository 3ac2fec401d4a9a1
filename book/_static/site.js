// Loads the widget scripts from this site, after the text has been painted, on pages that hold widgets.
(() => {
  if (!document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]')) return;
  const vendor = new URL(`${document.documentElement.dataset.content_root || "./"}vendor/`, document.baseURI).href;
  const load = (path) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = vendor + path;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${script.src} could not be loaded`));
      document.head.append(script);
    });
  const start = async () => {
    window.__jupyter_widgets_assets_path__ = `${vendor}html-manager/`;
    // The widget manager hands its labels to MathJax 2's queue; this page has MathJax 3, and no label holds maths.
    if (window.MathJax) window.MathJax.Hub ??= { Queue() {} };
    await load("requirejs/require.js");
    window.requirejs.config({ paths: { anywidget: `${vendor}anywidget/index` } });
    await load("html-manager/embed-amd.js");
  };
  const soon = () => requestAnimationFrame(() => setTimeout(start));
  if (document.readyState === "complete") soon();
  else window.addEventListener("load", soon);
})();

// The old role of a reference, which is no list item by today's rules: its list would count as empty.
document.querySelectorAll(".citation-list > [role=doc-biblioentry]").forEach((one) => { one.role = "listitem"; });

// On paper nobody can unfold anything, and ink is dark: print all that is folded away, in the light theme.
(() => {
  const html = document.documentElement;
  let theme, unfolded = [];
  window.addEventListener("beforeprint", () => {
    theme = html.dataset.theme;
    html.dataset.theme = "light";
    unfolded = [...document.querySelectorAll("details:not([open])")];
    unfolded.forEach((one) => { one.open = true; });
  });
  window.addEventListener("afterprint", () => {
    html.dataset.theme = theme;
    unfolded.forEach((one) => { one.open = false; });
  });
})();
