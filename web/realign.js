/** Realign's part of the page: what λ stands for, the live schedule, and the pictures of a sweep. */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { BETA_READERS, attachBetaReader } from "./lib/beta.js";
import { LAMBDA_NODES, attachBetaLine } from "./lib/beta_line.js";
import { attachCheck } from "./lib/check.js";
import { attachCompare } from "./lib/compare.js";
import { attachChoices } from "./lib/choices.js";
import { attachFold } from "./lib/fold.js";
import { attachSchedule } from "./lib/schedule_widget.js";
import { tick } from "./lib/live.js";
import { keepOrigin } from "./lib/memory.js";
import { outputsUpdated } from "./lib/outputs.js";
import { isOfPack } from "./lib/pack.js";
import { attachPick, attachPreference } from "./lib/pick.js";
import { attachText, progressTextsChanged, showTextsAgain } from "./lib/progress_text.js";
import { attachStrip, showStripsAgain } from "./lib/strip.js";
import { injectStyles } from "./lib/styles.js";
import { translateTemplates } from "./lib/templates.js";

const ATTACH = new Map([
  ...LAMBDA_NODES.map((kind) => [kind, attachBetaLine]),
  ...BETA_READERS.map((kind) => [kind, attachBetaReader]),
  ["LambdaSchedule", attachSchedule],
  ["RealignCompare", attachCompare],
  ["RealignPick", attachPick],
  ["RealignLearnedTaste", attachPreference],
  ["RealignCheck", attachCheck],
]);

/** The page finds the node in the graph that is open. */
function showText(node, text) {
  const open = app.canvas?.graph ?? app.graph;
  if (node.graph === open) api.dispatchCustomEvent("progress_text", { nodeId: String(node.id), text });
}

app.registerExtension({
  name: "realign.widgets",
  setup() {
    injectStyles();
    for (const event of ["progress_text", "executed"]) api.addEventListener(event, progressTextsChanged);
  },
  nodeCreated(node) {
    if (!isOfPack(node)) return;
    keepOrigin(node);
    ATTACH.get(node.comfyClass)?.(node);
    attachFold(node);
    attachChoices(node);
    attachText(node, showText);
    attachStrip(node);
  },
  afterConfigureGraph() {
    requestAnimationFrame(tick); // undo, a tab, a file: the nodes are new, and so are their widgets
    showTextsAgain(showText);
    showStripsAgain();
    translateTemplates();
  },
  onNodeOutputsUpdated(outputs) {
    outputsUpdated(outputs);
  },
});
