// Draws what chart.Chart describes: at each position of the sliders its recorded curves, the fresh run
// streamed over them, and the pinned ones. Needs no kernel; uPlot, keys.js and classroom.js stand above this text in
// the bundle.

const LIGHT = ["#0072b2", "#d55e00", "#007a5a", "#a6467f", "#8a6d00", "#3b6ea5"];
const DARK = ["#56b4e9", "#ff9e4a", "#3ddcaa", "#f0a6d2", "#f0e442", "#a9c7ff"];
const PIN_DASHES = [[2, 4], [8, 4], [8, 3, 2, 3]];

const bytes = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const floats = (view) => new Float32Array(bytes(view));
const element = (tag, name, parent, text = "") => {
  const made = parent.appendChild(document.createElement(tag));
  made.className = name;
  made.textContent = text;
  return made;
};
const round = (v) => {
  if (v === null || v === undefined || !Number.isFinite(v)) return "–";
  const size = Math.abs(v);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? v.toExponential(2) : String(Number(v.toPrecision(3)));
};
// Whether text of this colour is light, and so stands on a dark page.
const onDark = (ink) => {
  const [r, g, b] = ink.match(/[\d.]+/g).map(Number);
  return 0.3 * r + 0.6 * g + 0.1 * b > 127;
};
const superscript = (n) => "10" + [...String(n)].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("");
const powerOfTen = (n) => (n >= -3 && n <= 4 ? String(Number((10 ** n).toPrecision(1))) : superscript(n));

// Whole decades between two exponents, as many as have room.
const decades = (low, high, most) => {
  const from = Math.ceil(low - 1e-9), to = Math.floor(high + 1e-9);
  const step = Math.max(1, Math.ceil((to - from + 1) / most));
  return Array.from({ length: Math.max(0, Math.floor((to - from) / step) + 1) }, (_, i) => from + i * step);
};

// The x axis as positions to draw at. On a log axis 0 stands apart, to the left of the smallest value.
const makeAxis = (x) => {
  const values = new Float64Array(bytes(x.values));
  if (!x.log) return { values, positions: [...values], options: {} };
  const logs = [...values].filter((v) => v > 0).map(Math.log10);
  const apart = Math.max(0.4, (logs[logs.length - 1] - logs[0]) * 0.08);
  const zero = logs[0] - apart;
  const positions = [...values].map((v) => (v > 0 ? Math.log10(v) : v === 0 ? zero : zero + apart / 2));
  const ticks = (most) => (values[0] === 0 ? [zero] : []).concat(decades(logs[0], logs[logs.length - 1], most));
  return {
    values,
    positions,
    options: {
      splits: (u) => ticks(Math.max(2, Math.floor(u.width / 70))),
      values: (u, splits) => splits.map((s) => (s === zero ? "0" : powerOfTen(s))),
    },
  };
};

// One demo: where its sliders stand, and the parts of the page that its charts and the classroom's tools share.
async function render({ model, el }) {
  const spec = model.get("spec");
  const sliders = await Promise.all(
    model.get("sliders").map((reference) => model.widget_manager.get_model(reference.replace("IPY_MODEL_", ""))),
  );
  const labels = sliders.map((slider) => slider.get("_options_labels"));
  const at = () => sliders.map((slider) => slider.get("index"));
  el.classList.add("wd-host");
  const root = element("div", "wd", el);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", spec.title || "Curves under the sliders");
  const demo = {
    model, spec, sliders, labels, at, root,
    start: at(),
    bar: element("div", "wd-bar", root),
    hidden: false, // while a class makes its prediction
    // The place of what is recorded nearest to a position: a slider may stop between recorded values too.
    flat: (position = at()) =>
      position.reduce((sum, index, i) => sum * spec.shape[i] + (spec.between?.[i][index][0] ?? index), 0),
    nearest: (position = at()) =>
      sliders
        .map((slider, i) => [slider.get("description"), spec.between?.[i][position[i]][1]])
        .filter(([, label]) => label)
        .map(([name, label]) => `${name} = ${label}`)
        .join(", "),
    where: (position = at()) =>
      sliders.map((slider, i) => `${slider.get("description")} = ${labels[i][position[i]]}`).join(", "),
    go: (position) =>
      sliders.forEach((slider, i) => {
        slider.set("index", position[i]);
        slider.save_changes();
      }),
    // ipywidgets gives its slider no name, and as its value the position instead of the number; version 7 not even a role.
    nameSliders: () =>
      root.closest(".wd-demo")?.querySelectorAll(HANDLE).forEach((handle, i) => {
        if (!handle.matches("[aria-valuemax]")) {
          handle.setAttribute("role", "slider");
          handle.setAttribute("aria-valuenow", at()[i]);
        }
        handle.setAttribute("aria-label", sliders[i].get("description"));
        handle.setAttribute("aria-valuetext", labels[i][at()[i]]);
      }),
  };
  const view = spec.frames ? pictures(demo) : lines(demo);
  const tools = classroom(demo, view);
  return () => {
    tools.stop();
    view.stop();
  };
}

