"use strict";
// The charts of a run, from data.js.
(() => {
  const { theme } = window.iqattack;
  const { axis, scale, whole, rounded, line, tint, escaped, show, forget } = window.iqattack.plots;
  const ways = [
    { way: "down", label: "made to look worse", symbol: "triangle-down" },
    { way: "up", label: "made to look better", symbol: "triangle-up" },
    { way: "quiet", label: "unchanged", symbol: "circle" },
  ];
  const wayOf = (image) => (image.status === "unchanged" ? "quiet" : image.direction);
  // Points of images, one trace for each direction, one for those that were not changed.
  function points(images, x, y, more = () => ({})) {
    return ways
      .map(({ way, label, symbol }) => ({ way, label, symbol, of: images.filter((i) => wayOf(i) === way) }))
      .filter(({ of }) => of.length)
      .map(({ way, label, symbol, of }) => ({
        type: "scatter",
        mode: "markers",
        name: label,
        x: of.map(x),
        y: of.map(y),
        text: of.map((image) => escaped(image.name)),
        hovertemplate: "%{text}<br>%{x:.4~g}, %{y:.4~g}<extra></extra>",
        marker: { color: theme.colour(way), symbol, size: 8, opacity: 0.8 },
        ...more(way, label),
      }));
  }

  function all(data) {
    const done = data.images.filter((image) => image.gain !== null);
    const { scores, curve, crossing } = data;
    const end = [Math.min(...scores), Math.max(...scores)];

    show("chart-scores", () => ({
      traces: [
        { type: "scatter", x: end, y: end, name: "equal scores", hoverinfo: "skip", ...line("quiet", { dash: "dash", width: 1 }) },
        ...points(done, (image) => image.clean, (image) => image.attacked),
      ],
      layout: {
        // In a narrow chart, one line has no room for it.
        xaxis: scale("clean model score", data.lower_better, document.getElementById("chart-scores").clientWidth < 400 ? "<br>" : " "),
        yaxis: scale("attacked model score", data.lower_better, "<br>"),
      },
    }));

    if (document.getElementById("chart-mos")) {
      const rated = done.filter((image) => image.mos !== null);
      show("chart-mos", () => ({
        traces: [
          {
            type: "scatter", mode: "markers", name: "clean",
            x: rated.map((image) => image.mos), y: rated.map((image) => image.clean),
            text: rated.map((image) => escaped(image.name)),
            hovertemplate: "%{text}<br>%{x:.4~g}, %{y:.4~g}<extra></extra>",
            marker: { color: theme.colour("quiet"), symbol: "circle-open", size: 8 },
          },
          ...points(rated, (image) => image.mos, (image) => image.attacked),
        ],
        layout: {
          xaxis: scale(data.mos_lower_better ? "DMOS" : "MOS", data.mos_lower_better),
          yaxis: scale("model score", data.lower_better, "<br>"),
        },
      }));
    }

    if (data.ranking) {
      const { ranking } = data;
      const measure = (name, label, more) => ({
        type: "scatter", x: ranking.queries, y: ranking[name], name: label, ...line(...more),
      });
      show("chart-ranking", () => ({
        traces: [
          measure("srocc", "SROCC", ["text", { width: 2.5, shape: "hv" }]),
          measure("ndcg", `NDCG@${ranking.places}`, ["accent", { width: 1.5, shape: "hv" }]),
          measure("overlap", `overlap of first ${ranking.places}`, ["down", { width: 1.5, shape: "hv", dash: "dot" }]),
        ],
        layout: {
          xaxis: axis("queries for all images", { type: "log", tickvals: rounded(ranking.queries) }),
          yaxis: axis("of clean and attacked scores"),
          hovermode: "x unified",
        },
      }));
    }

    if (document.getElementById("chart-queries")) show("chart-queries", () => ({
      traces: [
        { type: "scatter", x: curve.queries, y: curve.lower, name: "lower quartile", showlegend: false, ...line("accent", { width: 1, shape: "hv" }) },
        { type: "scatter", x: curve.queries, y: curve.upper, name: "between quartiles", fill: "tonexty", fillcolor: tint("accent"), ...line("accent", { width: 1, shape: "hv" }) },
        { type: "scatter", x: curve.queries, y: curve.median, name: "median", ...line("text", { width: 2.5, shape: "hv" }) },
      ],
      layout: {
        xaxis: axis("queries per image", whole(curve.queries.at(-1))),
        yaxis: axis("gain, of the score range", { tickformat: ".3~p", rangemode: "tozero" }),
        hovermode: "x unified",
      },
    }));

    show("chart-crossing", () => ({
      traces: [
        { type: "scatter", x: crossing.b, y: crossing.share, name: "images", fill: "tozeroy", fillcolor: tint("accent"), ...line("accent", { width: 2, shape: "vh" }) },
      ],
      layout: {
        xaxis: axis("share of the way to the far end", { tickformat: ".0%", range: [0, 1] }),
        yaxis: axis("images that crossed", { tickformat: ".0%", range: [0, 1.02] }),
        showlegend: false,
      },
    }));

    against(done, "jod", "JOD", 10);
    against(done, "ssim", "SSIM", 1);
  }

  // Gain against a measure of visibility, which ends at `most`: no difference.
  function against(done, name, title, most) {
    const id = `chart-${name}`;
    if (!document.getElementById(id)) return;
    const seen = done.filter((image) => image[name] !== null);
    // For equal values, Plotly would show one more on either side.
    const same = new Set(seen.map((image) => image[name])).size === 1 ? { range: [seen[0][name] - 0.01 * most, 1.001 * most] } : {};
    show(id, () => ({
      traces: points(seen, (image) => image[name], (image) => image.gain),
      layout: {
        xaxis: axis(`${title}: less visible to the right`, same),
        yaxis: axis("gain, of the score range", { tickformat: ".3~p", rangemode: "tozero" }),
      },
    }));
  }

  // One image: gain of every query, the best so far, where it improved, and the stages of the attack.
  function trace(id, scored) {
    return show(id, () => ({
      traces: [
        {
          type: "scatter", mode: "markers", name: "scored", x: scored.queries, y: scored.gains,
          marker: { color: theme.colour("quiet"), size: 4, opacity: 0.6 },
        },
        { type: "scatter", x: scored.best_queries, y: scored.best_gains, name: "best so far", ...line("accent", { width: 2, shape: "hv" }) },
        {
          type: "scatter", mode: "markers", name: "improved", x: scored.improved_queries, y: scored.improved_gains,
          marker: { color: theme.colour("down"), size: 7, symbol: "diamond" },
        },
      ],
      layout: {
        xaxis: axis("query", whole(scored.queries.at(-1))),
        yaxis: axis("gain, of the score range", { tickformat: ".3~p" }),
        shapes: scored.stages.map(({ query }) => ({
          type: "line", x0: query, x1: query, y0: 0, y1: 1, yref: "paper",
          line: { color: theme.colour("quiet"), width: 1, dash: "dot" },
        })),
        annotations: scored.stages.map(({ query, name }) => ({
          x: query, y: 0, yref: "paper", text: escaped(name), showarrow: false, textangle: -90, xanchor: "left", yanchor: "bottom",
        })),
      },
    }));
  }

  window.iqattack.charts = { all, trace, forget };
})();
