// Shows the demos and forms of a page without a widget manager. widgets.py has written each as a script that hands over its
// models, and each kind of widget as one that hands over its module: scripts, since a page from a disk may fetch nothing
// else. A demo's is fetched when it comes near the window.

const weightdecay = (() => {
  const folder = new URL("demos/", document.currentScript.src).href;
  const brought = {}; // what the scripts have handed over, by their names
  const asked = {};
  const fetchScript = (name) =>
    (asked[name] ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${folder}${name}.js`;
      script.onload = () => resolve(brought[name.replace("../", "")]);
      script.onerror = () => {
        delete asked[name]; // it may be there when it is asked for again
        reject(new Error(`${script.src} could not be loaded`));
      };
      document.head.append(script);
    }));

  // Puts the bytes that JSON cannot hold where they belong.
  const fill = ({ state, buffers = [] }, view = DataView) => {
    for (const { path, data } of buffers) {
      const place = path.slice(0, -1).reduce((at, key) => at[key], state);
      place[path[path.length - 1]] = new view(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
    }
    return state;
  };
  // As much of a widget's model as its module uses; there is no kernel to save anything in.
  class Model {
    constructor(packed, models) {
      this.state = fill(packed);
      this.handlers = {};
      this.widget_manager = { get_model: async (id) => models[id] };
    }
    get(name) {
      return this.state[name];
    }
    set(name, value) {
      if (this.state[name] === value) return;
      this.state[name] = value;
      this.tell(name);
    }
    tell(name) {
      (this.handlers[`change:${name}`] ?? []).slice().forEach((handler) => handler());
    }
    save_changes() {}
    on(event, handler) {
      (this.handlers[event] ??= []).push(handler);
    }
    off(event, handler) {
      this.handlers[event] = (this.handlers[event] ?? []).filter((one) => one !== handler);
    }
  }

  const drawSlider = (model, parent) => {
    if (model.free) return drawFreeSlider(model, parent);
    const labels = model.get("_options_labels");
    const row = parent.appendChild(document.createElement("label"));
    row.className = "wd-slider";
    const [name, input, output] = ["span", "input", "output"].map((tag) => row.appendChild(document.createElement(tag)));
    name.textContent = model.get("description");
    Object.assign(input, { type: "range", min: 0, max: labels.length - 1, step: 1 });
    const show = () => {
      input.value = model.get("index");
      output.textContent = labels[input.value];
    };
    input.addEventListener("input", () => model.set("index", Number(input.value)));
    model.on("change:index", show);
    show();
  };

  // A slider of a demo that trains here takes every value, also one that is typed; near a recorded one it snaps.
  const drawFreeSlider = (model, parent) => {
    const { name, stops, take, value } = model.free;
    const positive = stops.filter((stop) => stop > 0);
    const log = Math.min(...stops) >= 0 && Math.max(...positive) > 10 * Math.min(...positive);
    const [least, most] = [Math.min(...positive), Math.max(...positive)].map(Math.log10);
    const zero = least - Math.max(0.4, 0.08 * (most - least)); // as on the chart's axis
    const scale = (v) => (log ? (v > 0 ? Math.max(Math.log10(v), zero) : zero) : v);
    const [low, high] = [scale(Math.min(...stops)), scale(Math.max(...stops))];
    const place = (v) => (1000 * (scale(v) - low)) / (high - low);
    const at = (position) => {
      const near = stops.find((stop) => Math.abs(place(stop) - position) < 6);
      const exact = low + (position / 1000) * (high - low);
      return near ?? Number((log ? 10 ** exact : exact).toPrecision(3));
    };
    const row = parent.appendChild(document.createElement("div"));
    row.className = "wd-slider";
    const make = (tag, options) => Object.assign(row.appendChild(document.createElement(tag)), options);
    make("span", { textContent: model.get("description") });
    const ticks = make("datalist", { id: `ticks-${Math.random().toString(36).slice(2)}` });
    stops.forEach((stop) => (ticks.appendChild(document.createElement("option")).value = place(stop)));
    const range = make("input", { type: "range", min: 0, max: 1000, step: "any" });
    range.setAttribute("list", ticks.id);
    const number = make("input", { className: "wd-number", name, inputMode: "decimal", autocomplete: "off", size: 6 });
    number.setAttribute("aria-label", `${model.get("description")}, any value`);
    const wrong = make("span", { className: "wd-wrong", role: "alert" });
    const show = () => {
      range.value = place(value());
      number.value = model.get("_options_labels")[model.get("index")];
      wrong.textContent = "";
    };
    range.addEventListener("input", () => take(at(Number(range.value))));
    number.addEventListener("change", () => {
      const typed = number.value.trim() === "" ? NaN : Number(number.value.replace(",", ".").replace("−", "-"));
      const share = name === "p"; // a probability to drop, by which 1 − p is divided
      const fine = Number.isFinite(typed) && (stops.some((stop) => stop < 0) || typed >= 0) && !(share && typed >= 1);
      if (fine) return take(typed);
      const allowed = share ? "at least 0 and below 1" : "a finite number that is not negative";
      wrong.textContent = `${model.get("description")} must be ${allowed}, but it is ${number.value || "nothing"}.`;
    });
    model.on("change:index", show);
    show();
  };

  // Lets a demo whose program is beside it train on this page, as a kernel would.
  let runtime = null; // of all demos of the page, once one is to train
  const makeTrainable = (chart, sliders, place) => {
    const spec = chart.get("spec"), { name, params, runtime: parts } = chart.get("program");
    spec.between ??= sliders.map((slider) => slider.get("_options_labels").map((_, k) => [k, ""]));
    sliders.forEach((slider, i) => {
      const labels = slider.get("_options_labels"), between = spec.between[i], values = [...spec.stops[i]];
      const count = values.length; // the stop after the last stands for a value that is none of them
      const value = () => values[slider.get("index")];
      const take = (wanted) => {
        let index = values.slice(0, count).indexOf(wanted);
        if (index < 0) {
          index = count;
          const off = values.slice(0, count).map((stop, k) => (between[k][1] ? Infinity : Math.abs(stop - wanted)));
          const near = off.indexOf(Math.min(...off));
          [values[index], labels[index], between[index]] = [wanted, String(wanted), [between[near][0], labels[near]]];
        }
        if (slider.get("index") === index) slider.tell("index");
        else slider.set("index", index);
        return index;
      };
      // The stop beside the present value, on one side or the other.
      const order = values.map((_, k) => k).sort((a, b) => values[a] - values[b]);
      const beside = (by) => {
        if (slider.get("index") < count) return slider.get("index") + by;
        return by > 0 ? (order.find((k) => values[k] > value()) ?? order[count - 1]) : ([...order].reverse().find((k) => values[k] < value()) ?? order[0]);
      };
      slider.free = { name: params[i], stops: values.slice(0, count), take, value, beside, count };
    });
    let latest = 0, loaded = {}; // by which worker
    const train = async () => {
      const mine = (latest += 1), at = sliders.map((slider) => slider.get("index"));
      const parameters = Object.fromEntries(sliders.map((slider, i) => [params[i], slider.free.value()]));
      const show = (state, more) => mine === latest && chart.set("run", { at, state, device: "here", message: "", series: {}, ...more });
      const loading = document.createElement("label"), bar = loading.appendChild(document.createElement("progress"));
      try {
        if (!runtime) {
          place.querySelector(".wd-bar").after(loading);
          bar.before("loading what trains here, 4 MB: ");
          runtime = fetchScript("../trainer").then(({ begin }) => begin(fetchScript, parts, (share) => (bar.value = share)));
        }
        const send = await runtime;
        if (loaded.by !== send) loaded = { by: send, done: fetchScript(name).then((packed) => send({ name, program: fill(packed, Uint8Array) })) };
        await loaded.done;
        if (mine !== latest) return;
        show("starting");
        const x = [...new Float64Array(spec.x.values.buffer)];
        const ended = await send({ name, parameters, x }, ({ state, series, seconds }) => {
          const long = seconds > 20 ? "this takes long here: stop it (T), or move the slider." : "";
          if (state === "running") show("running", { series, seconds, message: long });
        });
        const { state, series, seconds, step, wrong } = ended;
        if (state === "replaced") show("stopped", { message: "stopped: move the slider to train again." });
        else show(state, { series, seconds, message: wrong ? `diverged: at ${spec.x.label} ${step} the ${wrong}; lower η or λ.` : "" });
      } catch (error) {
        [runtime, loaded] = [null, {}];
        show("error", { message: `this browser cannot train here (${error.message}); what is recorded stays.` });
      } finally {
        loading.remove();
      }
    };
    const stop = async () => (await runtime)?.({ stop: true });
    const busy = () => ["starting", "running"].includes(chart.get("run").state);
    chart.train = () => (busy() ? stop() : train());
    // Off the record the page trains by itself; a further move takes the place of the last.
    let soon = null;
    const moved = () => {
      clearTimeout(soon);
      if (busy()) stop();
      latest += 1;
      chart.state.run = {}; // of other values, though the sliders' stops may be the same
      if (sliders.some((slider, i) => spec.between[i][slider.get("index")][1] !== "")) soon = setTimeout(train, 30);
    };
    sliders.forEach((slider) => slider.on("change:index", moved));
  };

  const draw = async (id, parent, models, modules) => {
    const model = models[id];
    if (model.get("_model_name") === "SelectionSliderModel") return drawSlider(model, parent);
    const box = parent.appendChild(document.createElement("div"));
    box.className = model.get("_dom_classes").join(" ");
    if (modules[id]) return (await fetchScript(modules[id])).render({ model, el: box });
    for (const child of model.get("children")) await draw(child.replace("IPY_MODEL_", ""), box, models, modules);
  };
  const show = async (place) => {
    const { root, models: states, modules } = await fetchScript(place.dataset.demo);
    const models = {};
    for (const [id, one] of Object.entries(states)) models[id] = new Model(one, models);
    const chart = Object.values(models).find((model) => model.get("program")?.name);
    if (chart) makeTrainable(chart, chart.get("sliders").map((id) => models[id.replace("IPY_MODEL_", "")]), place);
    // A chart and a form set an attribute once they have drawn; then they take the place of what stood for them.
    const drawn = new MutationObserver(() => {
      if (!place.querySelector(".wd[data-at], .wd-form[data-state]")) return;
      drawn.disconnect();
      place.classList.add("wd-drawn");
    });
    drawn.observe(place, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-at", "data-state"] });
    await draw(root, place, models, modules);
  };

  const start = ({ target }) => {
    near.unobserve(target);
    target.dataset.asked ??= (show(target), "");
  };
  const near = new IntersectionObserver((entries) => entries.filter((one) => one.isIntersecting).forEach(start), {
    rootMargin: "800px",
  });
  const places = [...document.querySelectorAll(".wd-place[data-demo]")];
  places.forEach((place) => near.observe(place));
  // A link opens a demo wherever it stands on the page.
  const follow = () => new URLSearchParams(location.hash.slice(1)).has("demo") && places.forEach((target) => start({ target }));
  window.addEventListener("hashchange", follow);
  follow();

  return { bring: (name, thing) => (brought[name] = thing), fetchScript };
})();
