// What diagnose.diagnose answers, step by step as there; limits and verdicts come from there.

const learningRate = (t, { lr, steps, schedule }, warmUp) => {
  if (schedule === "constant") return lr;
  if (schedule === "cosine") return (lr * (1 + Math.cos((Math.PI * t) / steps))) / 2;
  const warm = schedule === "linear" ? 0 : Math.ceil(warmUp * steps);
  return t < warm ? (lr * t) / warm : (lr * (steps - t)) / (steps - warm);
};

const answer = ({ asked, verdicts, limits }, values) => {
  if (asked.some((name) => values[name] === null)) return { message: "Give η, λ, the number of steps and μ." };
  const { lr, lambd, steps, momentum, steps_per_epoch } = values;
  if (!Number.isInteger(steps)) return { message: `The number of steps must be a whole number, but it is ${steps}.` };

  let w = 1, v = 0, area = 0;
  for (let t = 0; t < steps && Math.abs(w) <= limits.far; t++) {
    const rate = learningRate(t, values, limits.warm_up);
    v = momentum * v + lambd * w;
    w -= rate * v;
    area += rate;
  }
  const perStep = (lr * lambd) / (1 - momentum);
  const timescale = 1 / perStep; // infinite without decay
  const epochs = steps_per_epoch === null ? NaN : timescale / steps_per_epoch;
  let verdict = Math.abs(w) < limits.start ? "start" : "pull";
  if (epochs < 1) verdict = "data";
  if (1 - Math.abs(w) < limits.nothing) verdict = "nothing";
  if (perStep >= 1) verdict = "strong";

  const row = (key, name, code, value) => ({ key, name, code, value, group: verdicts[verdict] });
  const rows = [
    row("shrink", "taken from a weight that no gradient holds up, in %", "100 (1 − ∏(1 − η_t λ))", 100 * (1 - w)),
    row("timescale", "time scale of the decay, in steps", "(1 − μ)/(ηλ)", timescale),
    row("epochs", "the same, in epochs", "", epochs),
    row("runs", "length of the run, in time scales", "λ Σ η_t/(1 − μ)", (area * lambd) / (1 - momentum)),
  ];
  return { rows: rows.filter(({ value }) => Number.isFinite(value)) };
};
