"use strict";
// The page of an audit: its chart, and the legend that shows and hides curves.
(() => {
  const { axis, rounded, line, tint, escaped, show, draw } = window.iqattack.plots;
  const { theme, percent } = window.iqattack;
  const id = "chart-gain";
  const hidden = new Set(); // numbers of curves

  const colourOf = ({ colour }) => (colour === null ? "faint" : `series-${colour}`);

  function traces(curve) {
    const worst = curve.kind === "worst";
    const main = {
      type: "scatter", x: curve.queries, y: curve.gain, name: curve.name, showlegend: false,
      ...line(colourOf(curve), { width: worst ? 3.5 : 1.5, dash: curve.dash ? curve.dash.replaceAll(/\d+/g, "$&px").replaceAll(" ", ",") : "solid" }),
      opacity: worst || curve.kind === "reference" ? 1 : 0.75,
      customdata: curve.gain.map((gain, k) => (curve.low[k] === null ? percent(gain) : `${percent(gain)} [${percent(curve.low[k])}, ${percent(curve.high[k])}]`)),
      hovertemplate: `${escaped(curve.name)}<br>%{x:,} queries: %{customdata}<extra></extra>`,
    };
    if (!worst || curve.low.includes(null)) return [main];
    const end = { type: "scatter", x: curve.queries, hoverinfo: "skip", showlegend: false, ...line(colourOf(curve), { width: 0 }) };
    return [
      { ...end, y: curve.low },
      { ...end, y: curve.high, fill: "tonexty", fillcolor: tint(colourOf(curve)) },
      main,
    ];
  }

  // Names at the right ends of the curves, moved apart where they would overlap.
  function labels(curves, top, height) {
    const apart = 15;
    const ends = curves
      .filter((curve) => curve.label)
      .map((curve) => ({ curve, at: curve.gain.at(-1), y: (height * curve.gain.at(-1)) / top }))
      .sort((a, b) => a.y - b.y);
    let last = -apart;
    return ends.map(({ curve, at, y }) => {
      last = Math.max(y, last + apart);
      const name = curve.label.length > 20 ? `${curve.label.slice(0, 19)}…` : curve.label;
      return {
        x: 1, xref: "paper", xanchor: "left", y: at, yanchor: "middle", yshift: last - y, showarrow: false,
        text: curve.kind === "worst" ? `<b>${escaped(name)}</b>` : escaped(name),
        font: { color: theme.colour(curve.colour === null ? "grey" : colourOf(curve)), size: 12 },
      };
    });
  }

  function start({ curves }) {
    if (!document.getElementById(id)) return;
    const values = curves.flatMap(({ kind, gain, high }) => (kind === "worst" ? [...gain, ...high] : gain));
    const top = 1.06 * Math.max(0.01, ...values);
    const queries = curves.flatMap((curve) => curve.queries);
    const most = Math.max(2, ...queries);
    // The most important curves are drawn last, over the others.
    const order = { reference: 0, attack: 1, worst: 2 };
    show(id, () => {
      const shown = curves.filter((_, k) => !hidden.has(k)).sort((a, b) => order[a.kind] - order[b.kind]);
      const element = document.getElementById(id);
      const wide = element.clientWidth >= 600;
      return {
        traces: shown.flatMap(traces),
        layout: {
          xaxis: axis("queries per image", { type: "log", range: [-0.02 * Math.log10(most), Math.log10(most)], tickvals: rounded([1, most]), tickformat: ",d" }),
          yaxis: axis("mean gain, of the score range", { tickformat: ".0%", range: [0, top] }),
          margin: { l: 10, r: wide ? 150 : 10, t: 10, b: 10 },
          annotations: wide ? labels(shown, top, element.clientHeight - 60) : [],
        },
      };
    });
    document.querySelectorAll("[data-curves]").forEach((box) => {
      box.checked = true; // whatever a browser remembers
      box.addEventListener("change", () => {
        for (const k of box.dataset.curves.split(" ")) hidden[box.checked ? "delete" : "add"](Number(k));
        draw(id);
      });
    });
  }

  start(JSON.parse(document.getElementById("data").textContent));
})();
