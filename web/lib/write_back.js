/**
 * "Use this λ": from a picture of a sweep back to the sampler; the switch back to the sweep, which undoes it; and the
 * finer sweep around it.
 *
 * What was changed is kept in the compare node's property `realign_used`, so that it can be undone in a workflow that
 * was saved and opened again: [{node, widget, before, after}].
 */

import { app } from "../../../scripts/app.js";
import {
  ALWAYS,
  BYPASSED,
  asOneStep,
  effectiveSource,
  inputIndex,
  isUpstream,
  kindOf,
  locatorOf,
  nearestUpstream,
  nodeByLocator,
  settingOf,
  targets,
  valueOf,
  widgetOf,
  writeWidget,
} from "./graph.js";
import { LAMBDA_NODES, SAMPLERS } from "./beta_line.js";
import { short } from "./beta_text.js";
import { finerValues } from "./compare/finer.js";
import { words } from "./words.js";

const USED = "realign_used";
const SEEDS = ["seed", "noise_seed"];
const CONTROL = "control_after_generate";
const FIXED = "fixed";

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

export const isSweeping = (compare) => sweepNode(compare)?.mode === ALWAYS;

/** The node that samples these pictures: the one of λ itself, or what takes its guider or model and leads to them. */
function samplingNode(compare) {
  const node = lambdaNode(compare);
  if (!node || SAMPLERS.includes(kindOf(node))) return node;
  const seen = new Set([node]);
  let level = [node];
  while (level.length) {
    const next = level.flatMap((one) => (one.outputs ?? []).flatMap((_, slot) => targets(one, slot)).map((to) => to.node));
    const onTheWay = next.filter((one) => !seen.has(one) && seen.add(one) && isUpstream(compare, "images", one));
    const found = onTheWay.find((one) => one.outputs?.some((output) => output.type === "LATENT"));
    if (found) return found;
    level = onTheWay;
  }
  return null;
}

/** Where the seed of a sampling node is set: in it, or in the node that makes its noise. */
function seedSetting(sampler) {
  const named = (node) => SEEDS.find((name) => widgetOf(node, name));
  const node = sampler && (named(sampler) ? sampler : nearestUpstream(sampler, "noise", named));
  return node ? settingOf(node, named(node)) : null;
}

/** cfg of the guider, or of the sampler behind a realigned MODEL. */
function cfgSetting(compare) {
  const node = [lambdaNode(compare), samplingNode(compare)].find((one) => widgetOf(one, "cfg"));
  return node ? settingOf(node, "cfg") : null;
}

/**
 * What a cell sets: [{says, node, widget, value}], λ first, then the seed, cfg and η of its row. `widget` is missing
 * where a link brings a value that is computed.
 */
function wantedBy(compare, result, cell) {
  const seed = seedSetting(samplingNode(compare));
  const base = result.seed ?? (seed?.widget ? before(compare, seed.node, seed.widget.name) : null);
  const lambda = lambdaNode(compare);
  return [
    ...lambdaTargets(compare, lambda, cell),
    ...(seed && base != null ? seedTargets(seed, base + cell.seed_offset) : []),
    cell.cfg != null && { says: `cfg ${short(cell.cfg)}`, ...cfgSetting(compare), value: cell.cfg },
    cell.eta != null && { says: `η ${short(cell.eta)}`, ...settingOf(lambda, "eta"), value: cell.eta },
    cell.prompt != null && { says: words("its prompt"), ...promptSetting(compare, cell), value: cell.prompt },
  ].filter(Boolean);
}

/** The text that a sampler's prompt is made of, where that is one text, and the row's is known. */
function promptSetting(compare, cell) {
  const nodes = [lambdaNode(compare), samplingNode(compare)].filter((one) => one && inputIndex(one, "positive") >= 0);
  const encoder = nodes[0] && effectiveSource(nodes[0], "positive")?.node;
  return cell.prompt && encoder && widgetOf(encoder, "text") ? settingOf(encoder, "text") : { node: encoder };
}

/** λ is the slider's. A schedule that the sweep multiplies goes on when the sweep is bypassed, and is scaled instead. */
function lambdaTargets(compare, lambda, cell) {
  const schedule = sweptSchedule(compare);
  if (!schedule) return [{ says: cell.name, ...settingOf(lambda, "lambda_"), value: cell.lambda }];
  return ["scale", "offset"].map((name, i) => {
    const setting = settingOf(schedule, name);
    const first = setting.widget && before(compare, setting.node, setting.widget.name);
    return { says: i ? "" : cell.name, ...setting, value: first * cell.lambda };
  });
}

