"use strict";
// The index of reports: sorted by a click on a heading, filtered by name and finding.

const body = document.querySelector("tbody");
const rows = [...body.rows];
const text = document.getElementById("filter");
const level = document.getElementById("level");
const kinds = { name: "name", level: "rank", score: "score", segments: "segments", seconds: "seconds", made: "made" };

function compare(key) {
  if (key === "name" || key === "made") {
    return (a, b) => a.dataset[key].localeCompare(b.dataset[key], "en", { numeric: true });
  }
  return (a, b) => Number(a.dataset[kinds[key]]) - Number(b.dataset[kinds[key]]);
}

function sort(heading) {
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of document.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const order = compare(heading.dataset.key);
  rows.sort((a, b) => (down ? -order(a, b) : order(a, b)));
  body.append(...rows);
}

function filter() {
  const wanted = text.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const fits = row.dataset.name.toLowerCase().includes(wanted);
    row.hidden = !fits || (level.value !== "" && row.dataset.level !== level.value);
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("count").textContent = shown + " of " + rows.length + " shown";
}

for (const heading of document.querySelectorAll("th[data-key]")) {
  heading.querySelector("button").addEventListener("click", () => sort(heading));
}
text.addEventListener("input", filter);
level.addEventListener("change", filter);
filter();
