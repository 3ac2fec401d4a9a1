// One panel of a chart: legend, recorded curves, the fresh run streamed over them, pinned ones, cursor.

const LIGHT = ["#0072b2", "#d55e00", "#007a5a", "#a6467f", "#8a6d00", "#3b6ea5"];
const DARK = ["#56b4e9", "#ff9e4a", "#3ddcaa", "#f0a6d2", "#f0e442", "#a9c7ff"];
const PIN_DASHES = [[2, 4], [8, 4], [8, 3, 2, 3]];

// view: {demo, axis, curves, marks, ink, pins, run, faint, read, drawn, point, tell} of lines.js. Draws the panel anew.
const buildPanel = (panel, number, view) => {
  const { demo, axis, curves, marks, ink, pins, run } = view;
  panel.plot?.destroy();
  panel.box.replaceChildren();
  const colours = onDark(ink) ? DARK : LIGHT;
  const offset = curves.panels.slice(0, number).reduce((sum, one) => sum + one.series.length, 0);
  const legend = element("div", "wd-legend", panel.box);
  // What stands along the y axis stands here, where it is read without turning one's head, and is never cut off.
  if (panel.series.some((one) => one.name !== panel.label)) element("span", "wd-label", legend, plain(panel.label));
  const size = Math.max(12, Math.floor(0.85 * parseFloat(getComputedStyle(panel.box).fontSize))); // large on a projector
  const bold = size / 12;
  const dots = { show: true, filter: (plot, number) => curves.lonely(plot.data[number]) };
  const none = { stroke: "transparent", points: { show: false } };
  const options = [{}], bands = [];
  panel.readouts = panel.series.map((series, i) => {
    const colour = colours[(offset + i) % colours.length];
    if (series.low) {
      bands.push({ series: [options.length + 1, options.length], fill: colour + "33" });
      options.push(none, none);
    }
    const recorded = () => (view.faint(series) ? colour + "59" : colour);
    const line = panel.dots.includes(series.key)
      ? { paths: () => null, points: { show: true, size: 6 * bold, fill: colour } }
      : { points: dots };
    options.push({ stroke: recorded, width: 2 * bold, ...line }, { stroke: colour, width: 2.5 * bold, ...line });
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
  const names = panel.series.map((one) => one.name).join(", ");
  canvas.setAttribute("aria-label", `${names} against ${demo.spec.x.label}. Arrow keys read the values.`);
  const draw = (u) => {
    const keyed = demo.hidden && document.activeElement === canvas;
    marks.draw(u, number, ink, size, keyed ? (u.cursor.idx ?? curves.width - 1) : null);
    view.drawn();
  };
  panel.plot = new uPlot(
    {
      width: canvas.clientWidth || 300,
      height: canvas.clientHeight || 200,
      legend: { show: false },
      cursor: { sync: { key: view.key }, drag: { x: false, y: false }, y: false },
      scales: { x: { time: false }, y: { distr: panel.log ? 3 : 1, range: panel.limits } },
      series: options,
      bands,
      axes: axesOf(panel, demo.spec.x, axis, ink, size),
      hooks: { setCursor: [() => view.read(panel)], draw: [draw] },
    },
    curves.tables(panel, run, pins, demo.hidden),
    canvas,
  );

  panel.answers = (key) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[key];
    if (by) {
      const column = Math.min(curves.width - 1, Math.max(0, (panel.plot.cursor.idx ?? curves.width - 1) + by));
      view.point(column);
    } else if (demo.hidden && ["ArrowUp", "ArrowDown"].includes(key)) {
      marks.nudge(key === "ArrowUp" ? 0.02 : -0.02);
    } else if (demo.hidden && key === "Enter") {
      marks.add(number, panel.plot.cursor.idx ?? curves.width - 1);
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