/** A seed that would change before the next run, as some have it set in the page, is held as well. */
function seedTargets(setting, seed) {
  const wanted = [{ says: words("seed {seed}", { seed }), ...setting, value: seed }];
  const control = widgetOf(setting.node, CONTROL);
  const changesFirst = app.ui?.settings?.getSettingValue?.("Comfy.WidgetControlMode") === "before";
  if (control && changesFirst) wanted.push({ says: words("fixed"), node: setting.node, widget: control, value: FIXED });
  return wanted;
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

const NEAR = 1e-6;
const near = (a, b) => a === b || Math.abs(a - b) < NEAR;

/** Why this cell cannot be used, in a sentence; "" where it can. */
function refusal(compare, cell, wanted) {
  if (cell.lambda == null) return words("Connect the λ sweep to know this picture's λ.");
  if (!lambdaNode(compare)) return words("No Realign node lies before these images.");
  const computed = wanted.find((one) => !one.widget);
  if (computed) {
    const from = computed.node?.title ?? "?";
    return words("{name} cannot be set here: it comes from “{from}”.", { name: computed.says, from });
  }
  const { min = -Infinity, max = Infinity } = widgetOf(lambdaNode(compare), "lambda_").options ?? {};
  if (sweptSchedule(compare) || (cell.lambda >= min && cell.lambda <= max)) return "";
  return words("λ {lambda} lies beyond the slider ({min} to {max}).", { lambda: short(cell.lambda), min, max });
}

/** What “Use” would do with a cell: {name: what it sets, in words; no: why it cannot; inUse: whether it is done}. */
export function offerOf(compare, result, cell) {
  if (cell.lambda == null || !lambdaNode(compare)) return { name: cell.name, no: refusal(compare, cell, []), inUse: false };
  const wanted = wantedBy(compare, result, cell);
  const open = wanted.filter((one, i) => i === 0 || !one.widget || !near(one.widget.value, one.value));
  return {
    name: open.map((one) => one.says).filter(Boolean).join(", "),
    no: refusal(compare, cell, wanted),
    inUse: !(result.swept && isSweeping(compare)) && wanted.every((one) => one.widget && near(one.widget.value, one.value)),
  };
}

/** Writes the cell's λ, seed, cfg and η to where they come from, and bypasses the sweep. Returns what to say. */
export function useCell(compare, result, cell) {
  const { name, no } = offerOf(compare, result, cell);
  if (no) return no;
  const wanted = wantedBy(compare, result, cell);
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
    if (result.swept) pick(compare, result, cell);
  });
  return words("{name} is set: the next run samples it alone.", { name });
}

/** Sets back what `useCell` wrote and nobody has changed since, where `which` agrees. */
function restore(compare, which) {
  for (const change of changesOf(compare)) {
    const node = nodeByLocator(change.node);
    const widget = widgetOf(node, change.widget);
    if (widget && which(change) && near(widget.value, change.after)) writeWidget(node, widget, change.before);
  }
}

/** Has the next run sweep again, with λ as the artist chose it, or make one picture. Returns what to say. */
export function setSweeping(compare, on) {
  const sweep = sweepNode(compare);
  if (!sweep) return words("The sweep is no longer connected.");
  asOneStep(() => {
    if (on) forgetUse(compare);
    sweep.mode = on ? ALWAYS : BYPASSED;
  });
  return words(on ? "The next run sweeps λ again." : "The next run makes one picture.");
}

function forgetUse(compare) {
  const lambda = lambdaNode(compare);
  const slider = lambda && settingOf(lambda, "lambda_");
  const isLambda = (change) => slider && change.node === locatorOf(slider.node) && change.widget === slider.widget?.name;
  restore(compare, (change) => !isLambda(change));
  delete compare.properties[USED];
}

/** The λ of a finer sweep around a column: {values: null} where there is none. */
export function finerOffer(compare, run, column) {
  const sweep = run.swept ? sweepNode(compare) : null;
  const lambdas = run.columns.map((one) => one.lambda);
  if (!sweep || lambdas.some((one) => one == null)) return { values: null };
  const settings = ["values", "listed"].map((name) => settingOf(sweep, name));
  const values = settings.every((one) => one.widget) ? finerValues(lambdas, column) : [];
  return values.length ? { values, settings } : { values: null };
}

/** Sets the sweep to five λ around a column, with the noise of this run: the page changes most seeds after a run. Returns
 * what to say. */
export function finer(compare, run, column) {
  const { values, settings } = finerOffer(compare, run, column);
  if (!values) return "";
  const sweep = sweepNode(compare);
  const only = settingOf(sweep, "only");
  const seed = run.seed == null ? null : seedSetting(samplingNode(compare));
  asOneStep(() => {
    forgetUse(compare);
    for (const { node, widget, value } of seed?.widget ? seedTargets(seed, run.seed) : []) writeWidget(node, widget, value);
    writeWidget(settings[0].node, settings[0].widget, "list");
    writeWidget(settings[1].node, settings[1].widget, values.join(", "));
    if (only.widget?.value) writeWidget(only.node, only.widget, "");
    sweep.mode = ALWAYS;
  });
  return words("The next run sweeps λ {values}.", { values: values.join(", ") });
}

/** Tells the node, and so the graph behind it, which picture was chosen: “λ 0.75, row 2”, as nodes/compare.py reads it. */
function pick(compare, run, cell) {
  const widget = widgetOf(compare, "picked");
  if (widget) writeWidget(compare, widget, `λ ${cell.lambda}${run.rows.length > 1 ? `, row ${cell.row + 1}` : ""}`);
}

export function unpick(compare) {
  const widget = widgetOf(compare, "picked");
  if (widget?.value) asOneStep(() => writeWidget(compare, widget, ""));
}

/** Where in a run the chosen picture is: {column, row}, or null. */
export function pickedPlace(compare, run) {
  const found = /^λ (\S+?)(?:, row (\d+))?$/.exec(valueOf(compare, "picked") ?? "");
  if (!found || !run.swept) return null;
  const column = run.columns.findIndex((one) => one.lambda != null && near(one.lambda, Number(found[1])));
  const row = Number(found[2] ?? 1) - 1;
  return column >= 0 && row >= 0 && row < run.rows.length ? { column, row } : null;
}
