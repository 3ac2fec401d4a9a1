// What convert.convert answers, for every target at once: the table comes from there, the products are taken here.

const answer = (table, values) => {
  const names = table.names;
  const from = table.forms[values.source];
  const fixed = from.optimizers.length === 1 ? { optimizer: from.optimizers[0] } : {};
  if (values.lambd === null) return { message: "Give λ, the number to be converted.", fixed };
  const { optimizer } = { ...values, ...fixed };
  const moves = values.momentum > 0;
  const path = moves ? ` momentum${values.schedule && " schedule"}` : "";
  const row = table.cases[optimizer === "adam" ? "adam" : `sgd${path}`][values.source];

  const [half, summed] = table.losses[values.loss];
  const [target_half, target_summed] = table.losses[values.target_loss];
  const known = { ...values, two: 2, half, target_half, m: values.m ?? values.batch_size };
  // The samples that a loss is summed over are m, or do not count where it is a mean.
  const flat = (powers) => {
    const total = {};
    for (const [name, power] of Object.entries(powers)) {
      const sums = { count: summed, target_count: target_summed }[name];
      if (sums === false) continue;
      const base = sums ? "m" : name;
      total[base] = (total[base] ?? 0) + power;
    }
    return Object.entries(total).filter(([, power]) => power !== 0);
  };
  const product = (powers) => powers.reduce((result, [name, power]) => result * known[name] ** power, 1);
  const lacking = (powers) => powers.map(([name]) => name).filter((name) => (known[name] ?? null) === null);

  const rows = [], none = new Map(), asks = new Map();
  names.forEach((key, i) => {
    const to = table.forms[key];
    const found = table.answers[row[i]];
    const refuse = (reason) => none.set(reason, [...(none.get(reason) ?? []), to.title]);
    if (typeof found === "string") return refuse(found);
    const carried = optimizer === "adam" || moves;
    if (carried && known.m !== values.batch_size && flat(found.scale).some(([name]) => name === "m")) return refuse("short");
    const powers = flat(found.lambd);
    const missing = lacking(powers).map((name) => table.symbols[name]);
    if (missing.length) {
      const what = [...new Set(missing)].join(" and ");
      return asks.set(what, [...(asks.get(what) ?? []), to.title]);
    }
    const rate = found.lr && flat(found.lr);
    const lr = !rate || lacking(rate).length ? null : product(rate);
    const other = lr !== null && Math.abs(lr / values.lr - 1) > 1e-9 ? `with the learning rate ${figures(lr)}. ` : "";
    rows.push({
      key,
      group: table.groups[to.family],
      name: to.title,
      code: to.code,
      value: values.lambd * product(powers),
      note: other + to.remark,
    });
  });
  const remarks = [
    ...[...asks].map(([what, titles]) => [titles.join("; "), `Give ${what} to see it.`]),
    ...[...none].map(([reason, titles]) => [titles.join("; "), table.reasons[reason]]),
  ];
  return { rows, remarks, fixed };
};
