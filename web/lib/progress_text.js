/** The page's own line of text on a node that samples has no name but an internal one, which its panel shows. */

import { LAMBDA_NODES } from "./beta_line.js";
import { allGraphs, kindOf, nearestUpstream, widgetOf } from "./graph.js";
import { words } from "./words.js";

const INTERNAL = "$$node-text-preview";

const OURS = [...LAMBDA_NODES, "RealignParticles"];
const isOurs = (node) => OURS.includes(kindOf(node));
const isSampledByUs = (node) => isOurs(node) || ["guider", "model"].some((name) => nearestUpstream(node, name, isOurs));

/** Names the lines of text that a realigned run has left on nodes. */
export function nameProgressTexts() {
  for (const node of allGraphs().flatMap((graph) => graph.nodes ?? [])) {
    const line = widgetOf(node, INTERNAL);
    if (line && !line.label && isSampledByUs(node)) line.label = words("The run, as it goes");
  }
}
