/**
 * Expert inputs lie behind the page's own fold in both renderers. The new one folds what a schema calls advanced, as a
 * widget's options tell; the classic one has the same fold, its “Show Advanced” and the saved form of it, for widgets
 * that say so themselves, which the page never has them do. Here both ask the same. In the classic one a button opens
 * it, as at the foot of a node in the new one.
 */

import { app } from "../../../scripts/app.js";
import { isConnected } from "./graph.js";
import { chain } from "./live.js";
import { words } from "./words.js";

const BUTTON = "realign_advanced_inputs";
const ALWAYS = "Comfy.Node.AlwaysShowAdvancedWidgets"; // the page's setting, which its classic renderer does not ask

/** Folds a new node's expert inputs. Their values are the defaults still. */
export function attachFold(node) {
  const expert = (node.widgets ?? []).filter((widget) => widget.options?.advanced);
  if (!expert.length) return;
  const defaults = new Map(expert.map((widget) => [widget, widget.value]));
  const seen = new Set(); // what was set when the workflow was opened, and must not be overlooked
  const before = node.computeSize()[1];
  for (const widget of expert) {
    const folds = () => !seen.has(widget) && !isConnected(node, widget.name);
    Object.defineProperty(widget.options, "advanced", { get: folds, set: () => {}, enumerable: true, configurable: true });
    const advanced = () => widget.options.advanced && !setting(ALWAYS);
    Object.defineProperty(widget, "advanced", { get: advanced, set: () => {}, configurable: true });
  }
  const button = addButton(node);
  overrideLayout(node, button);
  node.setSize([node.size[0], node.size[1] + node.computeSize()[1] - before]);
  chain(node, "onConfigure", () => {
    for (const widget of expert) if (widget.value !== defaults.get(widget)) seen.add(widget);
  });
}

const setting = (name) => app.ui.settings.getSettingValue(name);

/** The classic renderer's: the new one has its own. It is no part of the workflow. */
function addButton(node) {
  const button = node.addWidget("button", BUTTON, "", () => toggled(node), { serialize: false, canvasOnly: true });
  button.serialize = false;
  const label = () => words(node.showAdvanced ? "Hide advanced inputs" : "Show advanced inputs");
  Object.defineProperty(button, "label", { get: label, set: () => {}, configurable: true });
  const needless = () => !node.hasAdvancedWidgets(); // all of them are seen
  Object.defineProperty(button, "hidden", { get: needless, set: () => {}, configurable: true });
  return button;
}

function toggled(node) {
  node.graph?.beforeChange?.();
  node.toggleAdvanced();
  node.graph?.afterChange?.();
}

/** The page leaves the room of folded widgets free, and a node that is folded again as tall as it was. */
function overrideLayout(node, button) {
  const { getLayoutWidgets, toggleAdvanced } = node;
  node.getLayoutWidgets = function () {
    const all = getLayoutWidgets.call(this);
    const shown = all.filter((widget) => !widget.advanced || this.showAdvanced);
    // Folded inputs can still be linked: their sockets lie at the button.
    for (const widget of all) if (!shown.includes(widget)) widget.y = button.y;
    return shown;
  };
  node.toggleAdvanced = function () {
    const [height, needed] = [this.size[1], this.computeSize()[1]];
    toggleAdvanced.call(this);
    this.setSize([this.size[0], height + this.computeSize()[1] - needed]);
  };
}
