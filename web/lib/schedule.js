/**
 * λ over a run: the formula of realign_core/schedule.py, and the host's curves. Pure functions.
 *
 * A schedule is {shape, start, end, begin, stop, points, scale, offset, domain, sigma_max, sigma_min}, as
 * LambdaSchedule.to_json writes it.
 */

const CURVE_SAMPLES = 129; // as the node keeps a curve: nodes/lambda_schedule.py

const RAMPS = {
  linear: (u) => u,
  cosine: (u) => (1 - Math.cos(Math.PI * u)) / 2,
  "ease in": (u) => u ** 2,
  "ease out": (u) => 1 - (1 - u) ** 2,
  "ease in-out": (u) => u * u * (3 - 2 * u),
};

const SHAPES = ["constant", "step", "interval", "curve", ...Object.keys(RAMPS)];

const clamp = (x) => Math.min(Math.max(x, 0), 1);

/** λ at position p in [0, 1]. */
export function lambdaAt(schedule, p) {
  const { shape, begin, stop, scale, offset } = schedule;
  if (shape === "interval" && !(begin <= p && p <= stop)) return 0;
  return offset + scale * shapeAt(schedule, p);
}

function shapeAt({ shape, start, end, begin, stop, points }, p) {
  if (shape === "constant" || shape === "interval") return start;
  if (shape === "curve") return joined(points, p);
  if (shape === "step") return p >= begin ? end : start;
  const u = stop > begin ? (p - begin) / (stop - begin) : Number(p >= begin);
  return start + (end - start) * RAMPS[shape](clamp(u));
}

/** Piecewise linear through the points, flat outside them. */
function joined(points, p) {
  const next = points.findIndex(([x]) => x > p);
  if (next === 0) return points[0][1];
  if (next < 0) return points[points.length - 1][1];
  const [[x0, y0], [x1, y1]] = [points[next - 1], points[next]];
  return y0 + ((y1 - y0) * (p - x0)) / (x1 - x0);
}

/** p of each step of a run with these noise levels. */
export function positions(schedule, sigmas) {
  const levels = sigmas.slice(0, -1);
  if (schedule.domain === "progress") return levels.map((_, i) => i / Math.max(levels.length - 1, 1));
  const used = levels.filter((sigma) => sigma > 0);
  const high = Math.log(schedule.sigma_max || (used[0] ?? 1));
  const low = Math.log(schedule.sigma_min || (used[used.length - 1] ?? 1));
  if (high <= low) return levels.map((s) => Number(schedule.sigma_min != null && s <= schedule.sigma_min));
  const rounded = (x) => Math.round(x * 1e9) / 1e9;
  return levels.map((s) => (s > 0 ? clamp(rounded((high - Math.log(s)) / (high - low))) : 1));
}

/** λ of each step of a run with these noise levels: one per step σ_i → σ_{i+1}. */
export function over(schedule, sigmas) {
  return positions(schedule, sigmas).map((p) => lambdaAt(schedule, p));
}

/** The schedule that the node makes of its widgets' values. `values.curve`: {points, interpolation}, or points. */
export function scheduleOf(values) {
  const { shape, start, end, begin, stop, scale, offset, over: domain, sigma_max, sigma_min, curve } = values;
  return {
    shape,
    start,
    end,
    begin,
    stop,
    points: shape === "curve" ? sampled(curve) : [],
    scale,
    offset,
    domain: domain === "noise level" ? "sigma" : "progress",
    sigma_max: sigma_max || null,
    sigma_min: sigma_min || null,
  };
}

function sampled(curve) {
  const { points, interpolation } = Array.isArray(curve)
    ? { points: curve, interpolation: "monotone_cubic" }
    : (curve ?? { points: [] });
  if (!points?.length) return [];
  const at = interpolation === "linear" ? linear(points) : monotoneCubic(points);
  return Array.from({ length: CURVE_SAMPLES }, (_, i) => i / (CURVE_SAMPLES - 1)).map((x) => [x, at(x)]);
}

const sorted = (points) => points.map(([x, y]) => [Number(x), Number(y)]).sort((a, b) => a[0] - b[0]);

function linear(points) {
  const inOrder = sorted(points);
  return (x) => joined(inOrder, x);
}

/** Cubic Hermite pieces whose slopes are limited so that nothing overshoots (Fritsch and Carlson), as the host's. */
function monotoneCubic(points) {
  const inOrder = sorted(points);
  const slopes = limitedSlopes(inOrder);
  const last = inOrder.length - 1;
  return (x) => {
    if (x <= inOrder[0][0]) return inOrder[0][1];
    if (x >= inOrder[last][0]) return inOrder[last][1];
    const right = inOrder.findIndex(([px]) => px > x);
    const [[x0, y0], [x1, y1]] = [inOrder[right - 1], inOrder[right]];
    const width = x1 - x0;
    const t = (x - x0) / width;
    const rise = t * t * (3 - 2 * t);
    const [into, outOf] = [t * (1 - t) ** 2, t * t * (t - 1)];
    return y0 + (y1 - y0) * rise + width * (into * slopes[right - 1] + outOf * slopes[right]);
  };
}

function limitedSlopes(points) {
  const secant = ([x0, y0], [x1, y1]) => (x1 === x0 ? 0 : (y1 - y0) / (x1 - x0));
  const secants = points.slice(1).map((point, i) => secant(points[i], point));
  if (!secants.length) return [0];
  const slopes = points.map((_, i) => {
    const [left, right] = [secants[i - 1] ?? secants[i], secants[i] ?? secants[i - 1]];
    const isEnd = i === 0 || i === points.length - 1;
    return !isEnd && left * right <= 0 ? 0 : (left + right) / 2;
  });
  secants.forEach((steepness, i) => {
    if (steepness === 0) {
      slopes[i] = slopes[i + 1] = 0;
      return;
    }
    const length = Math.hypot(slopes[i] / steepness, slopes[i + 1] / steepness);
    if (length <= 3) return;
    slopes[i] *= 3 / length;
    slopes[i + 1] *= 3 / length;
  });
  return slopes;
}

export const COMPLAINTS = {
  shape: "unknown shape {shape}",
  range: "begin must not lie after stop",
  curve: "the curve has no points",
  sigmas: "sigma_max must be above sigma_min",
};

/** Why the node would refuse these values: a key of COMPLAINTS; null where it would not. */
export function complaint(schedule) {
  if (!SHAPES.includes(schedule.shape)) return "shape";
  if (schedule.begin > schedule.stop) return "range";
  if (schedule.shape === "curve" && !schedule.points.length) return "curve";
  const { sigma_max: high, sigma_min: low } = schedule;
  return high && low && high <= low ? "sigmas" : null;
}
