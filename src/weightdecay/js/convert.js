// What convert.convert answers, for every target at once: the table comes from there, the products are taken here.

const answer = (table, values) => {
  const names = table.names;
  const from = table.forms[values.source];
  const fixed = from.optimizers.length === 1 ? { optimizer: from.optimizers[0] } : {};
  if (values.lambd === null) return { message: "Give λ, the number to be converted.", fixed };
  if (values.lambd === 0 && from.inverse) return { message: table.inverse_zero, fixed };
  const { optimizer } = { ...values, ...fixed };
  const moves = optimizer === "sgd" && values.momentum > 0;
  const row = table.cases[optimizer + (moves ? " momentum" : "") + (values.schedule ? " schedule" : "")][values.source];

  const [half, summed] = table.losses[values.loss];
  const [target_half, target_summed] = table.losses[values.target_loss];
  const m = values.m ?? values.batch_size;
  const known = { ...values, two: 2, half, target_half, m, outputs: values.outputs ?? 1 };
  // A loss is summed over m samples, or it is a mean over k outputs.
  const flat = (powers) => {
    const total = {};
    for (const [name, power] of Object.entries(powers)) {
      const sums = { count: summed, target_count: target_summed }[name];
      const [base, sign] = sums === undefined ? [name, 1] : sums ? ["m", 1] : ["outputs", -1];
      total[base] = (total[base] ?? 0) + sign * power;
    }
    return Object.entries(total).filter(([, power]) => power !== 0);
  };
  // The product, or null where floating-point numbers end; C without a penalty is infinite.
  const product = (powers) => {
    const result = powers.reduce((so_far, [name, power]) => so_far * known[name] ** power, 1);
    const zero = powers.find(([name]) => known[name] === 0);
    if (zero && zero[1] < 0) return Infinity;
    return Number.isFinite(result) && (result !== 0 || zero) ? result : null;
  };
  const lacking = (powers) => powers.map(([name]) => name).filter((name) => (known[name] ?? null) === null);

  const rows = [], none = new Map(), asks = new Map(), one = [];
  names.forEach((key, i) => {
    const to = table.forms[key];
    const found = table.answers[row[i]];
    const refuse = (sentence) => none.set(sentence, [...(none.get(sentence) ?? []), to.title]);
    if (typeof found === "string") return refuse(table.reasons[found]);
    const scales = flat(found.scale).map(([name]) => name);
    const squared = scales.some((name) => name.endsWith("half") && known[name] === 2);
    if (squared && [from.loss, to.loss].includes("cross-entropy")) return refuse(table.reasons.loss);
    const carried = optimizer === "adam" || moves;
    if (carried && known.m !== values.batch_size && scales.includes("m")) return refuse(table.reasons.short);
    const powers = flat(found.lambd);
    const missing = lacking(powers).map((name) => table.symbols[name]);
    if (missing.length) {
      const what = [...new Set(missing)].join(" and ");
      return asks.set(what, [...(asks.get(what) ?? []), to.title]);
    }
    const rate = found.lr ? flat(found.lr) : [];
    const told = found.lr && !lacking(rate).length;
    const value = product(powers), lr = told ? product(rate) : values.lr;
    if (value === null || (told && lr === null)) return refuse(table.range);
    const notes = [to.remark];
    if (told && Math.abs(lr / values.lr - 1) > 1e-9) notes.unshift(`with the learning rate ${figures(lr)}.`);
    const averaged = [...powers, ...rate].some(([name]) => name === "outputs");
    if (values.outputs === null && averaged) one.push(to.title);
    rows.push({
      key,
      group: table.groups[to.family],
      name: to.title,
      code: to.code,
      value,
      note: notes.filter(Boolean).join(" "),
    });
  });
  const remarks = [
    ...(from.remark ? [[`Where your λ comes from: ${from.title}`, from.remark]] : []),
    ...(one.length ? [[one.join("; "), table.one_output]] : []),
    ...[...asks].map(([what, titles]) => [titles.join("; "), `Give ${what} to see it.`]),
    ...[...none].map(([sentence, titles]) => [titles.join("; "), sentence]),
  ];
  return { rows, remarks, fixed };
};
