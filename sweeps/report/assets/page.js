"use strict";
// Starts the page: tables, plots, and a reload now and then while the sweep runs.

const RELOAD_S = 30;

function cellKey(row, column) {
  const cell = row.cells[column], given = cell.dataset.v === undefined ? cell.textContent : cell.dataset.v;
  return given === "" || isNaN(given) ? given : Number(given);
}

document.querySelectorAll("table.sortable th button").forEach(button => button.addEventListener("click", () => {
  const head = button.closest("th"), body = button.closest("table").tBodies[0], column = head.cellIndex;
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  head.parentNode.querySelectorAll("th").forEach(th => th.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const rows = [...body.rows].map(row => [cellKey(row, column), row]);
  rows.sort(([a], [b]) => a === "" || b === "" ? (a === "") - (b === "") : sign * compareValues(a, b));  // empty last
  body.append(...rows.map(([, row]) => row));
}));

// What the reader typed and sorted by outlives a reload of the same page.
function keepFilters() {
  document.querySelectorAll(".filter input").forEach(input => {
    try {
      input.value = sessionStorage.getItem(input.id) || "";
      input.addEventListener("input", () => sessionStorage.setItem(input.id, input.value));
    } catch { /* a browser that keeps nothing for files */ }
  });
}

if (document.body.dataset.running) {
  keepFilters();
  setInterval(() => {
    const isBusy = dialog.open || document.hidden || document.activeElement?.matches("input, select");
    if (!isBusy && !isOnPaper) location.reload();
  }, RELOAD_S * 1000);
}
document.querySelectorAll(".data-table").forEach(root => dataTable(root, openTrial));
window.addEventListener("load", () => whenIdle(drawWhenIdle));
