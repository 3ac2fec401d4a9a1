// Curves under the sliders: what is shown at their position, what it says in words, and whether a kernel still trains.

const SILENCE_MS = 10_000; // a kernel that trains beats every two seconds
const LOST = "the kernel that trained this is gone: run the cell again to train here.";

const lines = (demo) => {
  const { model, spec, sliders, at, root, flat, where, nearest } = demo;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const badge = element("span", "wd-badge", demo.bar, "recorded");
  const message = element("p", "wd-message", root);
  message.setAttribute("role", "alert");
  const area = element("div", "wd-panels", root);
  const summary = element("p", "wd-summary", root);
  summary.setAttribute("aria-live", "polite");

  const axis = makeAxis(spec.x);
  const curves = makeCurves(demo, axis);
  const { panels, recorded, fresh, shown, last } = curves;
  let pins = [];
  let quiet = false; // after Reset only recorded curves are shown, until a slider is moved
  const liveRun = () => (quiet ? null : curves.current());

  const marks = makeMarks({
    spec, axis, panels,
    // As far as the fresh run got, else as recorded.
    truth: (panel, series) => {
      const kept = recorded(panel, series);
      return fresh(panel, series, liveRun())?.map((v, i) => v ?? kept[i]) ?? kept;
    },
  });

  const read = (panel, run = liveRun()) =>
    panel.series.forEach((series, i) => {
      if (demo.hidden) return (panel.readouts[i].textContent = "?");
      const curve = shown(panel, series, run);
      panel.readouts[i].textContent = round(curve[panel.plot?.cursor.idx ?? last(curve)]);
    });

  const describe = (column = null) => {
    if (demo.hidden) return `${where()}: hidden until you reveal it.`;
    const run = liveRun();
    const named = panels.flatMap((panel) => panel.series.map((series) => [series.name, shown(panel, series, run)]));
    const end = column ?? Math.max(...named.map(([, curve]) => last(curve)));
    const spot = (i) => `${spec.x.label} ${Number.isInteger(axis.values[i]) ? axis.values[i] : round(axis.values[i])}`;
    const values = named.map(([name, curve]) => {
      const own = column ?? (curve[end] === undefined ? last(curve) : end); // not every variable comes at every step
      return `${name} ${round(curve[own])}${own === end || own < 0 ? "" : ` (at ${spot(own)})`}`;
    });
    const origins = run && Object.keys(run.series).length ? [] : [nearest() && `recorded at ${nearest()}`, spec.band].filter(Boolean);
    const origin = origins.length ? ` (${origins.join("; ")})` : "";
    const place = end < 0 ? "nothing to show" : `at ${spot(end)}: ${values.join(", ")}`;
    return `${where()}${where() ? ", " : ""}${place}${origin}.`;
  };

  // Whether somebody still trains: a kernel that was restarted, or has died, says nothing more.
  let heard = Date.now(), silence = null;
  const alive = () => Boolean(model.train) || (sliders[0]?.comm_live !== false && Date.now() - heard < SILENCE_MS);
  const hear = () => {
    heard = Date.now();
    clearTimeout(silence);
    if (model.get("run").state === "running") silence = setTimeout(draw, SILENCE_MS + 1);
  };
  const news = () => {
    hear();
    if (model.get("run").state === "stopped") demo.halt();
    draw();
  };

  let ink = null; // the colour of the page's text, once the chart is on the page
  let veiled = false; // whether the last drawing hid the curves
  let complete = false; // whether the last drawing got to its end
  const draw = () => {
    if (!ink) return;
    const run = liveRun();
    const toggled = veiled !== demo.hidden;
    veiled = demo.hidden;
    if (run?.state === "running" && calm.matches && !toggled && alive()) return;
    complete = false;
    const lost = run?.state === "running" && !alive();
    const here = { starting: "training here", running: "training here", stopped: "stopped", error: "recorded" }[run?.state] ?? `trained here in ${round(run?.seconds)} s`;
    badge.textContent = lost ? "stopped" : !run ? "recorded" : run.device === "here" ? here : `live on ${run.device}`;
    badge.classList.toggle("wd-live", Boolean(run) && !lost);
    root.dataset.state = lost ? "lost" : run ? run.state : "recorded";
    const trouble = lost ? LOST : run ? run.message : spec.diverged[flat()];
    message.textContent = trouble && !demo.hidden ? `${(!run && nearest()) || where()}: ${trouble}` : "";
    demo.nameSliders();
    for (const panel of panels) {
      panel.plot.setData(curves.tables(panel, run, pins, demo.hidden));
      read(panel, run);
    }
    if (toggled || lost || run?.state !== "running") summary.textContent = describe();
    complete = true; // the plots themselves are drawn a moment later
  };

  panels.forEach((panel) => (panel.box = element("div", "wd-panel", area)));
  const key = `wd${Math.random()}`; // the panels of one chart share a cursor
  const rebuild = () => {
    ink = getComputedStyle(root).color;
    const view = {
      demo, axis, curves, marks, ink, pins, key, read,
      run: liveRun(),
      faint: (series) => nearest() || liveRun()?.series[series.key],
      drawn: () => complete && (root.dataset.at = at().join(",")),
      point: (column) => {
        for (const { plot } of panels) plot.setCursor({ left: plot.valToPos(axis.positions[column], "x"), top: 9 });
        summary.textContent = describe(column);
      },
    };
    panels.forEach((panel, number) => buildPanel(panel, number, view));
    draw();
  };
  // Keeps what is shown, or what is recorded at a position that a link names.
  const pin = (position = null) => {
    if (demo.hidden) return;
    const run = liveRun();
    const kept = (p, series) => (position ? recorded(p, series, "values", position) : shown(p, series, run));
    const pinned = Object.fromEntries(panels.flatMap((p) => p.series.map((series) => [series.key, kept(p, series)])));
    pins = [...pins, { at: position ?? at(), label: where(position ?? at()), curves: pinned }].slice(-PIN_DASHES.length);
    rebuild();
  };
  const reset = () => {
    pins = [];
    quiet = true;
    rebuild(); // before the sliders move: a plot must not be replaced while a drawing of it is due
    demo.go(demo.start);
    quiet = true;
    draw();
  };
  const moved = () => {
    quiet = false;
    draw();
  };

  const themes = new MutationObserver(() => ink && ink !== getComputedStyle(root).color && rebuild());
  for (const host of [document.documentElement, document.body]) {
    themes.observe(host, { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "class", "theme"] });
  }
  // Fires when the chart is put on the page, which may be after this function ran, and on every change of width.
  const sizes = new ResizeObserver(() => {
    if (!ink) return rebuild();
    for (const { plot, box } of panels) {
      const { clientWidth: width, clientHeight: height } = box.lastElementChild;
      if (width && (width !== plot.width || height !== plot.height)) plot.setSize({ width, height });
    }
  });
  sliders.forEach((slider) => slider.on("change:index", moved));
  model.on("change:run", news);
  model.on("change:beat", hear);
  sliders[0]?.on("comm_live_update", draw);
  sizes.observe(area);
  return {
    draw,
    rebuild,
    pin,
    pins: () => pins.map((kept) => kept.at),
    answers: (canvas, key) => panels.find(({ box }) => box.contains(canvas)).answers(key),
    marks,
    reset,
    table: () => tableOf(demo, curves, axis),
    busy: () => ["starting", "running"].includes(model.get("run").state) && alive(),
    stop: () => {
      clearTimeout(silence);
      sliders[0]?.off("comm_live_update", draw);
      model.off("change:beat", hear);
      themes.disconnect();
      sizes.disconnect();
      sliders.forEach((slider) => slider.off("change:index", moved));
      model.off("change:run", news);
      panels.forEach(({ plot }) => plot?.destroy());
    },
  };
};
