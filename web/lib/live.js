/** DOM widgets that follow whatever changes in the graph: widgets, links, modes, whoever changes them. */

import { app } from "../../../scripts/app.js";
import { allGraphs } from "./graph.js";

const PERIOD = 120; // ms
const live = new Map(); // node → its updates
const elements = new WeakMap(); // node → {name: element}
const endings = new WeakMap(); // node → what is to be done once it is gone
let timer = null;

const fresh = new Set(); // nodes whose elements the page may have mounted since it last drew, and so not placed yet

/** Brings all widgets up to date; by itself a few times a second. */
export function tick() {
  if (document.hidden) return;
  const graphs = new Set(allGraphs());
  for (const [node, updates] of live) {
    if (!node.graph) continue; // not added yet
    if (!graphs.has(node.graph)) {
      end(node); // of a subgraph that is gone: the page tells the nodes of the root graph alone
      continue;
    }
    if (node.graph.getNodeById?.(node.id) !== node) continue; // another has taken its id
    if (node.graph === app.canvas?.graph) takePlace(node);
    updates.forEach(run);
    if (fresh.delete(node)) node.setDirtyCanvas?.(true, true);
  }
}

/**
 * The new renderer mounts a widget's element once per node id. Undo, tabs and reloads make the node anew under its old
 * id, and the page goes on to show the element of the one that is gone: the living one takes its place.
 */
function takePlace(node) {
  const shown = document.querySelector(`.lg-node[data-node-id="${CSS.escape(String(node.id))}"]`);
  if (!shown) return; // the classic renderer, or out of view
  for (const [name, element] of Object.entries(elements.get(node) ?? {})) {
    if (shown.contains(element)) continue;
    shown.querySelector(`[data-realign-widget="${name}"]`)?.replaceWith(element);
  }
}

function run(update) {
  try {
    update();
  } catch (error) {
    console.warn("realign: a widget could not be updated", error);
  }
}

/** Calls `update` a few times a second as long as the node is in a graph. It must be cheap when nothing changed. */
export function keepUpdated(node, update) {
  if (!live.has(node)) {
    live.set(node, []);
    fresh.add(node);
    chain(node, "onRemoved", () => end(node));
    chain(node, "onAdded", () => live.set(node, live.get(node) ?? updates));
  }
  const updates = live.get(node);
  updates.push(update);
  timer ??= setInterval(tick, PERIOD);
}

function end(node) {
  live.delete(node);
  endings.get(node)?.forEach(run);
}

/** Calls `then` once the node is in none of the page's graphs any more. Of nodes that are kept updated. */
export function whenGone(node, then) {
  endings.set(node, [...(endings.get(node) ?? []), then]);
}

/** Has a method of a node call `then`, with the same arguments, after what it does already. */
export function chain(node, method, then) {
  const before = node[method];
  node[method] = function (...args) {
    const result = before?.apply(this, args);
    then.apply(this, args);
    return result;
  };
}

/**
 * A DOM widget that is no part of the workflow: not in widgets_values, not in the prompt, not in the page's panel of
 * inputs. height: {min, max} in px; with `fixed`, always `min`.
 */
export function addElement(node, name, element, { min, max = 4096, fixed = false, hideOnZoom = true, margin = 6 }) {
  const widget = node.addDOMWidget(name, name, element, {
    serialize: false,
    hideOnZoom,
    hideInPanel: true, // which would draw it a second time, and in the classic renderer make it as narrow as the panel
    margin,
    getMinHeight: () => min,
    getMaxHeight: () => max,
    getValue: () => "",
    setValue: () => {},
  });
  element.dataset.realignWidget = name;
  elements.set(node, { ...elements.get(node), [name]: element });
  widget.serialize = false;
  widget.options.serialize = false;
  if (fixed) {
    widget.computeLayoutSize = undefined;
    widget.computeSize = () => [0, min - 4]; // the page adds 4
  }
  return widget;
}
