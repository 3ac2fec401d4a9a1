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
      script.onload = () => resolve(brought[name]);
      script.onerror = () => reject(new Error(`${script.src} could not be loaded`));
      document.head.append(script);
    }));

  // As much of a widget's model as its module uses; there is no kernel to save anything in.
  class Model {
    constructor({ state, buffers = [] }, models) {
      this.state = state;
      this.handlers = {};
      this.widget_manager = { get_model: async (id) => models[id] };
      for (const { path, data } of buffers) {
        const place = path.slice(0, -1).reduce((at, key) => at[key], state);
        place[path[path.length - 1]] = new DataView(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
      }
    }
    get(name) {
      return this.state[name];
    }
    set(name, value) {
      if (this.state[name] === value) return;
      this.state[name] = value;
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

  return { bring: (name, thing) => (brought[name] = thing) };
})();
