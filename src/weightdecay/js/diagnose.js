// What diagnose.diagnose answers, step by step as there; limits and verdicts come from there.

const learningRate = ({ lr, steps }, { fall, warm: share, floor }, milestones) => {
  const warm = Math.ceil(share * steps);
  const left = {
    constant: () => 1,
    line: (done) => 1 - done,
    cosine: (done) => floor + ((1 - floor) * (1 + Math.cos(Math.PI * done))) / 2,
    steps: (done) => milestones.reduce((rate, [after, then]) => (done >= after ? then : rate), 1),
  }[fall];
  return (t) => (t < warm ? (lr * t) / warm : lr * left((t - warm) / (steps - warm)));
};

const answer = ({ asked, schedules, steps: milestones, both, adam, verdicts, limits }, values) => {
  if (asked.some((name) => values[name] === null)) return { message: "Give η, λ and the number of steps." };
  const { lr, lambd, steps, steps_per_epoch, nesterov } = values;
  const momentum = values.momentum ?? 0, dampening = values.dampening ?? 0;
  if (nesterov && dampening) return { message: both };

  const passed = momentum ? 1 - dampening : 1;
  const rateAt = learningRate(values, schedules[values.schedule], milestones);
  let w = 1, v = 0, area = 0;
  for (let t = 0; t < steps && Math.abs(w) <= limits.far; t++) {
    const rate = rateAt(t);
    v = momentum * v + (t ? passed : 1) * lambd * w;
    w -= rate * (nesterov ? lambd * w + momentum * v : v);
    area += rate;
  }
  const perStep = (lr * lambd * passed) / (1 - momentum);
  const timescale = 1 / perStep; // infinite without decay
  const epochs = steps_per_epoch === null ? NaN : timescale / steps_per_epoch;
  let verdict = Math.abs(w) < limits.start ? "start" : "pull";
  const { several } = limits;
  if (several * epochs < 1 && steps / steps_per_epoch > several) verdict = "data";
  if (1 - Math.abs(w) < limits.nothing) verdict = "nothing";
  if (perStep >= 1) verdict = "strong";

  const row = (key, name, code, value) => ({ key, name, code, value, group: verdicts[verdict] });
  const rows = [
    row("shrink", "taken from a weight that no gradient holds up, in %", "100 (1 − ∏(1 − η_t λ))", 100 * (1 - w)),
    row("timescale", "time scale of the decay, in steps", "(1 − μ)/(ηλ(1 − dampening))", timescale),
    row("epochs", "the same, in epochs", "", epochs),
    row("runs", "length of the run, in time scales", "λ Σ η_t (1 − dampening)/(1 − μ)", (area * lambd * passed) / (1 - momentum)),
  ];
  return { rows: rows.filter(({ value }) => Number.isFinite(value)), remarks: [["torch.optim.Adam", adam]] };
};
