/**
 * What widgets know beyond the workflow: the last result, the place in it. Undo, tabs, a reload of the page, copy and
 * paste and subgraphs all make a node anew from its saved form; what is kept here finds it again by where it was.
 *
 * A node's saved form carries its place (`realign_memory`), which never changes by what is remembered: no step of undo.
 */

import { allGraphs, locatorOf } from "./graph.js";
import { chain } from "./live.js";

const ORIGIN = "realign_memory";
const NOWHERE = "00000000-0000-0000-0000-000000000000";
const PREFIX = "realign/";
const MOST = 120; // entries that outlive the page
const PATIENCE = 400; // ms

const held = new Map(); // "place#part" → value
const waiting = new Set();
const named = new WeakMap(); // node → its name for a workflow that has no id
const names = new Set(); // all that this page has given
let timer = null;

/** Where a node is: its workflow, its graph and its id. null: nowhere yet. */
function placeOf(node) {
  const root = allGraphs()[0];
  return node.graph && root ? `${workflowOf(node, root)}/${locatorOf(node)}` : null;
}

/**
 * The workflow's id. A graph that was cleared has none, and each undo gives it another one: there a node has a name of
 * its own for it, which its saved form hands on. The graph's own id is the page's: it keeps widgets' values by it.
 */
function workflowOf(node, root) {
  if (named.has(node)) return named.get(node);
  const origin = node.properties?.[ORIGIN] ?? "";
  const [before] = origin.split("/");
  if (names.has(before) && origin === `${before}/${locatorOf(node)}`) return before; // undone, and not pasted
  if (root.id !== NOWHERE) return root.id;
  const name = crypto.getRandomValues(new Uint32Array(4)).join("-"); // randomUUID wants https, which a host in the house lacks
  named.set(node, name);
  names.add(name);
  return name;
}

/** Has the saved form of a node say where it was. */
export function keepOrigin(node) {
  chain(node, "onSerialize", (saved) => {
    const place = placeOf(node);
    if (place) saved.properties = { ...saved.properties, [ORIGIN]: place };
  });
}

/** Whether the node was made from a saved form, and not by the artist just now. */
export const hasOrigin = (node) => Boolean(node.properties?.[ORIGIN]);

/** Whether a saved form says that it is of a node at another place. */
export function isOfAnother(node, saved) {
  const place = saved.properties?.[ORIGIN];
  return Boolean(place) && place !== placeOf(node);
}

/** part: a name, one value each. value: anything that JSON takes. */
export function remember(node, part, value) {
  const place = placeOf(node);
  if (!place) return;
  const key = `${place}#${part}`;
  held.set(key, value);
  waiting.add(key);
  timer ??= setTimeout(save, PATIENCE);
}

export function forget(node, part) {
  const place = placeOf(node);
  if (!place) return;
  const key = `${place}#${part}`;
  held.set(key, undefined);
  waiting.delete(key);
  try {
    localStorage.removeItem(PREFIX + key);
  } catch {
    // no storage: nothing outlives the page
  }
}

/** What was remembered last at the place that the node was saved at; undefined where nothing was. */
export function recall(node, part) {
  if (!hasOrigin(node)) return undefined;
  const key = `${node.properties[ORIGIN]}#${part}`;
  if (!held.has(key)) held.set(key, read(key));
  return held.get(key);
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key) ?? "null")?.value;
  } catch {
    return undefined; // no storage, or not what was written
  }
}

function save() {
  timer = null;
  for (const key of waiting) write(key, JSON.stringify({ time: Date.now(), value: held.get(key) }));
  waiting.clear();
}

/** The oldest entries make room, in number and in size. */
function write(key, text) {
  const old = entries().filter((name) => name !== PREFIX + key);
  try {
    old.slice(0, Math.max(old.length + 1 - MOST, 0)).forEach((name) => localStorage.removeItem(name));
    for (const name of [...old, null]) {
      try {
        return localStorage.setItem(PREFIX + key, text);
      } catch {
        if (name) localStorage.removeItem(name);
      }
    }
  } catch {
    // no storage: what is kept lasts as long as the page
  }
}

function entries() {
  try {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
    const time = (name) => JSON.parse(localStorage.getItem(name) ?? "{}")?.time ?? 0;
    return names.map((name) => [time(name), name]).sort(([a], [b]) => a - b).map(([, name]) => name);
  } catch {
    return [];
  }
}

globalThis.addEventListener?.("pagehide", save);
