/**
 * "Use this λ": from a picture of a sweep back to the sampler, and "Sweep again", which undoes it.
 *
 * What was changed is kept in the compare node's property `realign_used`, so that it can be undone in a workflow that
 * was saved and opened again: [{node, widget, before, after}].
 */

import {
  ALWAYS,
  BYPASSED,
  asOneStep,
  kindOf,
  locatorOf,
  nearestUpstream,
  nodeByLocator,
  valueOf,
  widgetOf,
  writeWidget,
} from "./graph.js";
import { LAMBDA_NODES } from "./beta_line.js";
import { short } from "./beta_text.js";
import { words } from "./words.js";

const USED = "realign_used";
const SEEDS = ["seed", "noise_seed"];

const has = (name) => (node) => widgetOf(node, name) !== undefined;
const isSweep = (node) => kindOf(node) === "RealignSweep";

/** The node whose λ slider made these pictures. */
export function lambdaNode(compare) {
  return nearestUpstream(compare, "images", (node) => LAMBDA_NODES.includes(kindOf(node)));
}

export function sweepNode(compare) {
  const node = lambdaNode(compare);
  return (
    nearestUpstream(compare, "sweep", isSweep) ??
    (node && nearestUpstream(node, "lambda_schedule", isSweep)) ??
    nearestUpstream(compare, "images", isSweep)
  );
}

export const isSweeping = (compare) => sweepNode(compare)?.mode !== BYPASSED;

function target(node, name, value) {
  const widget = widgetOf(node, name);
  return widget ? { node, widget, value } : null;
}

/** The widgets that a cell sets, and their values: λ, and the seed, cfg or η of its row. */
function targetsOf(compare, result, cell) {
  const nearest = (name) => nearestUpstream(compare, "images", has(name));
  const seedName = SEEDS.find(nearest);
  const own = cell.seed_offset && seedName ? before(compare, nearest(seedName), seedName) : null;
  const seed = result.seed ?? own;
  return [
    ...lambdaTargets(compare, cell),
    seed != null && seedName && target(nearest(seedName), seedName, seed + cell.seed_offset),
    cell.cfg != null && target(nearest("cfg"), "cfg", cell.cfg),
    cell.eta != null && target(nearest("eta"), "eta", cell.eta),
  ].filter(Boolean);
}

/** λ is the slider's. A schedule that the sweep multiplies goes on when the sweep is bypassed, and is scaled instead. */
function lambdaTargets(compare, cell) {
  const schedule = sweptSchedule(compare);
  if (!schedule) return [target(lambdaNode(compare), "lambda_", cell.lambda)];
  return ["scale", "offset"].map((name) => target(schedule, name, before(compare, schedule, name) * cell.lambda));
}

function sweptSchedule(compare) {
  const sweep = sweepNode(compare);
  return sweep && nearestUpstream(sweep, "lambda_schedule", (node) => kindOf(node) === "LambdaSchedule");
}

const changesOf = (compare) => compare.properties?.[USED] ?? [];

/** A widget's value before the first “Use λ”. */
function before(compare, node, name) {
  const change = changesOf(compare).find((c) => c.node === locatorOf(node) && c.widget === name);
  return change ? change.before : valueOf(node, name);
}

/** Why this cell cannot be used, in a sentence; null where it can. */
function refusal(compare, cell) {
  if (cell.lambda == null) return words("Connect the λ sweep to know this picture's λ.");
  const node = lambdaNode(compare);
  if (!node) return words("No Realign node lies before these images.");
  const { min, max } = widgetOf(node, "lambda_").options;
  if (sweptSchedule(compare) || (cell.lambda >= min && cell.lambda <= max)) return null;
  return words("λ {lambda} lies beyond the slider ({min} to {max}).", { lambda: short(cell.lambda), min, max });
}

const near = (a, b) => a === b || Math.abs(a - b) < 1e-6;

/** Whether the next run would sample this cell alone. */
export function isInUse(compare, result, cell) {
  if (cell.lambda == null || !changesOf(compare).length || isSweeping(compare)) return false;
  return targetsOf(compare, result, cell).every((t) => near(t.widget.value, t.value));
}

/** Writes the cell's λ, seed, cfg and η to where they came from, and bypasses the sweep. Returns what to say. */
export function useCell(compare, result, cell) {
  const no = refusal(compare, cell);
  if (no) return no;
  const wanted = targetsOf(compare, result, cell);
  asOneStep(() => {
    const first = wanted.map(({ node, widget }) => before(compare, node, widget.name));
    const isWanted = (change) => wanted.some((t) => locatorOf(t.node) === change.node && t.widget.name === change.widget);
    restore(compare, (change) => !isWanted(change));
    compare.properties[USED] = wanted.map(({ node, widget, value }, i) => {
      writeWidget(node, widget, value);
      return { node: locatorOf(node), widget: widget.name, before: first[i], after: widget.value };
    });
    const sweep = sweepNode(compare);
    if (sweep) sweep.mode = BYPASSED;
  });
  return words("{name} is set: the next run samples it alone.", { name: cell.label });
}

/** Sets back what `useCell` wrote and nobody has changed since, where `which` agrees. λ stays as the artist chose it. */
function restore(compare, which) {
  for (const change of changesOf(compare)) {
    const node = nodeByLocator(change.node);
    const widget = widgetOf(node, change.widget);
    if (widget && which(change) && near(widget.value, change.after)) writeWidget(node, widget, change.before);
  }
}

export function sweepAgain(compare) {
  const sweep = sweepNode(compare);
  if (!sweep) return words("The sweep is no longer connected.");
  asOneStep(() => {
    restore(compare, (change) => change.widget !== "lambda_");
    delete compare.properties[USED];
    sweep.mode = ALWAYS;
  });
  return words("The next run sweeps λ again.");
}
