/** The line on Realign Sampler, Guider and MODEL that says what its λ stands for. */

import { anchorAt } from "./beta.js";
import { betaLine } from "./beta_text.js";
import { effectiveSource, valueOf, widgetOf } from "./graph.js";
import { addElement, chain, keepUpdated } from "./live.js";
import { el } from "./styles.js";
import { words } from "./words.js";

export const LAMBDA_NODES = ["RealignSampler", "RealignGuider", "RealignModel"];

const WIDTH = 380; // px: a new node shows the whole line

function lineOf(node) {
  const scheduled = ["lambda_schedule", "lambda_"].some((input) => effectiveSource(node, input) !== null);
  return betaLine(Number(valueOf(node, "lambda_")), anchorAt(node), scheduled);
}

export function attachBetaLine(node) {
  const line = el("div", "realign-line", { role: "note", "aria-label": words("What λ stands for") });
  addElement(node, "realign_beta_line", line, { min: 26, max: 26, fixed: true, margin: 3 });
  if (node.size[0] < WIDTH) node.setSize([WIDTH, node.size[1]]);
  const update = () => {
    const text = lineOf(node);
    if (line.textContent === text) return;
    line.textContent = line.title = text;
  };
  keepUpdated(node, update);
  const slider = widgetOf(node, "lambda_");
  if (slider) chain(slider, "callback", () => node.graph && update());
}
