/** The live plot of a λ schedule on a canvas. */

import { lambdaAt } from "./schedule.js";

const MARGIN = { left: 34, right: 12, top: 10, bottom: 24 };
const RIGHT_AXIS = 46;
const MARKS = 60; // above so many steps their marks would run together

/**
 * schedule: see schedule.js. steps: how many are marked, or null. beta: of the anchor, for a second axis of β/λ, or
 * null. axis: what lies along the run.
 */
export function drawPlot(canvas, schedule, { steps, beta, axis, problem }) {
  const { ctx, width, height, colours } = prepare(canvas);
  if (!width || !height) return;
  ctx.font = "10px Inter, Arial, sans-serif";
  if (problem) {
    text(ctx, problem, width / 2, height / 2, "center", colours.text);
    return;
  }
  const box = {
    left: MARGIN.left,
    right: width - (beta ? RIGHT_AXIS : MARGIN.right),
    top: MARGIN.top,
    bottom: height - MARGIN.bottom,
  };
  const curve = sampledCurve(schedule);
  const ticks = ticksOver(curve.map(([, value]) => value));
  const x = (p) => box.left + p * (box.right - box.left);
  const y = (value) => box.bottom - ((value - ticks[0]) / (ticks.at(-1) - ticks[0])) * (box.bottom - box.top);
  grid(ctx, box, ticks, y, beta, colours);
  strokeCurve(ctx, curve, x, y, colours.ink);
  if (steps) marks(ctx, schedule, steps, x, y, colours.ink);
  text(ctx, "λ", 8, box.top, "left", colours.text);
  if (beta) text(ctx, "β/λ", width - 4, height - 10, "right", colours.faint);
  text(ctx, axis, (box.left + box.right) / 2, height - 9, "center", colours.faint);
}

function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const density = Math.max(2, window.devicePixelRatio || 1); // the page scales the node
  canvas.width = width * density;
  canvas.height = height * density;
  const ctx = canvas.getContext("2d");
  ctx.setTransform(density, 0, 0, density, 0, 0);
  ctx.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const colour = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
  const colours = {
    text: colour("--input-text", "#ddd"),
    faint: colour("--descrip-text", "#999"),
    grid: colour("--border-color", "#444"),
    ink: colour("--p-primary-color", "#60a5fa"),
  };
  return { ctx, width, height, colours };
}

/** [p, λ] along the run, with both sides of every jump. */
function sampledCurve(schedule) {
  const jumps = ["step", "interval"].includes(schedule.shape) ? [schedule.begin, schedule.stop] : [schedule.begin];
  const places = Array.from({ length: 201 }, (_, i) => i / 200);
  for (const p of jumps) places.push(p - 1e-6, p, p + 1e-6);
  const inside = places.filter((p) => p >= 0 && p <= 1).sort((a, b) => a - b);
  return inside.map((p) => [p, lambdaAt(schedule, p)]);
}

/** Two to six round values around all of these and around 0. */
export function ticksOver(values) {
  const low = Math.min(0, ...values);
  const high = Math.max(low < 0 ? 0 : 1, ...values);
  const rough = Math.max(high - low, 1e-6) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough - 1e-12);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function grid(ctx, box, ticks, y, beta, colours) {
  ctx.lineWidth = 1;
  ctx.strokeStyle = colours.grid;
  for (const tick of ticks) {
    ctx.beginPath();
    ctx.moveTo(box.left, y(tick));
    ctx.lineTo(box.right, y(tick));
    ctx.stroke();
    text(ctx, String(tick), box.left - 5, y(tick), "right", colours.faint);
    if (beta) text(ctx, betaAt(beta, tick), box.right + 5, y(tick), "left", colours.faint);
  }
}

function betaAt(beta, lambda) {
  if (lambda === 0) return "∞";
  return lambda < 0 ? "" : String(Number((beta / lambda).toPrecision(3)));
}

function strokeCurve(ctx, curve, x, y, colour) {
  ctx.beginPath();
  curve.forEach(([p, value], i) => (i ? ctx.lineTo(x(p), y(value)) : ctx.moveTo(x(p), y(value))));
  ctx.strokeStyle = colour;
  ctx.lineWidth = 2;
  ctx.lineJoin = "round";
  ctx.stroke();
}

function marks(ctx, schedule, steps, x, y, colour) {
  if (steps > MARKS) return;
  ctx.fillStyle = colour;
  for (let i = 0; i < steps; i++) {
    const p = i / Math.max(steps - 1, 1);
    ctx.beginPath();
    ctx.arc(x(p), y(lambdaAt(schedule, p)), steps > 40 ? 2 : 3, 0, 2 * Math.PI);
    ctx.fill();
  }
}

function text(ctx, words, x, y, align, colour) {
  ctx.fillStyle = colour;
  ctx.textAlign = align;
  ctx.textBaseline = "middle";
  ctx.fillText(words, x, y);
}
