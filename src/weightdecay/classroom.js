// What a class does with a demo: full screen, keys, playing, a link to what is shown, and predictions that are marked
// before the truth is drawn. chart.js draws; it stands below this text in the bundle, and keys.js above.

const PLAY_MS = 800;
const HANDLE = ".noUi-handle, .ui-slider-handle"; // ipywidgets 7 draws its sliders with jQuery
const SLIDER = ".noUi-target, .ui-slider";
const ARROWS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
const LEAPS = { PageDown: -5, PageUp: 5, Home: -Infinity, End: Infinity };

// The marks on the charts of one demo. `truth(panel, series)` gives a variable's curve at the sliders' position.
const makeMarks = ({ spec, axis, panels, truth }) => {
  let marks = [];
  let height = 0.5; // of the cross that arrow keys move, as a share of the chart
  const letter = (i) => String.fromCharCode(65 + i);
  const distance = (guess, value, log, [less, more]) => {
    if (guess === value) return "exactly right";
    const off = log && guess > 0 && value > 0 ? `${round(Math.max(guess / value, value / guess))} times` : round(Math.abs(guess - value));
    return `${off} too ${guess < value ? less : more}`;
  };
  const judge = ({ panel: number, column, y }) => {
    const panel = panels[number], x = axis.values[column];
    const sought = panel.series.find((one) => one.best);
    if (sought) {
      const curve = truth(panel, sought);
      const better = (a, b) => (sought.best === "lowest" ? a < b : a > b);
      const best = curve.reduce((best, v, i) => ((v ?? null) !== null && (best < 0 || better(v, curve[best])) ? i : best), -1);
      if (best < 0) return `${sought.name} has no number here`;
      const off = distance(x, axis.values[best], spec.x.log, ["small", "large"]);
      return `${sought.name} is ${sought.best} at ${spec.x.label} ${round(axis.values[best])}, marked at ${round(x)}: ${off}`;
    }
    const place = (v) => (panel.log ? Math.log(v) : v);
    const [nearest] = panel.series
      .map((one) => ({ name: one.name, value: truth(panel, one)[column] }))
      .filter(({ value }) => value !== null && value !== undefined)
      .sort((a, b) => Math.abs(place(a.value) - place(y)) - Math.abs(place(b.value) - place(y)));
    if (!nearest) return `no curve gets to ${spec.x.label} ${round(x)}`;
    const off = distance(y, nearest.value, panel.log, ["low", "high"]);
    return `${nearest.name} at ${spec.x.label} ${round(x)} is ${round(nearest.value)}, marked ${round(y)}: ${off}`;
  };
  return {
    count: () => marks.length,
    clear: () => (marks = []),
    nudge: (by) => (height = Math.min(1, Math.max(0, height + by))),
    // A mark at a column of the axis, `top` pixels below the upper edge of the panel, or where the cross is.
    add(number, column, top = null) {
      const { plot } = panels[number];
      const beside = Number.isNaN(axis.values[column]) ? column - 1 : column; // the gap that parts 0 from the rest
      marks.push({ panel: number, column: beside, y: plot.posToVal(top ?? (1 - height) * plot.over.clientHeight, "y") });
    },
    judge: () => marks.map((mark, i) => `${letter(i)}: ${judge(mark)}.`).join(" "),
    // Crosses with their letters; for the panel that has the keyboard also the cross that Enter would set.
    draw(plot, number, colour, size, cross) {
      const { ctx, bbox } = plot, scale = window.devicePixelRatio, arm = 0.6 * size * scale;
      const at = (x, y, text) => {
        ctx.beginPath();
        for (const slope of [-1, 1]) {
          ctx.moveTo(x - arm, y - slope * arm);
          ctx.lineTo(x + arm, y + slope * arm);
        }
        ctx.stroke();
        const fits = x + 3 * arm < bbox.left + bbox.width;
        ctx.textAlign = fits ? "left" : "right";
        ctx.fillText(text, x + (fits ? 1.5 : -1.5) * arm, y);
      };
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = colour;
      ctx.setLineDash([]);
      ctx.lineWidth = (size / 5) * scale;
      ctx.font = `bold ${1.3 * size * scale}px system-ui, sans-serif`;
      ctx.textBaseline = "middle";
      marks.forEach((mark, i) => {
        if (mark.panel !== number) return;
        at(plot.valToPos(axis.positions[mark.column], "x", true), plot.valToPos(mark.y, "y", true), letter(i));
      });
      if (cross !== null) {
        ctx.lineWidth = scale;
        at(plot.valToPos(axis.positions[cross], "x", true), bbox.top + (1 - height) * bbox.height, "");
      }
      ctx.restore();
    },
  };
};

