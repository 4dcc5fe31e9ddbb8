"use strict";
// Sorting, searching and choosing a constraint; without this file, the tables are shown in order.
document.addEventListener("DOMContentLoaded", () => {
  const rankings = [...document.querySelectorAll(".ranking")];
  const search = document.getElementById("search");
  const constraint = document.getElementById("constraint");
  const count = document.getElementById("count");

  const valueOf = (row, column) => row.cells[column].dataset.value;

  // Numbers as numbers, everything else as text; missing values come last in either order.
  function compare(a, b, sign) {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    if (!Number.isNaN(x) && !Number.isNaN(y)) return sign * (x - y);
    return sign * a.localeCompare(b, "en");
  }

  function sort(table, header) {
    const headers = [...table.tHead.rows[0].cells];
    const order = header.ariaSort === "ascending" ? "descending" : "ascending";
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", order);
    const column = headers.indexOf(header);
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const rows = [...body.rows];
    rows.sort((a, b) => compare(valueOf(a, column), valueOf(b, column), sign));
    body.append(...rows);
  }

  for (const table of document.querySelectorAll("table.board")) {
    for (const header of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = header.textContent;
      button.addEventListener("click", () => sort(table, header));
      header.replaceChildren(button);
    }
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = new Set();
    const every = new Set();
    for (const ranking of rankings) {
      ranking.hidden = constraint.value !== "" && ranking.dataset.constraint !== constraint.value;
      for (const row of ranking.querySelectorAll("tbody tr")) {
        row.hidden = !words.every((word) => row.dataset.model.includes(word));
        every.add(row.dataset.model);
        if (!row.hidden && !ranking.hidden) found.add(row.dataset.model);
      }
    }
    for (const suite of document.querySelectorAll(".suite")) {
      suite.hidden = [...suite.querySelectorAll(".ranking")].every((ranking) => ranking.hidden);
    }
    count.textContent = `${found.size} of ${every.size} models`;
  }

  const names = [...new Set(rankings.map((ranking) => ranking.dataset.constraint))];
  constraint.append(...names.map((name) => new Option(name, name)));
  constraint.closest("label").hidden = names.length < 2;
  search.addEventListener("input", filter);
  constraint.addEventListener("change", filter);
  const controls = document.getElementById("controls");
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.hidden = false;
  filter();
});
