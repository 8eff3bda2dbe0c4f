/**
 * The page's own line of text on a node that samples. It has no name but an internal one, which the page's panel shows,
 * and it is gone when undo or a reload makes the node anew: here it gets a name, and comes again.
 */

import { LAMBDA_NODES } from "./beta_line.js";
import { allGraphs, kindOf, nearestUpstream, widgetOf } from "./graph.js";
import { keepOrigin, recall, remember } from "./memory.js";
import { words } from "./words.js";

const INTERNAL = "$$node-text-preview";
const PART = "text";

const kept = new WeakMap(); // node → the text that is remembered

const isOurs = (node) => LAMBDA_NODES.includes(kindOf(node));
const isSampledByUs = (node) => isOurs(node) || ["guider", "model"].some((name) => nearestUpstream(node, name, isOurs));
const everyNode = () => allGraphs().flatMap((graph) => graph.nodes ?? []);

export function attachText(node) {
  if (isOurs(node)) keepOrigin(node);
}

/** Names the lines of text that a realigned run has left on nodes, and remembers those of our own. */
export function progressTextsChanged() {
  for (const node of everyNode()) {
    const line = widgetOf(node, INTERNAL);
    if (!line) continue;
    if (!line.label && isSampledByUs(node)) line.label = words("The run, as it goes");
    if (isOurs(node) && line.value && kept.get(node) !== line.value) {
      kept.set(node, line.value);
      remember(node, PART, line.value);
    }
  }
}

/** On nodes that were made anew. show(node, text): as the host would have the page show it. */
export function showTextsAgain(show) {
  for (const node of everyNode().filter((one) => isOurs(one) && !widgetOf(one, INTERNAL))) {
    const text = recall(node, PART);
    if (typeof text === "string") show(node, text);
  }
}
