// The page: what is drawn is answered after each stroke.

import { CELLS, enlarge, inkOf, normalize } from "./digits.js";
import { loadModel } from "./model.js";

const FILES = "../../saved_models/quickstart/";
const RUNS = 20; // a single run is too short for the browser's clock

const find = (id) => document.getElementById(id);
const canvas = find("drawing");
const pen = canvas.getContext("2d", { willReadFrequently: true });
let model;
let drawing = false;

/** Answers what stands on the canvas; the page tells its result in `data-` attributes, too. */
export async function answer() {
  const { about, run } = model;
  const ink = inkOf(pen.getImageData(0, 0, canvas.width, canvas.height));
  const size = about.inputs[0].shape[1];
  const input = normalize(enlarge(ink, size), about.inputs[0]);
  const scores = await run(input);
  const start = performance.now();
  for (let i = 0; i < RUNS; i++) await run(input);
  show(ink, scores, (performance.now() - start) / RUNS);
}

/** Loads a file of the quickstart, and answers with it. */
export async function choose(name) {
  document.body.dataset.state = "loading";
  find("status").textContent = `Loading ${name} …`;
  model = await loadModel(FILES + name);
  const { kind, bytes } = model.about;
  find("status").textContent = `${name}: ${kind}, ${Math.round(bytes / 1024)} KiB`;
  find("scores").replaceChildren(...model.about.labels.map(scoreRow));
  await answer();
  document.body.dataset.state = "ready";
}

export async function clear() {
  pen.fillStyle = "black";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (model) await answer();
}

function scoreRow(label) {
  const row = document.createElement("div");
  const bar = document.createElement("meter");
  const number = document.createElement("output");
  bar.max = 1;
  row.append(label, bar, number);
  return row;
}

function show(ink, scores, milliseconds) {
  const best = scores.indexOf(Math.max(...scores));
  const blank = ink.every((amount) => amount === 0);
  find("label").textContent = blank ? "–" : model.about.labels[best];
  // Browsers round their clocks: a tenth of a millisecond is all that most of them tell.
  find("latency").textContent = milliseconds < 0.1 ? "less than 0.1 ms" : `${milliseconds.toFixed(1)} ms`;
  [...find("scores").children].forEach((row, i) => {
    row.querySelector("meter").value = blank ? 0 : scores[i];
    row.querySelector("output").textContent = blank ? "–" : scores[i].toFixed(3);
  });
  const seen = find("seen").getContext("2d");
  ink.forEach((amount, i) => {
    seen.fillStyle = `rgb(${Array(3).fill(Math.round(255 * amount))})`;
    seen.fillRect(i % CELLS, Math.floor(i / CELLS), 1, 1);
  });
  Object.assign(document.body.dataset, { label: best, latency: milliseconds });
  document.body.dataset.scores = JSON.stringify([...scores]);
}

function stroke(event) {
  const { left, top, width } = canvas.getBoundingClientRect();
  const scale = canvas.width / width;
  pen.lineTo((event.clientX - left) * scale, (event.clientY - top) * scale);
  pen.stroke();
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  Object.assign(pen, { strokeStyle: "white", lineWidth: 30, lineCap: "round", lineJoin: "round" });
  drawing = true;
  pen.beginPath();
  stroke(event);
});
canvas.addEventListener("pointermove", (event) => drawing && stroke(event));
canvas.addEventListener("pointerup", () => {
  drawing = false;
  enqueue(answer);
});
find("clear").addEventListener("click", () => enqueue(clear));
find("model").addEventListener("change", (event) => enqueue(() => choose(event.target.value)));

// One after the other: a run must not begin while another still fills the same memory.
let queue = Promise.resolve();

function enqueue(task) {
  queue = queue.then(task).catch((error) => {
    document.body.dataset.state = "failed";
    find("status").textContent = String(error);
  });
}

enqueue(clear);
enqueue(() => choose(find("model").value));
