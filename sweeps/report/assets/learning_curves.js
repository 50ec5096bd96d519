"use strict";
// The learning curves of all trials. Lines of one colour are one trace with gaps: a trace a trial would be too slow.

const MOST_GROUPS = 8, BEST_COLOR = "#009E73";
const CHOICE_COLORS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31", "#7b8594"];
const SCALE = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];  // viridis
const OUTCOME_STYLES = JSON.parse(document.getElementById("outcome-styles").textContent);

// Viridis without its end that is lost on the background.
function scaleColor(at, groups) {
  const usable = isDark() ? SCALE.slice(2) : SCALE.slice(0, 6);
  return usable[groups < 2 ? 0 : Math.round(at * (usable.length - 1) / (groups - 1))];
}

function shortNumber(value) { return String(Number(value.toPrecision(3))); }

function escaped(text) {
  return String(text).replace(/[&<>"%]/g, sign => `&#${sign.charCodeAt(0)};`).slice(0, 200);
}

// Groups of the trials that have a value and a curve: equal shares of numbers, or the most frequent choices.
function groupsOf(values) {
  const having = values.map((value, trial) => ({value, trial}))
    .filter(item => item.value !== null && item.value !== undefined && records.curves[item.trial][1].length);
  const distinct = [...new Set(having.map(item => item.value))];
  if (distinct.length > MOST_GROUPS && distinct.every(value => typeof value === "number")) {
    having.sort((a, b) => a.value - b.value);
    const n = Math.min(MOST_GROUPS, having.length);
    const parts = Array.from({length: n}, (_, k) => having.slice(Math.round(k * having.length / n), Math.round((k + 1) * having.length / n)));
    return parts.map((part, at) => ({name: `${shortNumber(part[0].value)} to ${shortNumber(part[part.length - 1].value)}`,
      color: scaleColor(at, n), trials: part.map(item => item.trial)}));
  }
  const areNumbers = distinct.every(value => typeof value === "number");
  const size = value => having.filter(item => item.value === value).length;
  distinct.sort(areNumbers ? (a, b) => a - b : (a, b) => size(b) - size(a));
  const named = distinct.slice(0, distinct.length > MOST_GROUPS ? MOST_GROUPS - 1 : MOST_GROUPS);
  const groups = named.map((value, at) => ({name: String(value), trials: having.filter(i => i.value === value).map(i => i.trial),
    color: areNumbers ? scaleColor(at, named.length) : CHOICE_COLORS[at]}));
  const rest = having.filter(item => !named.includes(item.value)).map(item => item.trial);
  return rest.length ? [...groups, {name: "others", color: CHOICE_COLORS[MOST_GROUPS - 1], trials: rest}] : groups;
}

function groupsBy(key) {
  if (key === "") return groupsOf(records.outcomes).map(group => ({...group, color: (OUTCOME_STYLES[group.name] || OUTCOME_STYLES.failed)[0]}));
  const values = key === "value" ? records.values : records.keys[Number(key)].values;
  const groups = groupsOf(values), known = new Set(groups.flatMap(group => group.trials));
  const unset = records.numbers.map((_, trial) => trial).filter(trial => !known.has(trial));
  return unset.length ? [...groups, {name: key === "value" ? "no value" : "not set", color: "#7b8594", trials: unset}] : groups;
}

function lines(trials, name, color, more) {
  const x = [], y = [], customdata = [];
  for (const trial of trials) {
    const [epochs, values] = curveOf(trial);
    for (let at = 0; at < values.length; at++) { x.push(epochs[at]); y.push(values[at]); customdata.push(trial); }
    x.push(null); y.push(null); customdata.push(null);
  }
  const text = customdata.map(trial => trial === null ? "" : "trial " + records.numbers[trial]);
  return {x, y, customdata, text, type: "scatter", mode: "lines", name: escaped(name), connectgaps: false, ...more,
    line: {color, simplify: true, ...more.line}, hovertemplate: "%{text}, epoch %{x}: %{y:.5g}<extra></extra>"};
}

function endMarkers(outcome, trials) {
  const [color, symbol] = OUTCOME_STYLES[outcome] || OUTCOME_STYLES.failed, ends = trials.map(curveOf);
  return {x: ends.map(([epochs]) => epochs[epochs.length - 1]), y: ends.map(([, values]) => values[values.length - 1]),
    type: "scatter", mode: "markers", marker: {color, symbol, size: trials.length > 500 ? 5 : 8, opacity: 0.85}, customdata: trials,
    text: trials.map(trial => "trial " + records.numbers[trial]), name: `${outcome} (${trials.length})`,
    hovertemplate: "%{text} ended, epoch %{x}: %{y:.5g}<extra></extra>"};
}

function bestLine(trial) {
  const [epochs, values] = curveOf(trial), best = records.best_epochs[trial];
  return {...lines([trial], `best, trial ${records.numbers[trial]}`, BEST_COLOR, {line: {width: 3.5}, mode: "lines+markers"}),
    marker: {color: BEST_COLOR, symbol: "star", size: [...epochs, 0].map(epoch => epoch === best ? 14 : values.length === 1 ? 8 : 0)}};
}

function curveTraces(key) {
  const hasCurve = trial => records.curves[trial][1].length > 0, completed = trial => records.outcomes[trial] === "completed";
  const n = records.curves.length, thin = n > 1000 ? 0.5 : n > 100 ? 0.8 : 1, traces = [];
  for (const group of groupsBy(key)) {
    const whole = group.trials.filter(trial => hasCurve(trial) && completed(trial) && !records.is_best[trial]);
    const cut = group.trials.filter(trial => hasCurve(trial) && !completed(trial));
    const opacity = n > 1000 ? 0.5 : 0.8, label = `${group.name} (${whole.length + cut.length})`;
    if (cut.length) traces.push(lines(cut, label, group.color, {opacity, line: {width: 1.1 * thin}, legendgroup: group.name, showlegend: !whole.length}));
    if (whole.length) traces.push(lines(whole, label, group.color, {opacity, line: {width: 1.9 * thin}, legendgroup: group.name}));
  }
  const outcomes = [...new Set(records.outcomes)].filter(outcome => outcome !== "completed");
  for (const outcome of outcomes) {
    const ended = records.outcomes.map((_, trial) => trial).filter(trial => records.outcomes[trial] === outcome && hasCurve(trial));
    if (ended.length) traces.push({...endMarkers(outcome, ended), ...(key === "" ? {legendgroup: outcome, showlegend: false} : {})});
  }
  const best = records.is_best.map((isBest, trial) => isBest && hasCurve(trial) ? trial : -1).filter(trial => trial >= 0);
  return [...traces, ...best.slice(0, 20).map(bestLine)];
}

const curveKey = document.getElementById("curve-key");
if (curveKey) {
  figureMakers["curves-plot"] = figure => {
    figure.data = curveTraces(curveKey.value);
    figure.onClick = event => openTrial(event.points[0].customdata);
  };
  curveKey.addEventListener("change", () => drawPlot(document.getElementById("curves-plot")));
}
