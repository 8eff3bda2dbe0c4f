/** Walks over the page's graph: through Reroute nodes, bypassed nodes and the walls of subgraphs. */

import { app } from "../../../scripts/app.js";

export const ALWAYS = 0;
export const MUTED = 2;
export const BYPASSED = 4;

const SUBGRAPH_INPUT = -10;
const SUBGRAPH_OUTPUT = -20;

export const widgetOf = (node, name) => node?.widgets?.find((widget) => widget.name === name);
export const valueOf = (node, name) => widgetOf(node, name)?.value;
export const inputIndex = (node, name) => node?.inputs?.findIndex((input) => input.name === name) ?? -1;
export const isConnected = (node, name) => node?.inputs?.[inputIndex(node, name)]?.link != null;
export const kindOf = (node) => node?.comfyClass ?? node?.type;

function linkOf(graph, id) {
  return id == null ? null : (graph?.getLink?.(id) ?? graph?.links?.get?.(id) ?? graph?.links?.[id] ?? null);
}

/** The root graph and all subgraphs. */
export function allGraphs() {
  const root = app.rootGraph ?? app.graph;
  return [root, ...(root?.subgraphs?.values?.() ?? [])].filter(Boolean);
}

/** The node that a key of the page's node outputs stands for: "12", or "<subgraph id>:12". */
export function nodeByLocator(locator) {
  const [graphId, id] = String(locator).includes(":") ? String(locator).split(":") : [null, locator];
  const [root, ...inner] = allGraphs();
  const graph = graphId ? inner.find((one) => one.id === graphId) : root;
  return graph?.getNodeById?.(Number(id)) ?? graph?.getNodeById?.(id) ?? null;
}

export function locatorOf(node) {
  return node.graph === allGraphs()[0] ? String(node.id) : `${node.graph.id}:${node.id}`;
}

/** The nodes that stand for a subgraph, in all graphs. */
function hostsOf(graph) {
  return allGraphs().flatMap((one) => (one.nodes ?? []).filter((node) => node.subgraph && node.subgraph === graph));
}

const hostOf = (graph) => hostsOf(graph)[0] ?? null;

function insideOf(host, slot) {
  const inner = host.subgraph;
  const link = linkOf(inner, inner?.outputs?.[slot]?.linkIds?.[0]);
  return link ? originOf(inner, link) : null;
}

function originOf(graph, link) {
  if (Number(link.origin_id) === SUBGRAPH_INPUT) {
    const host = hostOf(graph);
    return host ? source(host, link.origin_slot) : null;
  }
  const node = graph.getNodeById(link.origin_id);
  if (node?.subgraph) return insideOf(node, link.origin_slot);
  return node ? { node, slot: link.origin_slot } : null;
}

/** What an input is linked to: {node, slot}, or null. */
export function source(node, index) {
  const link = linkOf(node?.graph, node?.inputs?.[index]?.link);
  return link ? originOf(node.graph, link) : null;
}

/** The input that a bypassed node hands on at an output, as the page chooses it: of the same type. */
function bypassInput(node, slot) {
  const type = node.outputs?.[slot]?.type;
  if (node.inputs?.[slot]?.type === type) return slot;
  return node.inputs?.findIndex((input) => input.type === type) ?? -1;
}

/** The node whose output really arrives at an input in the next run: {node, slot}, or null. */
export function effectiveSource(node, name) {
  let found = source(node, inputIndex(node, name));
  for (let hops = 0; found && hops < 1000; hops++) {
    if (found.node.mode === MUTED) return null;
    if (found.node.mode === BYPASSED) found = source(found.node, bypassInput(found.node, found.slot));
    else if (kindOf(found.node) === "Reroute") found = source(found.node, 0);
    else return found;
  }
  return null;
}

const PLAIN_VALUES = ["value", "number", "float", "int"];

/** The widget of a node that hands on one number as it is typed: a primitive, a constant, a seed. */
function plainNumber(node) {
  const numbers = (node.widgets ?? []).filter((widget) => typeof widget.value === "number");
  if (numbers.length !== 1 || (node.inputs ?? []).some((input) => input.link != null)) return undefined;
  const name = String(numbers[0].name).toLowerCase();
  const plain = PLAIN_VALUES.includes(name) || (name === "seed" && /seed/i.test(kindOf(node)));
  return plain ? numbers[0] : undefined;
}

/**
 * What the value of an input really comes from: {node, widget}, where it can be read and set. That is the node's own
 * widget; where a link drives it, the number that the link comes from, or the widget that a subgraph shows for it.
 * Without `widget` where a node computes it, or several subgraph nodes each have their own.
 */
export function settingOf(node, name) {
  const index = inputIndex(node, name);
  const link = linkOf(node?.graph, node?.inputs?.[index]?.link);
  if (!link) return { node, widget: widgetOf(node, name) };
  if (Number(link.origin_id) === SUBGRAPH_INPUT) {
    const hosts = hostsOf(node.graph);
    if (hosts.length !== 1) return { node: hosts[0] ?? node };
    const shown = settingOf(hosts[0], hosts[0].inputs[link.origin_slot]?.name);
    return shown.node === hosts[0] && !shown.widget ? { node, widget: widgetOf(node, name) } : shown;
  }
  const from = effectiveSource(node, name)?.node;
  if (!from) return { node, widget: widgetOf(node, name) }; // muted or bypassed: nothing arrives
  return { node: from, widget: plainNumber(from) };
}

/** The nearest node, breadth first from an input of `node`, that `matches`; bypassed ones count as well. */
export function nearestUpstream(node, name, matches) {
  const seen = new Set();
  let level = [source(node, inputIndex(node, name))?.node];
  while (level.length) {
    const next = [];
    for (const one of level) {
      if (!one || seen.has(one)) continue;
      seen.add(one);
      if (matches(one)) return one;
      (one.inputs ?? []).forEach((_, index) => next.push(source(one, index)?.node));
    }
    level = next;
  }
  return null;
}

/** Whether `wanted` lies above an input of `node`. */
export const isUpstream = (node, name, wanted) => nearestUpstream(node, name, (one) => one === wanted) !== null;

/** The nodes that an output is linked to: [{node, slot}], through the walls of subgraphs. */
export function targets(node, slot) {
  return (node.outputs?.[slot]?.links ?? []).flatMap((id) => targetOf(node.graph, linkOf(node.graph, id)));
}

function targetOf(graph, link) {
  if (!link) return [];
  if (Number(link.target_id) === SUBGRAPH_OUTPUT) {
    const host = hostOf(graph);
    return host ? targets(host, link.target_slot) : [];
  }
  const node = graph.getNodeById(link.target_id);
  if (node?.subgraph) {
    const ids = node.subgraph.inputs?.[link.target_slot]?.linkIds ?? [];
    return ids.flatMap((id) => targetOf(node.subgraph, linkOf(node.subgraph, id)));
  }
  return node ? [{ node, slot: link.target_slot }] : [];
}

/** Sets a widget as the page does when its user moves it, but to this very value: some widgets round what they get. */
export function writeWidget(node, widget, value) {
  widget.value = value;
  widget.callback?.(value, app.canvas, node, app.canvas?.graph_mouse);
  if (widget.value !== value && typeof value === "number") widget.value = value;
  node.setDirtyCanvas?.(true, true);
}

/** Runs `change` as one step of the page's undo. */
export function asOneStep(change) {
  app.canvas?.emitBeforeChange?.();
  try {
    return change();
  } finally {
    app.canvas?.emitAfterChange?.();
    app.canvas?.setDirty?.(true, true);
  }
}
