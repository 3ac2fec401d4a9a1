// The buttons and keys of a demo, for a reader and for a class: playing, full screen, and predictions that are marked
// before the truth is drawn.

const PLAY_MS = 800;
// What is moved of a slider: the site's own is one element, ipywidgets draws a handle, version 7 with jQuery.
const HANDLE = ".wd-slider input[type=range], .noUi-handle, .ui-slider-handle";
const SLIDER = ".wd-slider input[type=range], .noUi-target, .ui-slider";
const IN_THE_ROW = [" ", "H", "F"]; // the others are in a menu
const ARROWS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
const LEAPS = { PageDown: -5, PageUp: 5, Home: -Infinity, End: Infinity };

// `view` draws the demo: curves can be pinned and marked, pictures only hidden.
const classroom = (demo, view) => {
  const { model, spec, sliders, at, go, count, root } = demo;
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
    const last = count(active) - 1;
    if (at()[active] >= last) set(active, 0);
    player = setInterval(() => {
      if (view.busy?.()) return; // this value is still being trained
      if (at()[active] >= last) return stopPlaying();
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
    const asked = spec.question && !full() ? `${spec.question} ` : ""; // a full screen shows it all the time
    note.textContent = demo.hidden ? `${asked}${how}, then reveal.` : "";
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
  const { link, open } = links(demo, view, { box, note, full, toggleFull, reset });
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
    H: ["Predict", "hide the curves for a prediction, then reveal them", predict],
    ...(model.train && { T: ["Train here", "train here at what the sliders say, or stop that", model.train] }),
    F: ["Full screen", "fill the screen, or leave it", () => toggleFull()],
    R: ["Reset", "clear pins, marks and fresh curves, put the sliders back", reset],
    ...(onSite && spec.title && { L: ["Link", "copy a link to what is shown", link] }),
    ...(view.table && { D: ["CSV", "download the numbers, as a table of comma-separated values", () => download(spec.title, view.table())] }),
    "?": ["Keys", "list the keys", () => (help.hidden = !help.hidden)],
  };
  const buttons = {};
  const more = element("details", "wd-more", demo.bar);
  element("summary", "wd-button", more, "More");
  const menu = element("div", "wd-menu", more);
  const explain = (key, what) => {
    const entry = element("span", "wd-entry", help);
    element("kbd", "", entry, key);
    entry.append(` ${what} `);
  };
  explain("← →", "move the slider");
  for (const [key, [text, what, act]] of Object.entries(actions)) {
    explain(key === " " ? "Space" : key, what);
    const inRow = IN_THE_ROW.includes(key);
    const button = (buttons[key] = element("button", "wd-button", inRow ? demo.bar : menu, text));
    if (inRow) more.before(button);
    button.type = "button";
    button.dataset.key = key;
    button.title = what[0].toUpperCase() + what.slice(1);
    button.addEventListener("click", (event) => {
      act();
      if (more.contains(button)) {
        more.open = false;
        more.firstChild.focus();
      }
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
      const to = Math.abs(by) === 1 && sliders[active].free ? sliders[active].free.beside(by) : at()[active] + by;
      set(active, Math.min(count(active) - 1, Math.max(0, to)));
    } else if (onChart && view.answers(target, key)) return true;
    else if (key === "Escape" && more.open) more.open = false;
    else if (key === "Escape" && full()) toggleFull();
    else if (!act || (key === " " && target.matches?.("button, summary"))) return false; // which answer Space themselves
    else act();
    return true;
  };
  // Before anybody else hears of it, since a notebook may listen for keys while they are on their way to the demo.
  const press = (event) => {
    const { target, key, ctrlKey, altKey, metaKey } = event;
    const inside = box()?.contains(target);
    if (!(inside || full()) || (inside && target.matches("input:not([type=range])"))) return; // such as the link, which is to be copied
    if (!inside) handles()[active]?.focus(); // so that nothing is typed into what lies behind a full screen
    const answered = !(ctrlKey || altKey || metaKey) && answers(target, key);
    if (answered) event.preventDefault();
    if (answered || toBeKept(event)) event.stopImmediatePropagation();
  };
  const grab = (event) => {
    if (!more.contains(event.target)) more.open = false;
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
