// One demo, as chart.Chart describes it: where its sliders stand, and what its charts and tools share. What draws it is
// lines.js or pictures.js; classroom.js has its buttons and keys.

async function render({ model, el }) {
  const spec = model.get("spec");
  const sliders = await Promise.all(
    model.get("sliders").map((reference) => model.widget_manager.get_model(reference.replace("IPY_MODEL_", ""))),
  );
  const labels = sliders.map((slider) => slider.get("_options_labels"));
  const at = () => sliders.map((slider) => slider.get("index"));
  el.classList.add("wd-host");
  const root = element("div", "wd", el);
  root.toggleAttribute("data-trains", Boolean(model.train));
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", spec.title || "Curves under the sliders");
  const demo = {
    model, spec, sliders, labels, at, root,
    start: at(),
    bar: element("div", "wd-bar", root),
    // The stops of a slider; where a page trains, one more stands for any other value.
    count: (i) => sliders[i].free?.count ?? labels[i].length,
    hidden: false, // while a class makes its prediction
    // The place of what is recorded nearest to a position: a slider may stop between recorded values too.
    flat: (position = at()) =>
      position.reduce((sum, index, i) => sum * spec.shape[i] + (spec.between?.[i][index][0] ?? index), 0),
    nearest: (position = at()) =>
      sliders
        .map((slider, i) => [slider.get("description"), spec.between?.[i][position[i]][1]])
        .filter(([, label]) => label)
        .map(([name, label]) => `${name} = ${label}`)
        .join(", "),
    where: (position = at()) =>
      sliders.map((slider, i) => `${slider.get("description")} = ${labels[i][position[i]]}`).join(", "),
    go: (position) =>
      sliders.forEach((slider, i) => {
        slider.set("index", position[i]);
        slider.save_changes();
      }),
    // ipywidgets gives its slider no name, and as its value the position instead of the number; version 7 not even a role.
    nameSliders: () =>
      root.closest(".wd-demo")?.querySelectorAll(HANDLE).forEach((handle, i) => {
        if (!handle.matches("input, [aria-valuemax]")) {
          handle.setAttribute("role", "slider");
          handle.setAttribute("aria-valuenow", at()[i]);
        }
        handle.setAttribute("aria-label", sliders[i].get("description"));
        handle.setAttribute("aria-valuetext", labels[i][at()[i]]);
      }),
  };
  const view = spec.frames ? pictures(demo) : lines(demo);
  const tools = classroom(demo, view);
  return () => {
    tools.stop();
    view.stop();
  };
}

export default { render };
