/**
 * What a node's run gives the page, by name: as it ends, and whenever the page learns of it anew, for a run that the host
 * has kept or that another tab has seen.
 */

import { nodeByLocator } from "./graph.js";
import { chain } from "./live.js";

const listeners = new WeakMap(); // node → [(output) => …]

/** listen(value, output): the first thing that goes by this name, and all that the run gives. */
export function onOutput(node, name, listen) {
  const hear = (output) => output?.[name] && listen(output[name][0], output);
  listeners.set(node, [...(listeners.get(node) ?? []), hear]);
  chain(node, "onExecuted", hear);
}

export function outputsUpdated(outputs) {
  for (const [locator, output] of Object.entries(outputs ?? {})) {
    for (const hear of listeners.get(nodeByLocator(locator)) ?? []) hear(output);
  }
}
