"use strict";
// Shared by all charts. Plotly redraws them whenever the colours change.
(() => {
  const { theme } = window.iqattack;
  const drawn = new Map(); // element id -> function that returns traces and layout

  const axis = (title, more = {}) => ({
    title: { text: title },
    gridcolor: theme.colour("line"),
    zerolinecolor: theme.colour("line"),
    automargin: true,
    ...more,
  });

  // An axis with lower-is-better is reversed: better is up and right in every chart.
  const scale = (title, lowerBetter, gap = " ") =>
    lowerBetter
      ? axis(title, { title: { text: `${title}${gap}(lower is better)`, standoff: gap === " " ? 15 : 30 }, autorange: "reversed" })
      : axis(title);

  // No ticks between whole numbers.
  const whole = (most) => (most < 8 ? { dtick: 1 } : {});

  // Numbers to write along a logarithmic axis.
  const rounded = (values) => {
    const ends = [Math.min(...values), Math.max(...values)];
    const all = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power));
    return all.flat().filter((tick) => ends[0] <= tick && tick <= ends[1]);
  };

  const line = (colour, more = {}) => ({ mode: "lines", line: { color: theme.colour(colour), ...more } });

  function draw(id) {
    const { traces, layout } = drawn.get(id)();
    const common = {
      margin: { l: 10, r: 10, t: 10, b: 10 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: theme.colour("text"), family: "system-ui, sans-serif", size: 13 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      hovermode: "closest",
    };
    const options = { displayModeBar: false, responsive: true };
    return Plotly.react(id, traces, { ...common, ...layout }, options);
  }

  function show(id, chart) {
    drawn.set(id, chart);
    return draw(id);
  }

  function forget(id) {
    if (drawn.delete(id)) Plotly.purge(id);
  }

  // Plotly interprets some HTML in labels.
  function escaped(text) {
    return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }

  const tint = (name) => theme.colour(name).replace("rgb(", "rgba(").replace(")", ", 0.18)");

  // Paper has another width than the screen: of a whole line, or of one of two charts side by side.
  function paper(id) {
    const figure = document.getElementById(id).closest("figure");
    const several = figure?.closest(".charts");
    const wide = !several || figure.matches(":last-child:nth-child(odd)");
    return { width: wide ? 680 : 325, height: several ? 280 : 380, "font.size": 11 };
  }
  window.addEventListener("beforeprint", () => [...drawn.keys()].forEach((id) => Plotly.relayout(id, paper(id))));
  window.addEventListener("afterprint", () => {
    for (const id of drawn.keys()) Plotly.relayout(id, { width: null, height: null, autosize: true });
  });

  theme.onChange(() => [...drawn.keys()].forEach(draw));
  window.iqattack.plots = { axis, scale, whole, rounded, line, tint, escaped, draw, show, forget };
})();
