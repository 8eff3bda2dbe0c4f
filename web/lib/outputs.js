/**
 * What a node's run gives the page, by name: as it ends, and whenever the page learns of it anew, for a run that the host
 * has kept or that another tab has seen.
 *
 * The page hands what ends to the node of that id in the workflow that is open, whichever has run. It has given it to the
 * record of the right one by then, and tells it anew when that is opened: so the other leaves it.
 */

import { app } from "../../../scripts/app.js";
import { locatorOf, nodeByLocator } from "./graph.js";
import { chain } from "./live.js";

const listeners = new WeakMap(); // node → [(output) => …]

/** listen(value, output): the first thing that goes by this name, and all that the run gives. */
export function onOutput(node, name, listen) {
  if (!listeners.has(node)) chain(node, "onExecuted", (output) => heard(node, output));
  listeners.set(node, [...(listeners.get(node) ?? []), (output) => output?.[name] && listen(output[name][0], output)]);
}

export function outputsUpdated(outputs) {
  for (const [locator, output] of Object.entries(outputs ?? {})) tell(nodeByLocator(locator), output);
}

const tell = (node, output) => listeners.get(node)?.forEach((hear) => hear(output));

function heard(node, output) {
  if (!isOfAnotherWorkflow(output)) return tell(node, output);
  const outputs = app.nodeOutputs ?? {};
  if (node.graph && outputs[locatorOf(node)] === output) delete outputs[locatorOf(node)]; // else the page tells it again
}

function isOfAnotherWorkflow(output) {
  const { activeWorkflow, openWorkflows = [] } = app.extensionManager?.workflow ?? {};
  const held = openWorkflows.filter((one) => one.path !== activeWorkflow?.path).map((one) => one.changeTracker?.nodeOutputs);
  return held.some((outputs) => Object.values(outputs ?? {}).includes(output));
}
