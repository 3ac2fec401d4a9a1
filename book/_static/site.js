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

// What searches is fetched when somebody turns to it: at the box or its sign, with the key /, or on the page of the search.
(() => {
  const box = document.querySelector(".sidebar-search");
  const page = document.getElementById("search-results");
  const root = new URL(document.documentElement.dataset.content_root, location.href).href;
  let search;
  const load = () => (search ??= weightdecay.fetchScript("../search").then(({ start }) => {
    const fetched = Promise.all([weightdecay.fetchScript("../places"), weightdecay.fetchScript("../minisearch")]);
    return start(fetched.then(([places]) => places), root, page);
  }));
  const open = (event) => {
    event.preventDefault();
    box.focus({ preventScroll: true }); // and what is typed meanwhile is kept
    load().then((show) => {
      show(box.value);
      box.value = "";
    }, () => { search = undefined; });
  };
  box.addEventListener("input", open);
  document.querySelectorAll(".sidebar-search, .wd-search").forEach((one) => one.addEventListener("click", open));
  document.addEventListener("keydown", (event) => {
    const busy = event.target.closest("input, textarea, select, button, .wd-demo") || event.ctrlKey || event.altKey || event.metaKey;
    if (event.key === "/" && !busy) open(event);
  });
  if (page) load();
})();

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
