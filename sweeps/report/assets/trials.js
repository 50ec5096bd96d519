"use strict";
// What one trial left: its config, its learning curve, the end of its log, its W&B run. Texts are set as text only.

const records = JSON.parse(document.getElementById("records").textContent);
const dialog = document.getElementById("trial");

function curveOf(trial) {
  const [epochs, values] = records.curves[trial];
  return [epochs || values.map((_, at) => at + 1), values];
}

function setText(name, text) { dialog.querySelector(`[data-part=${name}]`).textContent = text; }

function lineList(name, numbers, missing, marked) {
  const place = dialog.querySelector(`[data-part=${name}]`);
  if (!numbers || !numbers.length) { place.textContent = missing; return; }
  place.replaceChildren(...numbers.map(number => {
    const line = document.createElement(marked && !marked.has(number) ? "mark" : "span");
    line.textContent = records.lines[number] + "\n";
    return line;
  }));
}

function showWandb(trial) {
  const run = records.wandb[trial], place = dialog.querySelector("[data-part=wandb]");
  place.textContent = !run ? "none in this folder" : run.url ? "" : `${run.id}, in ${run.folder}`;
  if (!run || !run.url || !/^https?:\/\//.test(run.url)) return;
  const link = document.createElement("a");
  link.href = run.url;
  link.textContent = run.url;
  link.rel = "noreferrer";
  place.append(link);
}

function showCurve(trial) {
  const place = dialog.querySelector("[data-part=curve]"), [x, y] = curveOf(trial);
  dialog.querySelector("[data-part=no-curve]").hidden = y.length > 0;
  place.hidden = !y.length;
  if (!y.length) return;
  const best = records.best_epochs[trial], color = "#0072b2";
  const grid = {gridcolor: "#e6e9ee", zeroline: false, automargin: true, tickfont: {color: "#5b6675"}};
  Plotly.newPlot(place, themed([{x, y, mode: "lines+markers", line: {color}, hovertemplate: "epoch %{x}: %{y:.5g}<extra></extra>",
    marker: {color, size: x.map(epoch => epoch === best ? 11 : 4)}}]), themed({height: 220, margin: {l: 48, r: 8, t: 8, b: 36},
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {size: 12, color: "#1c2430"},
    xaxis: {...grid, title: {text: "epoch"}, tickformat: "d"}, yaxis: grid}), plotSettings);
  place.setAttribute("aria-label", `Learning curve of ${x.length} epochs, from ${y[0]} to ${y[y.length - 1]}`);
}

function openTrial(trial) {
  const number = records.numbers[trial], name = records.names[trial], value = records.values[trial];
  setText("title", `Trial ${number}` + (name ? `, ${name}` : ""));
  setText("facts", `${records.outcomes[trial]}` + (value === null ? "" : `, ${records.metric} ${value}`)
    + (records.best_epochs[trial] === null ? "" : ` in epoch ${records.best_epochs[trial]}`));
  setText("reason", records.reasons[trial]);
  setText("folder", `${records.paths}/${String(number).padStart(5, "0")}`);
  lineList("config", records.configs[trial], "config.yaml is not in this folder", new Set(trial ? records.configs[0] : records.configs[trial]));
  lineList("log", records.logs[trial], records.logs[trial] ? "log.txt is empty" : "log.txt is not in this folder", null);
  showWandb(trial);
  dialog.showModal();
  showCurve(trial);
  const config = dialog.querySelector("[data-part=config]"), differing = config.querySelector("mark");
  config.scrollTop = differing ? differing.offsetTop - 20 : 0;
}

dialog.querySelector("button").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });  // beside it
