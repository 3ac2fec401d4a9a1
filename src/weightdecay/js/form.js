// Shows the fields of form.Form and, at every change, what `answer` makes of them; the form's own script, which
// stands above this text with keys.js, defines it: answer(table, values) gives {message, rows, remarks, fixed}.
//   rows: [{group, name, code, value, note}], a table; remarks: [[what, sentence]], a list below it;
//   fixed: {field: value} that other fields leave no choice about.

const make = (tag, name, parent, text = "") => {
  const made = parent.appendChild(document.createElement(tag));
  if (name) made.className = name;
  made.textContent = text;
  return made;
};
const figures = (v) => {
  const size = Math.abs(v);
  if (size === Infinity) return "inf"; // as Python writes it
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return String(Number(v.toPrecision(6)).toExponential());
  return String(Number(v.toPrecision(6)));
};
// What a text says: the number, null for nothing, NaN for what is no number, [a, b] where it can be read in two ways.
// Decimals follow a point or a comma. Thousands may be set apart by spaces, _ or apostrophes, or by points or commas
// that cannot be anything else: those of 1,281,167 or 1.024,5. With a single mark before three figures, 60,000 is
// ambiguous, and so is 60.000 where things are counted; 0,001 is not.
const parse = (text, { counts }) => {
  const plain = text.trim().replace(/−/g, "-").replace(/[\s_'’]/g, "_");
  if (plain === "") return null;
  const [, sign, body, power = ""] = plain.match(/^([+-]?)([\d_.,]*\d[\d_.,]*)(e[+-]?\d+)?$/i) ?? [];
  if (body === undefined) return NaN;
  const number = (whole, decimals) => {
    const apart = /^[1-9]\d{0,2}(?:([_.,])\d{3})(?:\1\d{3})*$/;
    if (!(/^\d*$/.test(whole) || apart.test(whole)) || !/^\d*$/.test(decimals)) return NaN;
    return Number(`${sign}${whole.replace(/\D/g, "") || "0"}.${decimals || "0"}${power}`);
  };
  const marks = body.replace(/[\d_]/g, "");
  const at = marks ? body.lastIndexOf(marks.slice(-1)) : -1;
  if (at < 0 || (marks.length > 1 && new Set(marks).size === 1)) return number(body, "");
  const [whole, decimals] = [body.slice(0, at), body.slice(at + 1)];
  const either = /^[1-9]\d{0,2}$/.test(whole) && /^\d{3}$/.test(decimals) && (marks === "," || counts);
  return either ? [number(whole + decimals, ""), number(whole, decimals)] : number(whole, decimals);
};
// The sentence about a text that says no number, two, or one that makes no sense; or "".
const complaint = (field, value, text) => {
  const seen = text.trim();
  if (Array.isArray(value)) {
    const [many, few] = value.map(String);
    const again = field.counts && /\.\d{3}$/.test(few); // as it stands, it would be ambiguous again
    const or = field.whole && few.includes(".") ? "" : ` or ${few}${again ? "0" : ""}`;
    return `${seen} can be read as ${many} or as ${few}: write ${many}${or}.`;
  }
  const fine =
    value === null ||
    (Number.isFinite(value) &&
      (field.low === null || value >= field.low) &&
      (field.above === null || value > field.above) &&
      (field.below === null || value < field.below) &&
      (!field.whole || Number.isInteger(value)));
  return fine ? "" : `${field.symbol} must be ${field.rule}, but it is ${seen}.`;
};

function render({ model, el }) {
  const { title, fields, table } = model.get("spec");
  const root = make("form", "wd wd-form", el);
  root.setAttribute("aria-label", title);
  root.addEventListener("submit", (event) => event.preventDefault());
  const keep = (event) => root.contains(event.target) && toBeKept(event) && event.stopImmediatePropagation();
  window.addEventListener("keydown", keep, true); // a list of choices takes letters too, and is no text to a notebook
  const box = make("div", "wd-fields", root);
  const message = make("p", "wd-message", root);
  message.setAttribute("role", "alert");
  const result = make("div", "wd-result", root);

  const start = model.get("values");
  const inputs = {}, picks = {};
  for (const [name, field] of fields) {
    const place = make("div", "wd-field", box);
    const label = make("label", "", place, field.label);
    const input = make(field.options ? "select" : "input", "", place);
    input.name = name;
    input.id = label.htmlFor = `${name}-${Math.random().toString(36).slice(2)}`;
    if (field.options) {
      const fill = (parent, options) =>
        options.forEach(([value, shown]) => {
          if (typeof shown === "object") {
            const group = make("optgroup", "", parent);
            group.label = value;
            return fill(group, shown);
          }
          make("option", "", parent, shown).value = value;
          picks[name].push(value); // a value of an option is text, and may have been none
        });
      picks[name] = [];
      fill(input, field.options);
    } else {
      input.inputMode = "decimal";
      input.autocomplete = "off";
      input.placeholder = field.hint;
    }
    if (start[name] !== null && start[name] !== undefined) input.value = start[name];
    input.addEventListener("input", () => update());
    inputs[name] = input;
  }

  const show = ({ rows = [], remarks = [] }) => {
    result.replaceChildren();
    if (rows.length) {
      const body = make("table", "wd-rows", result);
      let group = null;
      for (const row of rows) {
        if (row.group !== group) {
          group = row.group;
          const heading = make("th", "", make("tr", "wd-group", body), group);
          heading.colSpan = 2;
          heading.scope = "colgroup";
        }
        const line = make("tr", "", body);
        const head = make("th", "", line);
        head.scope = "row";
        make("span", "", head, row.name);
        if (row.code) make("code", "", head, row.code);
        if (row.note) make("small", "", head, row.note);
        const value = make("td", "", line, typeof row.value === "number" ? figures(row.value) : row.value);
        Object.assign(value.dataset, { name: row.key, value: row.value });
      }
    }
    if (remarks.length) {
      const list = make("dl", "wd-remarks", result);
      for (const [what, sentence] of remarks) {
        make("dt", "", list, what);
        make("dd", "", list, sentence);
      }
    }
  };

  const update = () => {
    const values = {}, complaints = [];
    for (const [name, field] of fields) {
      const input = inputs[name];
      values[name] = field.options ? picks[name][input.selectedIndex] : parse(input.value, field);
      const wrong = field.options ? "" : complaint(field, values[name], input.value);
      input.toggleAttribute("aria-invalid", Boolean(wrong));
      if (wrong) complaints.push(wrong);
    }
    const given = complaints.length ? { message: complaints.join(" ") } : answer(table, values);
    for (const [name, input] of Object.entries(inputs)) {
      const value = given.fixed?.[name];
      input.disabled = value !== undefined;
      if (value !== undefined) input.value = values[name] = value;
    }
    message.textContent = given.message ?? "";
    show(given);
    root.dataset.state = given.message ? "wrong" : "answered";
    if (complaints.length) return; // what is no number is not handed on
    model.set("values", values);
    model.save_changes();
  };
  update();
  return () => window.removeEventListener("keydown", keep, true);
}

export default { render };
