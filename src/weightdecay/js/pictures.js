// Pictures under the sliders, one for each position, with its text.

const pictures = (demo) => {
  const { spec, sliders, at, root, flat } = demo;
  const picture = element("img", "wd-frame", root);
  const caption = element("p", "wd-summary", root);
  caption.setAttribute("aria-live", "polite");
  const urls = spec.frames.map((frame) => URL.createObjectURL(new Blob([bytes(frame)], { type: "image/webp" })));
  const draw = () => {
    picture.src = urls[flat()];
    picture.classList.toggle("wd-hidden", demo.hidden);
    picture.alt = caption.textContent = demo.hidden ? `${demo.where()}: hidden until you reveal it.` : spec.alts[flat()];
    root.dataset.at = at().join(",");
    demo.nameSliders();
  };
  sliders.forEach((slider) => slider.on("change:index", draw));
  draw();
  return {
    draw,
    rebuild: draw,
    reset: () => {
      demo.go(demo.start);
      draw(); // a picture that was hidden is shown again, even where no slider has moved
    },
    stop: () => {
      sliders.forEach((slider) => slider.off("change:index", draw));
      urls.forEach((url) => URL.revokeObjectURL(url));
    },
  };
};
