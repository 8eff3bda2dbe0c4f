/**
 * The page's own line of text on a node that samples. It has no name but an internal one, which the page's panel shows,
 * it is English, and it is gone when undo or a reload makes the node anew: here it gets a name and the page's language,
 * and comes again.
 */

import { LAMBDA_NODES } from "./beta_line.js";
import { allGraphs, kindOf, nearestUpstream, widgetOf } from "./graph.js";
import { keepOrigin, recall, remember } from "./memory.js";
import { isOfPack } from "./pack.js";
import * as tables from "./run_words.js";
import { spoken } from "./sentences.js";
import { words } from "./words.js";

const INTERNAL = "$$node-text-preview";
const PART = "text";

const kept = new WeakMap(); // node → the text that is remembered, as the host sent it
const translated = new WeakMap(); // line → {sent, shown}

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
    const ofRun = isSampledByUs(node);
    if (!line.label && ofRun) line.label = words("The run, as it goes");
    const sent = ofRun || isOfPack(node) ? inLanguage(line) : line.value;
    if (isOurs(node) && sent && kept.get(node) !== sent) {
      kept.set(node, sent);
      remember(node, PART, sent);
    }
  }
}

/** Shows a line in the page's language, and gives it as it was sent. */
function inLanguage(line) {
  const known = translated.get(line);
  if (known?.shown === line.value) return known.sent;
  const sent = line.value;
  const shown = typeof sent === "string" ? spoken(tables, sent) : sent;
  if (shown !== sent) line.value = shown;
  translated.set(line, { sent, shown: line.value });
  return sent;
}

/** On nodes that were made anew. show(node, text): as the host would have the page show it. */
export function showTextsAgain(show) {
  for (const node of everyNode().filter((one) => isOurs(one) && !widgetOf(one, INTERNAL))) {
    const text = recall(node, PART);
    if (typeof text === "string") show(node, text);
  }
}
