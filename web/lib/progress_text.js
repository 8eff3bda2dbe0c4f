/**
 * The page's own text on a node that samples or says what came out. It has no name but an internal one, which the page's
 * panel shows, it is English, it has room for two lines, and it is gone when undo or a reload makes the node anew: here
 * it gets a name, the page's language and the room it needs, and comes again.
 */

import { LAMBDA_NODES } from "./beta_line.js";
import { allGraphs, kindOf, nearestUpstream, widgetOf } from "./graph.js";
import { recall, remember } from "./memory.js";
import { onOutput } from "./outputs.js";
import { isOfPack } from "./pack.js";
import * as tables from "./run_words.js";
import { spoken } from "./sentences.js";
import { el } from "./styles.js";
import { words } from "./words.js";

const INTERNAL = "$$node-text-preview";
const PART = "text";
const MARGIN = 10; // px: the page's, around a widget's element

const translated = new WeakMap(); // line → what it shows

const roomy = new WeakSet(); // lines
const heights = new Map(); // what was measured last: "width text" → px
let ruler = null;

const isOurs = (node) => LAMBDA_NODES.includes(kindOf(node));
const isSampledByUs = (node) => isOurs(node) || ["guider", "model"].some((name) => nearestUpstream(node, name, isOurs));
const everyNode = () => allGraphs().flatMap((graph) => graph.nodes ?? []);

/** What a node says with its output. show(node, text): as the host would have the page show it. */
export function attachText(node, show) {
  onOutput(node, "realign_text", (text) => {
    remember(node, PART, text);
    show(node, text);
  });
}

/** Names the lines of text that a realigned run has left on nodes, and has them in the page's language. */
export function progressTextsChanged() {
  for (const node of everyNode()) {
    const line = widgetOf(node, INTERNAL);
    if (!line) continue;
    const ofRun = isSampledByUs(node);
    if (ofRun || isOfPack(node)) giveRoom(node, line);
    if (!line.label && ofRun) line.label = words("The run, as it goes");
    if (ofRun || isOfPack(node)) inLanguage(line);
  }
}

/** Shows a line in the page's language, once for each text that is sent. */
function inLanguage(line) {
  if (translated.get(line) === line.value) return;
  if (typeof line.value === "string") line.value = spoken(tables, line.value);
  translated.set(line, line.value);
}

/** In the classic renderer: all its lines, at the width that the node has. */
function giveRoom(node, line) {
  if (roomy.has(line) || !line.options?.getMinHeight) return;
  roomy.add(line);
  const least = line.options.getMinHeight;
  const needed = () => heightOf(String(line.value ?? ""), node.size[0] - 2 * MARGIN) + 2 * MARGIN;
  line.options.getMinHeight = () => Math.max(least(), needed());
}

/** px, of a text as the page shows it: with its own classes. The page asks whenever it draws. */
function heightOf(text, width) {
  const key = `${width} ${text}`;
  if (!heights.has(key)) {
    ruler ??= el("div", "realign-ruler px-4 py-2 text-xs break-all", { "aria-hidden": "true" });
    if (!ruler.isConnected) document.body.append(ruler);
    ruler.style.width = `${width}px`;
    ruler.textContent = text;
    if (heights.size > 100) heights.clear();
    heights.set(key, ruler.offsetHeight);
  }
  return heights.get(key);
}

/** On nodes that were made anew. show(node, text): as the host would have the page show it. */
export function showTextsAgain(show) {
  for (const node of everyNode().filter((one) => isOfPack(one) && !widgetOf(one, INTERNAL))) {
    const text = recall(node, PART);
    if (typeof text === "string") show(node, text);
  }
}
