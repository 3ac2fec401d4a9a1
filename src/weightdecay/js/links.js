// Links to what a demo shows: they name it by its title, and the values by what the sliders say.

// tools: {box, note, full, toggleFull, reset} of classroom.js.
const links = (demo, view, { box, note, full, toggleFull, reset }) => {
  const { spec, sliders, labels, at, go } = demo;
  const escape = (label) => label.replace(/[%,]/g, encodeURIComponent);
  const values = (position) => position.map((index, i) => escape(labels[i][index])).join(",");
  const link = () => {
    const state = new URLSearchParams({ demo: spec.title, at: values(at()) });
    view.pins?.().forEach((position) => state.append("pin", values(position)));
    if (full()) state.set("full", "1");
    const address = `${location.href.split("#")[0]}#${state}`;
    if (window.top === window) {
      history.replaceState(null, "", address);
      note.textContent = "The address of this page now opens what is shown here.";
    } else {
      // Within a frame the address bar shows another page's address.
      note.textContent = "This link opens what is shown here, on a page of its own: ";
      const field = element("input", "wd-link", note);
      field.readOnly = true;
      field.value = address;
      field.setAttribute("aria-label", "Link to what is shown");
      field.addEventListener("focus", () => field.select());
    }
    // A browser may keep pages off the clipboard; the link can be copied by hand all the same.
    navigator.clipboard?.writeText(address).then(() => note.append(" It is copied too."), () => {});
  };
  // The slider's position nearest to a value, with a sentence where the value is none of the slider's.
  const find = (escaped = "", i, free) => {
    const text = escaped.replace(/%2C/gi, ",").replace(/%25/g, "%");
    const name = sliders[i].get("description");
    const exact = labels[i].indexOf(text);
    if (exact >= 0) return { index: exact, miss: "" };
    if (labels[i].some((label) => Number.isNaN(Number(label)))) throw new RangeError(`The link asks for ${name} = ${text || "nothing"}; there is only ${labels[i].join(", ")}.`);
    const wanted = Number(text || NaN);
    if (!Number.isFinite(wanted)) throw new RangeError(`The link asks for ${name} = ${text || "nothing"}, which is no number: write it as in ${labels[i][0]}.`);
    if (free && sliders[i].free && (wanted >= 0 || spec.stops[i].some((stop) => stop < 0))) return { index: sliders[i].free.take(wanted), miss: "" };
    const off = labels[i].map((label) => Math.abs(Number(label) - wanted));
    const index = off.indexOf(Math.min(...off));
    return { index, miss: off[index] ? `The slider has no ${name} = ${text}; nearest is ${labels[i][index]}.` : "" };
  };
  const open = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    if (!onSite || !state.has("demo")) return;
    if (state.get("demo") !== spec.title) return full() && toggleFull(); // another demo is to be seen
    try {
      const read = (text, free) => {
        const parts = text.split(",");
        // What is recorded at one value only may be left out.
        return sliders.map((_, i) =>
          i >= parts.length && spec.shape[i] === 1 ? { index: demo.start[i], miss: "" } : find(parts[i], i, free),
        );
      };
      const target = state.has("at") ? read(state.get("at"), true) : at().map((index) => ({ index, miss: "" }));
      const pins = state.getAll("pin").map((text) => read(text).map(({ index }) => index));
      reset();
      go(target.map(({ index }) => index));
      pins.forEach((position) => view.pin?.(position));
      note.textContent = target.map(({ miss }) => miss).filter(Boolean).join(" ");
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      note.textContent = error.message;
    }
    if (state.has("full") !== full()) toggleFull({ screen: false }); // a browser fills its screen only when asked by hand
    box().scrollIntoView();
  };
  return { link, open };
};
