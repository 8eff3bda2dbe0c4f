/**
 * The strip of a run's pictures on its node, whoever made them: the page hears previews only from a node that really runs,
 * and one that the host has kept does not. So it comes with the outputs too, and again where the node is made anew.
 */

import { api } from "../../../scripts/api.js";
import { allGraphs } from "./graph.js";
import { forget, recall, remember } from "./memory.js";
import { onOutput } from "./outputs.js";
import { isOfPack } from "./pack.js";

const STRIP = "realign_strip"; // in the output, and what is remembered of it: {filename, subfolder, type}
const WORDS = "realign_text"; // in each output of a node that may have a strip

export function attachStrip(node) {
  onOutput(node, WORDS, (_, output) => {
    const file = output[STRIP]?.[0] ?? null; // a run that is no sweep has none
    if (file) remember(node, STRIP, file);
    else forget(node, STRIP);
    showStrip(node, file);
  });
}

/** On nodes that were made anew; their words are shown again with all other nodes'. */
export function showStripsAgain() {
  for (const node of (allGraphs()[0]?.nodes ?? []).filter(isOfPack)) showStrip(node, recall(node, STRIP));
}

/** As a preview, in the place of those of the run: the page knows a node by its id where it is in no subgraph. */
async function showStrip(node, file) {
  if (!file || node.graph !== allGraphs()[0]) return;
  const { filename, subfolder, type } = file;
  const response = await api.fetchApi(`/view?${new URLSearchParams({ filename, subfolder, type })}`).catch(() => null);
  if (!response?.ok || node.graph?.getNodeById(node.id) !== node) return; // the host has deleted it; the node is gone
  const id = String(node.id);
  api.dispatchCustomEvent("b_preview_with_metadata", { blob: await response.blob(), nodeId: id, displayNodeId: id });
  node.setDirtyCanvas?.(true, true); // the classic renderer looks for previews as it draws the node
}
