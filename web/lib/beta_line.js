/** The line on Realign Sampler, Guider and MODEL that says what its λ stands for. */

import { anchorAt } from "./beta.js";
import { betaLine } from "./beta_text.js";
import { effectiveSource, isConnected, kindOf, settingOf, widgetOf } from "./graph.js";
import { addElement, chain, keepUpdated } from "./live.js";
import { el } from "./styles.js";
import { words } from "./words.js";

export const SAMPLERS = ["RealignSampler", "RealignParticles"];
export const LAMBDA_NODES = [...SAMPLERS, "RealignGuider", "RealignModel"];

const WIDTH = 380; // px: a new node shows most lines unbroken
const HEIGHT = 42; // px: two lines of text

/** {line: what λ stands for; driven: whether something else than the slider decides it}. */
function stateOf(node) {
  const alone = kindOf(node) === "RealignParticles" && effectiveSource(node, "anchor") === null;
  if (alone) return { line: words("λ acts once an anchor is connected"), driven: true };
  const anchor = anchorAt(node);
  const scheduled = effectiveSource(node, "lambda_schedule") !== null;
  const { node: from, widget } = settingOf(node, "lambda_");
  const linked = from !== node;
  if (scheduled || anchor.state === "own") return { line: betaLine(0, anchor, scheduled), driven: true };
  if (!widget) return { line: words("λ comes from “{from}”", { from: from?.title ?? "?" }), driven: true };
  const line = betaLine(Number(widget.value), anchor, false);
  return { line: linked ? words("from “{from}”: {line}", { from: from.title, line }) : line, driven: linked };
}

export function attachBetaLine(node) {
  const line = el("div", "realign-line", { role: "note", "aria-label": words("What λ stands for") });
  const told = kindOf(node) === "RealignParticles"; // by the slider's tooltip alone: the node has no room for a line
  if (!told) addElement(node, "realign_beta_line", line, { min: HEIGHT, max: HEIGHT, fixed: true, margin: 3 });
  if (node.size[0] < WIDTH) node.setSize([WIDTH, node.size[1]]);
  const slider = widgetOf(node, "lambda_");
  const tooltip = slider?.tooltip; // the page's own
  const update = () => {
    const { line: text, driven } = stateOf(node);
    if (slider) grey(node, slider, driven, driven || told ? text : tooltip);
    if (line.textContent !== text) line.textContent = line.title = text;
  };
  keepUpdated(node, update);
  if (slider) chain(slider, "callback", () => node.graph && update());
}

/** A slider that decides nothing looks so, and says why. A linked one is the page's own to grey. */
function grey(node, slider, driven, tooltip) {
  const off = driven && !isConnected(node, "lambda_");
  if (slider.tooltip !== tooltip) slider.tooltip = tooltip;
  if (Boolean(slider.disabled) === off) return;
  slider.disabled = off;
  node.setDirtyCanvas?.(true, true);
}
