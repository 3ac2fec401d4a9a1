// The recorded numbers of a demo as a table, for a spreadsheet.

// Rows for every position of the sliders and every column of the x axis; a number that is not there is left empty.
const tableOf = ({ spec, sliders, labels }, { panels }, axis) => {
  const series = panels.flatMap((panel) => panel.series);
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
      rows.push([...point, x, ...numbers.map((v) => (Number.isNaN(v) ? "" : Number(v.toPrecision(7))))]); // as float32 holds
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
