/** The β of the anchor that arrives at a node: typed in the graph, or as the last run read it from the file. */

import { effectiveSource, isConnected, kindOf, settingOf } from "./graph.js";
import { recall, remember } from "./memory.js";
import { onOutput } from "./outputs.js";

export const BETA_READERS = ["LoadAnchorModel", "RealignDemoModels"];

const TOLD = "beta"; // {beta, from}: what the last run said, and for which settings
const told = new WeakMap();

const valueOf = (node, name) => settingOf(node, name).widget?.value;
const fileOf = (node) => JSON.stringify([valueOf(node, "anchor_name"), valueOf(node, "beta_source")]);

/** Keeps what a run says of the β of a node that reads it. */
export function attachBetaReader(node) {
  onOutput(node, "realign_beta", (beta) => {
    told.set(node, { beta, from: fileOf(node) });
    remember(node, TOLD, told.get(node));
  });
}

const known = (beta) => (beta > 0 ? { state: "known", beta } : { state: "none" });

function read(node) {
  const last = told.get(node) ?? recall(node, TOLD);
  return last && last.from === fileOf(node) ? known(last.beta) : { state: "later" };
}

/** {state: "known", beta}, or a state: "none", "later" (after a run), "several", "own" (the anchor has a λ of its own). */
export function anchorAt(node, hops = 0) {
  const from = effectiveSource(node, "anchor")?.node;
  if (!from || hops > 100) return { state: "none" };
  switch (kindOf(from)) {
    case "LoadAnchorModel":
      if (valueOf(from, "beta_source") === "from file") return read(from);
      return valueOf(from, "beta_source") === "typed" ? known(valueOf(from, "beta")) : { state: "none" };
    case "RealignAnchorFromModel":
      return valueOf(from, "beta_source") === "typed" ? known(valueOf(from, "beta")) : { state: "none" };
    case "RealignDemoModels":
      return read(from);
    case "RealignAddAnchor":
      return { state: "several" };
    case "RealignAnchorLambda": {
      const before = anchorAt(from, hops + 1);
      const own = isConnected(from, "lambda_schedule") && effectiveSource(from, "lambda_schedule");
      return own && before.state !== "several" ? { state: "own" } : before;
    }
    default:
      return { state: "none" };
  }
}
