"use strict";
// A table of any number of rows: only those near the ones in sight are in the page. Heads sort, a box filters.

const MOST_PRINTED_ROWS = 200, ROWS_BEYOND = 15, WIDEST_CELL = 36;

function cellText(column, value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (column.decimals === null) return String(Number(value.toPrecision(3)));
  const text = value.toFixed(column.decimals);
  return Math.abs(value) < 10000 ? text : text.replace(/^-?\d+/, whole => whole.replace(/\B(?=(\d{3})+$)/g, ","));
}

function compareValues(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number" || typeof b === "number") return typeof a === "number" ? -1 : 1;
  return String(a).localeCompare(String(b));
}

// A word of the filter: `name>number`, where a column begins with that name, or a text that occurs in the row.
function rowTest(word, columns, textOf) {
  const [, name, operator, given] = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.+)$/) || [];
  const named = name && (columns.find(c => c.name.toLowerCase() === name)
    || columns.find(c => c.name.toLowerCase().startsWith(name)));
  if (!named) return row => textOf(row).includes(word);
  const bound = Number(given);
  const holds = {"<": v => v < bound, ">": v => v > bound, "<=": v => v <= bound, ">=": v => v >= bound,
    "=": v => v === bound || String(v ?? "").toLowerCase() === given}[operator];
  return row => (operator === "=" || typeof named.values[row] === "number") && holds(named.values[row]);
}

function dataTable(root, onOpen) {
  const {columns, trials} = JSON.parse(document.getElementById(root.id + "-data").textContent);
  const box = root.querySelector(".table"), body = root.querySelector("tbody"), heads = [...root.querySelectorAll("th")];
  const filter = root.querySelector("input"), count = root.querySelector("output");
  const isNumeric = columns.map(c => c.values.every(v => v === null || typeof v === "number"));
  const texts = [];  // of the rows in lower case, made when they are first filtered
  let order = trials.map((_, row) => row), sorted = order, sortedBy = -1, direction = 1, height = 30, drawnFrom = -1;

  columns.forEach((column, at) => {  // so that columns keep their widths while rows come and go
    const longest = column.values.reduce((most, v) => Math.max(most, cellText(column, v).length), 0);
    heads[at].style.minWidth = Math.min(longest, WIDEST_CELL) + 2 + "ch";
  });
  box.querySelector("table").setAttribute("aria-rowcount", trials.length + 1);

  function textOf(row) {
    return texts[row] ??= columns.map(column => cellText(column, column.values[row])).join(" ").toLowerCase();
  }

  function rowElement(place) {
    const row = order[place], element = document.createElement("tr");
    element.setAttribute("aria-rowindex", place + 2);
    if (records.is_best[trials[row]]) element.className = "best";
    columns.forEach((column, at) => {
      const cell = element.insertCell(), text = cellText(column, column.values[row]);
      cell.className = isNumeric[at] ? "n" : "";
      if (text.length > WIDEST_CELL) cell.title = text;
      if (at > 0) { cell.textContent = text; return; }
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.setAttribute("aria-label", "Show trial " + text);
      button.addEventListener("click", () => onOpen(trials[row]));
      cell.append(button);
    });
    return element;
  }

  function spacer(rows) {
    const element = document.createElement("tr");
    element.setAttribute("aria-hidden", "true");
    element.className = "spacer";
    element.insertCell().colSpan = columns.length;
    element.cells[0].style.height = rows * height + "px";
    return element;
  }

  function draw(force) {
    const first = isOnPaper ? 0 : Math.max(0, Math.floor(box.scrollTop / height) - ROWS_BEYOND);
    const shown = isOnPaper ? MOST_PRINTED_ROWS : Math.ceil(box.clientHeight / height) + 2 * ROWS_BEYOND;
    const last = Math.min(order.length, first + shown);
    if (!force && Math.abs(first - drawnFrom) < ROWS_BEYOND / 2 && (first > 0 || drawnFrom === 0)) return;
    drawnFrom = first;
    const rows = order.slice(first, last).map((_, at) => rowElement(first + at));
    body.replaceChildren(spacer(first), ...rows, spacer(isOnPaper ? 0 : order.length - last));
    const measured = rows.length ? rows[0].getBoundingClientRect().height : 0;
    if (measured && Math.abs(measured - height) > 0.01 && !isOnPaper) { height = measured; draw(true); return; }
    const printed = isOnPaper && last < order.length ? `, the first ${last} on paper` : "";
    count.textContent = `${order.length.toLocaleString("en")} of ${trials.length.toLocaleString("en")} trials${printed}`;
  }

  function refresh() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const tests = words.map(word => rowTest(word, columns, textOf));
    order = sorted.filter(row => tests.every(test => test(row)));
    box.scrollTop = 0;
    draw(true);
  }

  function sortBy(at) {
    direction = at === sortedBy ? -direction : 1;
    sortedBy = at;
    heads.forEach((head, other) => other === at
      ? head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending") : head.removeAttribute("aria-sort"));
    const values = columns[at].values, isEmpty = row => values[row] === null;
    sorted = trials.map((_, row) => row).sort((a, b) =>  // empty cells stay last
      isEmpty(a) || isEmpty(b) ? isEmpty(a) - isEmpty(b) || a - b : direction * compareValues(values[a], values[b]) || a - b);
    refresh();
  }

  heads.forEach((head, at) => head.querySelector("button").addEventListener("click", () => sortBy(at)));
  filter.addEventListener("input", refresh);
  box.addEventListener("scroll", () => requestAnimationFrame(() => draw(false)), {passive: true});
  window.addEventListener("beforeprint", () => draw(true));
  window.addEventListener("afterprint", () => draw(true));
  draw(true);
}
