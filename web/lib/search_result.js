/**
 * λ Search's pictures on its node, whoever made them: the page hears previews only from a node that really runs, and a
 * search that the host has kept does not. So they come with its outputs too, and again where the node is made anew.
 */

import { api } from "../../../scripts/api.js";
import { allGraphs, kindOf } from "./graph.js";
import { recall, remember } from "./memory.js";
import { onOutput } from "./outputs.js";

export const SEARCH = "RealignSearch";
const STRIP = "realign_strip"; // in its output, and what is remembered of it: {filename, subfolder, type}

export function attachSearch(node) {
  onOutput(node, STRIP, (file) => {
    remember(node, STRIP, file);
    showStrip(node, file);
  });
}

/** On nodes that were made anew; their words are shown again with all other nodes'. */
export function showStripsAgain() {
  for (const node of allGraphs()[0]?.nodes ?? []) {
    if (kindOf(node) === SEARCH) showStrip(node, recall(node, STRIP));
  }
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