const pictures = (demo) => {
  const { spec, sliders, at, root, flat } = demo;
  const picture = element("img", "wd-frame", root);
  const caption = element("p", "wd-summary", root);
  caption.setAttribute("aria-live", "polite");
  const urls = spec.frames.map((frame) => URL.createObjectURL(new Blob([bytes(frame)], { type: "image/webp" })));
  const draw = () => {
    picture.src = urls[flat()];
    picture.classList.toggle("wd-hidden", demo.hidden);
    picture.alt = caption.textContent = demo.hidden ? `${demo.where()}: hidden until you reveal it.` : spec.alts[flat()];
    root.dataset.at = at().join(",");
    demo.nameSliders();
  };
  sliders.forEach((slider) => slider.on("change:index", draw));
  draw();
  return {
    draw,
    rebuild: draw,
    reset: () => {
      demo.go(demo.start);
      draw(); // a picture that was hidden is shown again, even where no slider has moved
    },
    stop: () => {
      sliders.forEach((slider) => slider.off("change:index", draw));
      urls.forEach((url) => URL.revokeObjectURL(url));
    },
  };
};

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
  const width = axis.positions.length;
  // A value with no neighbour to draw a line to gets a dot, as a 0 that stands apart does.
  const lonely = (curve) => {
    const ends = curve.map((v, i) => (v === undefined ? -1 : i)).filter((i) => i >= 0);
    const gap = (i) => i === undefined || curve[i] === null;
    return ends.filter((i, k) => !gap(i) && (width < 3 || (gap(ends[k - 1]) && gap(ends[k + 1]))));
  };
  const dots = { show: true, filter: (plot, number) => lonely(plot.data[number]) };
  const panels = spec.panels.map((panel) => ({
    ...panel,
    series: panel.series.map((one, i) => ({
      name: one.name,
      key: panel.keys[i],
      best: one.best,
      ...Object.fromEntries(["values", "low", "high"].filter((k) => one[k]).map((k) => [k, floats(one[k])])),
    })),
  }));
  const chartKey = `wd${Math.random()}`; // the panels of one chart share a cursor
  let pins = [];
  let quiet = false; // after Reset only recorded curves are shown, until a slider is moved

  const marks = makeMarks({
    spec, axis, panels,
    // As far as the fresh run got, else as recorded.
    truth: (panel, series) => {
      const kept = recorded(panel, series);
      return fresh(panel, series, liveRun())?.map((v, i) => v ?? kept[i]) ?? kept;
    },
  });

  // What uPlot can draw: undefined where there is no number, which a line passes over; null, which parts the line,
  // beside a 0 that stands apart and for a number that has no place on the axis.
  const drawable = (panel, array, from = 0) =>
    Array.from({ length: width }, (_, i) => {
      const v = array[from + i];
      if (Number.isNaN(v) && !Number.isNaN(axis.values[i])) return undefined;
      return Number.isFinite(v) && (v > 0 || !panel.log) ? v : null;
    });
  const recorded = (panel, series, part = "values", position = at()) =>
    drawable(panel, series[part], flat(position) * width);
  const liveRun = () => {
    const run = model.get("run");
    return run.series && !quiet && run.at.join() === at().join() ? run : null;
  };
  const fresh = (panel, series, run) => (run?.series[series.key] ? drawable(panel, floats(run.series[series.key])) : null);
  const nothing = new Array(width).fill(null);

  // One panel's columns for uPlot: x, then per variable (low, high,) recorded, fresh, pinned...
  const tables = (panel, run) => {
    const data = [axis.positions];
    for (const series of panel.series) {
      if (series.low) data.push(...["low", "high"].map((part) => (demo.hidden ? nothing : recorded(panel, series, part))));
      data.push(...(demo.hidden ? [nothing, nothing] : [recorded(panel, series), fresh(panel, series, run) || nothing]));
      for (const kept of pins) data.push(kept.curves[series.key]);
    }
    return data;
  };

  const build = (panel, number) => {
    if (panel.plot) panel.plot.destroy();
    panel.box ??= element("div", "wd-panel", area);
    panel.box.replaceChildren();
    const grid = onDark(ink) ? "rgba(255,255,255,.14)" : "rgba(0,0,0,.1)";
    const colours = onDark(ink) ? DARK : LIGHT;
    const offset = panels.slice(0, number).reduce((sum, one) => sum + one.series.length, 0);
    const legend = element("div", "wd-legend", panel.box);
    const size = Math.max(12, Math.floor(0.85 * parseFloat(getComputedStyle(panel.box).fontSize))); // large on a projector
    const bold = size / 12;
    const options = [{}], bands = [];
    panel.readouts = panel.series.map((series, i) => {
      const colour = colours[(offset + i) % colours.length];
      if (series.low) {
        bands.push({ series: [options.length + 1, options.length], fill: colour + "33" });
        options.push({ stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } });
      }
      const faint = () => (nearest() || liveRun()?.series[series.key] ? colour + "59" : colour);
      options.push({ stroke: faint, width: 2 * bold, points: dots }, { stroke: colour, width: 2.5 * bold, points: dots });
      pins.forEach((_, k) =>
        options.push({ stroke: colour, width: 1.5 * bold, dash: PIN_DASHES[k], points: { show: false } }),
      );
      const entry = element("span", "wd-entry", legend);
      element("span", "wd-swatch", entry).style.background = colour;
      element("span", "", entry, series.name + " ");
      return element("b", "wd-value", entry);
    });
    if (number === 0) pins.forEach((kept, k) => element("span", "wd-entry", legend, `${"┈╌┄"[k]} pinned ${kept.label}`));
    const canvas = element("div", "wd-canvas", panel.box);
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute(
      "aria-label",
      `${panel.series.map((s) => s.name).join(", ")} against ${spec.x.label}. Arrow keys read the values.`,
    );
    const [low, high] = panel.limits;
    const logTicks = (u) => decades(Math.log10(low), Math.log10(high), Math.max(2, Math.floor(u.height / (3 * size))));
    const font = `${size}px system-ui, sans-serif`;
    const style = { stroke: ink, font, labelFont: font, labelSize: 1.5 * size };
    const rules = { grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
    panel.plot = new uPlot(
      {
        width: canvas.clientWidth || 300,
        height: canvas.clientHeight || 200,
        legend: { show: false },
        cursor: { sync: { key: chartKey }, drag: { x: false, y: false }, y: false },
        scales: { x: { time: false }, y: { distr: panel.log ? 3 : 1, range: [low, high] } },
        series: options,
        bands,
        axes: [
          { ...style, ...rules, label: spec.x.label, size: 2.5 * size, ...axis.options },
          panel.log
            ? {
                ...style, ...rules, label: panel.label, size: 4.5 * size,
                splits: (u) => logTicks(u).map((n) => 10 ** n),
                values: (u, splits) => splits.map((v) => powerOfTen(Math.round(Math.log10(v)))),
                filter: (u, splits) => splits,
              }
            : { ...style, ...rules, label: panel.label, size: 4.5 * size },
        ],
        hooks: {
          setCursor: [() => read(panel)],
          draw: [
            (u) => {
              const keyed = demo.hidden && document.activeElement === canvas;
              marks.draw(u, number, ink, size, keyed ? (u.cursor.idx ?? width - 1) : null);
              if (complete) root.dataset.at = at().join(",");
            },
          ],
        },
      },
      tables(panel, liveRun()),
      canvas,
    );
    const move = (column) => {
      for (const { plot } of panels) plot.setCursor({ left: plot.valToPos(axis.positions[column], "x"), top: 9 });
    };
    panel.answers = (key) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[key];
      if (by) {
        const column = Math.min(width - 1, Math.max(0, (panel.plot.cursor.idx ?? width - 1) + by));
        move(column);
        summary.textContent = describe(column);
      } else if (demo.hidden && ["ArrowUp", "ArrowDown"].includes(key)) {
        marks.nudge(key === "ArrowUp" ? 0.02 : -0.02);
      } else if (demo.hidden && key === "Enter") {
        marks.add(number, panel.plot.cursor.idx ?? width - 1);
      } else return false;
      if (demo.hidden) panel.plot.redraw();
      return true;
    };
    canvas.addEventListener("focusout", () => demo.hidden && panel.plot.redraw());
    const click = (event) => {
      if (!demo.hidden) return;
      const box = panel.plot.over.getBoundingClientRect();
      const left = Math.min(box.width, Math.max(0, event.clientX - box.left));
      marks.add(number, panel.plot.posToIdx(left), Math.min(box.height, Math.max(0, event.clientY - box.top)));
      panel.plot.redraw();
    };
    canvas.addEventListener("click", click, true); // before uPlot, which drops a click whose pointer moved a little
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") return;
      const box = panel.plot.over.getBoundingClientRect();
      panel.plot.setCursor({ left: event.clientX - box.left, top: event.clientY - box.top });
    });
  };

  // The numbers of a variable now shown: the fresh run's where it has got so far, else the recorded ones.
  const shown = (panel, series, run) => fresh(panel, series, run) || recorded(panel, series);
  const last = (array) => array.reduce((found, v, i) => (v === null || v === undefined ? found : i), -1);
  const read = (panel, run = liveRun()) =>
    panel.series.forEach((series, i) => {
      if (demo.hidden) return (panel.readouts[i].textContent = "?");
      const curve = shown(panel, series, run);
      panel.readouts[i].textContent = round(curve[panel.plot?.cursor.idx ?? last(curve)]);
    });

  const describe = (column = null) => {
    if (demo.hidden) return `${where()}: hidden until you reveal it.`;
    const run = liveRun();
    const curves = panels.flatMap((panel) => panel.series.map((series) => [series.name, shown(panel, series, run)]));
    const end = column ?? Math.max(...curves.map(([, curve]) => last(curve)));
    const spot = (i) => `${spec.x.label} ${Number.isInteger(axis.values[i]) ? axis.values[i] : round(axis.values[i])}`;
    const values = curves.map(([name, curve]) => {
      const own = column ?? (curve[end] === undefined ? last(curve) : end); // not every variable comes at every step
      return `${name} ${round(curve[own])}${own === end || own < 0 ? "" : ` (at ${spot(own)})`}`;
    });
    const origins = run ? [] : [nearest() && `recorded at ${nearest()}`, spec.band].filter(Boolean);
    const origin = origins.length ? ` (${origins.join("; ")})` : "";
    const place = end < 0 ? "nothing to show" : `at ${spot(end)}: ${values.join(", ")}`;
    return `${where()}${where() ? ", " : ""}${place}${origin}.`;
  };

  // Whether somebody still trains: a kernel that was restarted, or has died, says nothing more.
  let heard = Date.now(), silence = null;
  const alive = () => sliders[0]?.comm_live !== false && Date.now() - heard < SILENCE_MS;
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
    badge.textContent = lost ? "stopped" : run ? `live on ${run.device}` : "recorded";
    badge.classList.toggle("wd-live", Boolean(run) && !lost);
    root.dataset.state = lost ? "lost" : run ? run.state : "recorded";
    const trouble = lost ? LOST : run ? run.message : spec.diverged[flat()];
    message.textContent = trouble && !demo.hidden ? `${(!run && nearest()) || where()}: ${trouble}` : "";
    demo.nameSliders();
    for (const panel of panels) {
      panel.plot.setData(tables(panel, run));
      read(panel, run);
    }
    if (toggled || lost || run?.state !== "running") summary.textContent = describe();
    complete = true; // the plots themselves are drawn a moment later
  };
  const rebuild = () => {
    ink = getComputedStyle(root).color;
    panels.forEach(build);
    draw();
  };
  // Keeps what is shown, or what is recorded at a position that a link names.
  const pin = (position = null) => {
    if (demo.hidden) return;
    const run = liveRun();
    const kept = (p, series) => (position ? recorded(p, series, "values", position) : shown(p, series, run));
    const curves = Object.fromEntries(panels.flatMap((p) => p.series.map((series) => [series.key, kept(p, series)])));
    pins = [...pins, { at: position ?? at(), label: where(position ?? at()), curves }].slice(-PIN_DASHES.length);
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
    busy: () => model.get("run").state === "running" && alive(),
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

export default { render };
