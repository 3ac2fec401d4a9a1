// The marks on the charts of one demo. `truth(panel, series)` gives a variable's curve at the sliders' position.
const makeMarks = ({ spec, axis, panels, truth }) => {
  let marks = [];
  let height = 0.5; // of the cross that arrow keys move, as a share of the chart
  const letter = (i) => String.fromCharCode(65 + i);
  const distance = (guess, value, log, [less, more]) => {
    if (guess === value) return "exactly right";
    const off = log && guess > 0 && value > 0 ? `${round(Math.max(guess / value, value / guess))} times` : round(Math.abs(guess - value));
    return `${off} too ${guess < value ? less : more}`;
  };
  const judge = ({ panel: number, column, y }) => {
    const panel = panels[number], x = axis.values[column];
    const sought = panel.series.find((one) => one.best);
    if (sought) {
      const curve = truth(panel, sought);
      const better = (a, b) => (sought.best === "lowest" ? a < b : a > b);
      const best = curve.reduce((best, v, i) => ((v ?? null) !== null && (best < 0 || better(v, curve[best])) ? i : best), -1);
      if (best < 0) return `${sought.name} has no number here`;
      const off = distance(x, axis.values[best], spec.x.log, ["small", "large"]);
      return `${sought.name} is ${sought.best} at ${spec.x.label} ${round(axis.values[best])}, marked at ${round(x)}: ${off}`;
    }
    const place = (v) => (panel.log ? Math.log(v) : v);
    const [nearest] = panel.series
      .map((one) => ({ name: one.name, value: truth(panel, one)[column] }))
      .filter(({ value }) => value !== null && value !== undefined)
      .sort((a, b) => Math.abs(place(a.value) - place(y)) - Math.abs(place(b.value) - place(y)));
    if (!nearest) return `no curve gets to ${spec.x.label} ${round(x)}`;
    const off = distance(y, nearest.value, panel.log, ["low", "high"]);
    return `${nearest.name} at ${spec.x.label} ${round(x)} is ${round(nearest.value)}, marked ${round(y)}: ${off}`;
  };
  return {
    count: () => marks.length,
    clear: () => (marks = []),
    nudge: (by) => (height = Math.min(1, Math.max(0, height + by))),
    // A mark at a column of the axis, `top` pixels below the upper edge of the panel, or where the cross is.
    add(number, column, top = null) {
      const { plot } = panels[number];
      const beside = Number.isNaN(axis.values[column]) ? column - 1 : column; // the gap that parts 0 from the rest
      marks.push({ panel: number, column: beside, y: plot.posToVal(top ?? (1 - height) * plot.over.clientHeight, "y") });
    },
    judge: () => marks.map((mark, i) => `${letter(i)}: ${judge(mark)}.`).join(" "),
    // Crosses with their letters; for the panel that has the keyboard also the cross that Enter would set.
    draw(plot, number, colour, size, cross) {
      const { ctx, bbox } = plot, scale = window.devicePixelRatio, arm = 0.6 * size * scale;
      const at = (x, y, text) => {
        ctx.beginPath();
        for (const slope of [-1, 1]) {
          ctx.moveTo(x - arm, y - slope * arm);
          ctx.lineTo(x + arm, y + slope * arm);
        }
        ctx.stroke();
        const fits = x + 3 * arm < bbox.left + bbox.width;
        ctx.textAlign = fits ? "left" : "right";
        ctx.fillText(text, x + (fits ? 1.5 : -1.5) * arm, y);
      };
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = colour;
      ctx.setLineDash([]);
      ctx.lineWidth = (size / 5) * scale;
      ctx.font = `bold ${1.3 * size * scale}px system-ui, sans-serif`;
      ctx.textBaseline = "middle";
      marks.forEach((mark, i) => {
        if (mark.panel !== number) return;
        at(plot.valToPos(axis.positions[mark.column], "x", true), plot.valToPos(mark.y, "y", true), letter(i));
      });
      if (cross !== null) {
        ctx.lineWidth = scale;
        at(plot.valToPos(axis.positions[cross], "x", true), bbox.top + (1 - height) * bbox.height, "");
      }
      ctx.restore();
    },
  };
};
