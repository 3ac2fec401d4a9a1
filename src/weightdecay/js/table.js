// The numbers of a demo as a table, for a spreadsheet: all that is recorded, and below it the fresh run, if there is one.

// Rows for every position of the sliders and every column of the x axis; a number that is not there is left empty.
const tableOf = ({ spec, sliders, labels }, curves, axis) => {
  const field = (v) => (v === undefined || Number.isNaN(v) ? "" : Number(v.toPrecision(7))); // as many digits as float32 holds
  const series = curves.panels.flatMap((panel) => panel.series);
  const parts = series.flatMap((one) =>
    [["values", ""], ["low", ", 10 %"], ["high", ", 90 %"]].filter(([part]) => one[part]).map(([part, name]) => [one[part], one.name + name]),
  );
  // A slider may stop between recorded values too.
  const recorded = labels.map((all, i) => all.filter((_, k) => !spec.between || spec.between[i][k][1] === ""));
  const rows = [[...sliders.map((slider) => slider.get("description")), spec.x.label, ...parts.map(([, name]) => name)]];
  const count = spec.shape.reduce((product, size) => product * size, 1);
  for (let flat = 0; flat < count; flat += 1) {
    const point = [];
    spec.shape.reduceRight((rest, size, i) => {
      point[i] = recorded[i][rest % size];
      return Math.floor(rest / size);
    }, flat);
    axis.values.forEach((x, column) => {
      if (Number.isNaN(x)) return; // the gap beside a 0 that stands apart
      const numbers = parts.map(([values]) => values[flat * axis.values.length + column]);
      rows.push([...point, x, ...numbers.map(field)]);
    });
  }
  const run = curves.current();
  if (run) {
    const fresh = series.map((one) => (run.series[one.key] ? floats(run.series[one.key]) : null));
    const point = labels.map((all, i) => all[run.at[i]]);
    axis.values.forEach((x, column) => {
      if (Number.isNaN(x)) return;
      const numbers = fresh.flatMap((values, i) => [field(values?.[column]), ...(series[i].low ? ["", ""] : [])]);
      rows.push([...point, x, ...numbers]);
    });
  }
  return rows;
};

const download = (title, rows) => {
  const field = (value) => (/[",\n]/.test(value) ? `"${String(value).replace(/"/g, '""')}"` : value);
  const text = rows.map((row) => `${row.map(field).join(",")}\r\n`).join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `${title.replace(/[^\p{L}\p{N}]+/gu, "-") || "curves"}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
