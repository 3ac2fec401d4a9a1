// What the other scripts of a demo share: elements of the page, arrays from Python, numbers as text.

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
