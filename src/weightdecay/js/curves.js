// The numbers that belong to a position of the sliders: recorded, and of the fresh run.

const makeCurves = ({ spec, model, at, flat }, axis) => {
  const width = axis.positions.length;
  const panels = spec.panels.map((panel) => ({
    ...panel,
    series: panel.series.map((one, i) => ({
      name: one.name,
      key: panel.keys[i],
      best: one.best,
      ...Object.fromEntries(["values", "low", "high"].filter((k) => one[k]).map((k) => [k, floats(one[k])])),
    })),
  }));

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
  // The fresh run, if it is of the position where the sliders stand now.
  const current = () => {
    const run = model.get("run");
    return run.series && run.at.join() === at().join() ? run : null;
  };
  const fresh = (panel, series, run) => (run?.series[series.key] ? drawable(panel, floats(run.series[series.key])) : null);
  const nothing = new Array(width).fill(null);

  return {
    panels,
    width,
    recorded,
    current,
    fresh,
    // The numbers of a variable now shown: the fresh run's where it has got so far, else the recorded ones.
    shown: (panel, series, run) => fresh(panel, series, run) || recorded(panel, series),
    last: (curve) => curve.reduce((found, v, i) => (v === null || v === undefined ? found : i), -1),
    // One panel's columns for uPlot: x, then per variable (low, high,) recorded, fresh, pinned...
    tables: (panel, run, pins, hidden) => {
      const data = [axis.positions];
      for (const series of panel.series) {
        if (series.low) data.push(...["low", "high"].map((part) => (hidden ? nothing : recorded(panel, series, part))));
        data.push(...(hidden ? [nothing, nothing] : [recorded(panel, series), fresh(panel, series, run) || nothing]));
        for (const kept of pins) data.push(kept.curves[series.key]);
      }
      return data;
    },
    // A value with no neighbour to draw a line to gets a dot, as a 0 that stands apart does.
    lonely: (curve) => {
      const ends = curve.map((v, i) => (v === undefined ? -1 : i)).filter((i) => i >= 0);
      const gap = (i) => i === undefined || curve[i] === null;
      return ends.filter((i, k) => !gap(i) && (width < 3 || (gap(ends[k - 1]) && gap(ends[k + 1]))));
    },
  };
};