// The buttons and keys of one demo. `view` draws it: curves can be pinned and marked, pictures only hidden.
const classroom = (demo, view) => {
  const { spec, sliders, labels, at, go, root } = demo;
  const box = () => root.closest(".wd-demo");
  const handles = () => [...box().querySelectorAll(HANDLE)];
  const question = element("p", "wd-question", root, spec.question || spec.title);
  const note = element("p", "wd-note", root);
  note.setAttribute("role", "status");
  const help = element("p", "wd-keys", root);
  help.hidden = true;
  root.prepend(question);
  demo.bar.after(note, help);
  const full = () => Boolean(box()?.classList.contains("wd-full"));
  let active = 0; // the slider that was last used
  let player = null;

  const set = (i, index) => go(at().map((old, k) => (k === i ? index : old)));
  const stopPlaying = () => {
    clearInterval(player);
    player = null;
    buttons[" "].textContent = "Play";
  };
  const play = () => {
    if (player) return stopPlaying();
    const last = labels[active].length - 1;
    if (at()[active] === last) set(active, 0);
    player = setInterval(() => {
      if (view.busy?.()) return; // this value is still being trained
      if (at()[active] === last) return stopPlaying();
      set(active, at()[active] + 1);
    }, PLAY_MS);
    buttons[" "].textContent = "Stop";
  };

  // Hidden, then revealed: from then on each mark says how far it is from what the sliders show, wherever they are moved.
  const judge = () => {
    if (!demo.hidden && view.marks?.count()) note.textContent = view.marks.judge();
  };
  const predict = () => {
    demo.hidden = !demo.hidden;
    if (demo.hidden) view.marks?.clear();
    buttons.H.textContent = demo.hidden ? "Reveal" : "Predict";
    const how = view.marks ? "Click on the chart to mark a prediction (by keyboard: arrows, then Enter)" : "Say what it will show";
    note.textContent = demo.hidden ? `${how}, then reveal.` : "";
    judge();
    view.draw();
  };
  const reset = () => {
    stopPlaying();
    demo.hidden = false;
    buttons.H.textContent = "Predict";
    view.marks?.clear();
    note.textContent = "";
    view.reset();
  };

  // A link names the demo by its title and the values by what the sliders say.
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
  const find = (escaped = "", i) => {
    const text = escaped.replace(/%2C/gi, ",").replace(/%25/g, "%");
    const name = sliders[i].get("description");
    const exact = labels[i].indexOf(text);
    if (exact >= 0) return { index: exact, miss: "" };
    if (labels[i].some((label) => Number.isNaN(Number(label)))) throw new RangeError(`The link asks for ${name} = ${text || "nothing"}; there is only ${labels[i].join(", ")}.`);
    const wanted = Number(text || NaN);
    if (!Number.isFinite(wanted)) throw new RangeError(`The link asks for ${name} = ${text || "nothing"}, which is no number: write it as in ${labels[i][0]}.`);
    const off = labels[i].map((label) => Math.abs(Number(label) - wanted));
    const index = off.indexOf(Math.min(...off));
    return { index, miss: off[index] ? `The slider has no ${name} = ${text}; nearest is ${labels[i][index]}.` : "" };
  };
  const open = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    if (!onSite || !state.has("demo")) return;
    if (state.get("demo") !== spec.title) return full() && toggleFull(); // another demo is to be seen
    try {
      const read = (text) => {
        const parts = text.split(",");
        return sliders.map((_, i) => find(parts[i], i));
      };
      const target = state.has("at") ? read(state.get("at")) : at().map((index) => ({ index, miss: "" }));
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

  const toggleFull = ({ screen = true } = {}) => {
    const entering = !full();
    const night = entering && onDark(getComputedStyle(root).color);
    box().classList.toggle("wd-full", entering);
    box().classList.toggle("wd-night", night);
    // The question comes first, above the sliders.
    (entering ? box() : root).prepend(question);
    buttons.F.textContent = entering ? "Leave" : "Full screen";
    // Where the browser does not fill the screen, such as on a small phone, the demo fills the window.
    if (entering && screen) box().requestFullscreen?.().then(() => full() || document.exitFullscreen(), () => {});
    if (!entering && document.fullscreenElement === box()) document.exitFullscreen();
    view.rebuild();
    handles()[active]?.focus();
  };
  let filled = false; // whether the browser has filled its screen with this demo, not with another a moment ago
  const left = () => {
    const was = filled;
    filled = document.fullscreenElement === box();
    if (was && !filled && full()) toggleFull();
  };

  // By their keys; what a demo cannot do has neither key nor button. Only a page of the site has an address to link to.
  const actions = {
    " ": ["Play", "play through the slider's values", play],
    ...(view.pin && { P: ["Pin", "keep these curves for comparison", () => view.pin()] }),
    R: ["Reset", "clear pins, marks and fresh curves, put the sliders back", reset],
    H: ["Predict", "hide the curves for a prediction, then reveal them", predict],
    ...(onSite && spec.title && { L: ["Link", "copy a link to what is shown", link] }),
    F: ["Full screen", "fill the screen, or leave it", () => toggleFull()],
    "?": ["Keys", "list the keys", () => (help.hidden = !help.hidden)],
  };
  const buttons = {};
  const explain = (key, what) => {
    const entry = element("span", "wd-entry", help);
    element("kbd", "", entry, key);
    entry.append(` ${what} `);
  };
  explain("← →", "move the slider");
  for (const [key, [text, what, act]] of Object.entries(actions)) {
    explain(key === " " ? "Space" : key, what);
    const button = (buttons[key] = element("button", "wd-button", demo.bar, text));
    button.type = "button";
    button.dataset.key = key;
    button.title = what[0].toUpperCase() + what.slice(1);
    button.addEventListener("click", (event) => {
      act();
      if (event.detail && full()) handles()[active]?.focus(); // so that the next Space plays instead of pressing again
    });
  }

  // Whether the demo has a use for a key, and makes it.
  const answers = (target, key) => {
    const onSlider = target.matches?.(HANDLE), onChart = target.matches?.(".wd-canvas");
    if (onSlider) active = handles().indexOf(target);
    const by = ARROWS[key] ?? (onSlider ? LEAPS[key] : undefined);
    const act = actions[key.toUpperCase()]?.[2];
    if (by) stopPlaying();
    // On a chart of the page, or one to be marked, arrows move the cursor.
    if (by && (onSlider || (full() && !(onChart && demo.hidden)))) {
      set(active, Math.min(labels[active].length - 1, Math.max(0, at()[active] + by)));
    } else if (onChart && view.answers(target, key)) return true;
    else if (key === "Escape" && full()) toggleFull();
    else if (!act || (key === " " && target.tagName === "BUTTON")) return false; // a button answers Space itself
    else act();
    return true;
  };
  // Before anybody else hears of it, since a notebook may listen for keys while they are on their way to the demo.
  const press = (event) => {
    const { target, key, ctrlKey, altKey, metaKey } = event;
    const inside = box()?.contains(target);
    if (!(inside || full()) || (inside && target.matches("input"))) return; // such as the link, which is to be copied
    if (!inside) handles()[active]?.focus(); // so that nothing is typed into what lies behind a full screen
    const answered = !(ctrlKey || altKey || metaKey) && answers(target, key);
    if (answered) event.preventDefault();
    if (answered || toBeKept(event)) event.stopImmediatePropagation();
  };
  const grab = (event) => {
    const slider = box()?.contains(event.target) && event.target.closest(SLIDER);
    if (!slider) return;
    stopPlaying();
    active = [...box().querySelectorAll(SLIDER)].indexOf(slider);
  };
  demo.halt = stopPlaying; // for who interrupts the kernel
  sliders.forEach((slider) => slider.on("change:index", judge));
  window.addEventListener("keydown", press, true);
  window.addEventListener("pointerdown", grab, true);
  window.addEventListener("hashchange", open);
  document.addEventListener("fullscreenchange", left);
  // Once the demo is on the page and its first curves are drawn.
  const first = new MutationObserver(() => (first.disconnect(), open()));
  if (root.dataset.at !== undefined) requestAnimationFrame(open);
  else first.observe(root, { attributes: true, attributeFilter: ["data-at"] });

  return {
    stop: () => {
      stopPlaying();
      first.disconnect();
      sliders.forEach((slider) => slider.off("change:index", judge));
      window.removeEventListener("keydown", press, true);
      window.removeEventListener("pointerdown", grab, true);
      window.removeEventListener("hashchange", open);
      document.removeEventListener("fullscreenchange", left);
    },
  };
};
