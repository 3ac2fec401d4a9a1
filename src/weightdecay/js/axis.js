// The axes of a chart, as uPlot takes them. On a log axis along x, 0 stands apart, to the left of the smallest value.

const superscript = (n) => "10" + [...String(n)].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("");
const powerOfTen = (n) => (n >= -3 && n <= 4 ? String(Number((10 ** n).toPrecision(1))) : superscript(n));

// Whole decades between two exponents, as many as have room.
const decades = (low, high, most) => {
  const from = Math.ceil(low - 1e-9), to = Math.floor(high + 1e-9);
  const step = Math.max(1, Math.ceil((to - from + 1) / most));
  return Array.from({ length: Math.max(0, Math.floor((to - from) / step) + 1) }, (_, i) => from + i * step);
};

// The x axis: the values of its columns, and the positions where these are drawn.
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

// Not every font has the sign of a norm.
const plain = (label) => label.replace(/‖/g, "||");

// Both axes of a panel; panel.js says what stands along y. size: of their text, in pixels.
const axesOf = (panel, x, axis, ink, size) => {
  const rule = { stroke: onDark(ink) ? "rgba(255,255,255,.14)" : "rgba(0,0,0,.1)", width: 1 };
  const font = `${size}px system-ui, sans-serif`;
  const style = { stroke: ink, font, labelFont: font, labelSize: 1.5 * size, grid: rule, ticks: rule };
  const [low, high] = panel.limits.map(Math.log10);
  const log = {
    splits: (u) => decades(low, high, Math.max(2, Math.floor(u.height / (3 * size)))).map((n) => 10 ** n),
    values: (u, splits) => splits.map((v) => powerOfTen(Math.round(Math.log10(v)))),
    filter: (u, splits) => splits,
  };
  return [
    { ...style, label: plain(x.label), size: 2.5 * size, ...axis.options },
    { ...style, size: 4.5 * size, ...(panel.log && log) },
  ];
};
