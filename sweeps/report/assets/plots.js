"use strict";
// The plots: drawn one by one while the browser is idle, in the colours of the theme, and once more for paper.

const plotSettings = {responsive: true, displayModeBar: false};
const darkTheme = matchMedia("(prefers-color-scheme: dark)");
const figureMakers = {};  // by id of the plot: completes a figure before it is drawn
let isOnPaper = false;

// What replaces a colour of the light theme: neutral colours, dark ones, and the scale from worse to better.
const darkColors = {
  "#1c2430": "#e6eaf0", "#5b6675": "#a7b1be", "#e6e9ee": "#2d3643", "#ffffff": "#1d242e", "#000000": "#ffffff",
  "#0072b2": "#4aa3df", "#4d4d4d": "#c3c8d0", "#d9dde3": "#4b5563", "#9c2f77": "#e58fc8", "#b8420a": "#f08a52",
  "#d5dfea": "#2b3a4d", "#9dbfdc": "#3c6187", "#3f86bd": "#6aaede", "#08306b": "#d6ecff",
};

function isDark() { return darkTheme.matches && !isOnPaper; }

function themed(value) {
  if (!isDark()) return value;
  if (typeof value === "string") return darkColors[value.toLowerCase()] || value;
  if (Array.isArray(value)) return value.length > 2 && typeof value[0] === "number" ? value : value.map(themed);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, themed(part)]));
}

function drawPlot(place) {
  const figure = JSON.parse(document.getElementById(place.id + "-data").textContent);
  if (figureMakers[place.id]) figureMakers[place.id](figure);
  const {data, layout} = themed({data: figure.data, layout: figure.layout});
  if (isOnPaper) layout.width = place.clientWidth;
  place.dataset.drawn = "yes";
  Plotly.newPlot(place, data, layout, plotSettings);
  if (figure.onClick) place.on("plotly_click", figure.onClick);
}

const plotPlaces = [...document.querySelectorAll(".plot")];
const whenIdle = window.requestIdleCallback || (task => setTimeout(task, 20));

function drawWhenIdle() {
  const next = plotPlaces.find(place => !place.dataset.drawn);
  if (!next) { document.documentElement.dataset.drawn = "yes"; return; }
  drawPlot(next);
  whenIdle(drawWhenIdle);
}

function redrawPlots(onPaper) {
  isOnPaper = onPaper;
  document.documentElement.classList.toggle("paper", onPaper);
  plotPlaces.forEach(drawPlot);
}

darkTheme.addEventListener("change", () => redrawPlots(isOnPaper));
window.addEventListener("beforeprint", () => redrawPlots(true));
window.addEventListener("afterprint", () => redrawPlots(false));
