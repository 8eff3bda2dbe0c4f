/** λ Compare: flips through the pictures of a sweep in place. */

import { api } from "../../../scripts/api.js";
import { short } from "./beta_text.js";
import { kindOf, nodeByLocator } from "./graph.js";
import { addElement, chain, keepUpdated } from "./live.js";
import { el } from "./styles.js";
import { words } from "./words.js";
import { isInUse, isSweeping, sweepAgain, sweepNode, useCell } from "./write_back.js";

const KEY = "realign_compare";
const HINT = "Run: the pictures of the λ sweep appear here, to flip through with the slider or ← →.";
const views = new WeakMap();

function urlOf({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder: subfolder ?? "", type })}`);
}

/** An image that is loaded and decoded before it is shown, so that flipping to it shows it at once. */
function loaded(cell) {
  const image = el("img", "realign-picture", { alt: cell.label, draggable: "false" });
  image.decoding = "sync";
  image.src = urlOf(cell.image);
  image.decode?.().catch(() => {});
  return image;
}

function parts() {
  const hint = el("p", "realign-hint", {}, words(HINT));
  const stage = el("div", "realign-stage", { tabindex: "0", role: "group" }, hint);
  const up = el("button", "", { type: "button", "aria-label": words("Row above") }, "▲");
  const down = el("button", "", { type: "button", "aria-label": words("Row below") }, "▼");
  const rowText = el("span", "realign-grow");
  const rows = el("div", "realign-bar", {}, up, down, rowText);
  const slider = el("input", "", { type: "range", min: "0", step: "1", "aria-label": words("λ of the picture") });
  const label = el("span", "realign-grow realign-strong");
  const kl = el("span", "realign-faint", { title: words("KL from the reference over the whole run, in nats") });
  const use = el("button", "realign-main realign-use", { type: "button" });
  const again = el("button", "realign-main realign-again", { type: "button" }, words("Sweep again"));
  const said = el("div", "realign-faint realign-said", { role: "status", "aria-live": "polite" });
  const bars = [el("div", "realign-bar", {}, label, kl), el("div", "realign-bar", {}, use, again)];
  const controls = [rows, slider, ...bars, said];
  const root = el("div", "realign-compare", { role: "group", "aria-label": words("λ comparison") }, stage, ...controls);
  return { root, stage, hint, up, down, rowText, rows, slider, label, kl, use, again, said, controls };
}

class CompareView {
  constructor(node) {
    this.node = node;
    this.result = null;
    this.images = [];
    this.row = this.column = 0;
    this.parts = parts();
    this.listen();
    this.draw();
  }

  listen() {
    const { root, stage, slider, up, down, use, again } = this.parts;
    slider.addEventListener("input", () => this.go(Number(slider.value), this.row));
    up.addEventListener("click", () => this.go(this.column, this.row - 1));
    down.addEventListener("click", () => this.go(this.column, this.row + 1));
    use.addEventListener("click", () => this.use());
    again.addEventListener("click", () => this.say(sweepAgain(this.node)));
    stage.addEventListener("click", () => this.use());
    root.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.result) return;
    const { columns, rows } = this.result;
    const moves = {
      ArrowLeft: [this.column - 1, this.row],
      ArrowRight: [this.column + 1, this.row],
      ArrowUp: [this.column, this.row - 1],
      ArrowDown: [this.column, this.row + 1],
      Home: [0, this.row],
      End: [columns - 1, this.row],
    };
    const onStage = event.target === this.parts.stage;
    const presses = event.key === "Enter" || event.key === " ";
    if (!moves[event.key] && !presses) return;
    event.stopPropagation();
    if (presses && !onStage) return;
    event.preventDefault();
    if (presses) this.use();
    else if (rows) this.go(...moves[event.key]);
  }

  /** A run's result, as nodes/compare.py describes it. The place in it is kept where there still is one. */
  show(result) {
    if (!result?.cells?.length || JSON.stringify(result) === JSON.stringify(this.result)) return;
    this.result = result;
    this.images = result.cells.map(loaded);
    this.parts.slider.max = String(result.columns - 1);
    this.parts.said.textContent = "";
    this.go(this.column, this.row);
  }

  get cell() {
    return this.result?.cells[this.row * this.result.columns + this.column];
  }

  go(column, row) {
    const { columns, rows } = this.result;
    this.column = Math.min(Math.max(column, 0), columns - 1);
    this.row = Math.min(Math.max(row, 0), rows - 1);
    this.draw();
  }

  use() {
    if (!this.cell || this.cell.lambda == null) return;
    this.say(useCell(this.node, this.result, this.cell));
  }

  say(said) {
    this.parts.said.textContent = this.parts.said.title = said;
    this.drawButtons();
  }

  draw() {
    const { stage, hint, controls } = this.parts;
    for (const control of controls) control.hidden = !this.result;
    if (!this.result) return;
    const image = this.images[this.row * this.result.columns + this.column];
    if (stage.firstChild !== image) stage.replaceChildren(image);
    hint.remove();
    this.drawText();
    this.drawButtons();
  }

  drawText() {
    const { stage, rows, up, down, rowText, slider, label, kl } = this.parts;
    const { result, cell } = this;
    label.textContent = cell.beta ? `${cell.name} · β ${short(cell.beta)}` : cell.name;
    kl.textContent = cell.kl == null ? "" : `KL ${Number(cell.kl.toPrecision(3))}`;
    rows.hidden = result.rows < 2;
    up.disabled = this.row === 0;
    down.disabled = this.row === result.rows - 1;
    rowText.textContent = cell.row_label || words("row {row} of {rows}", { row: this.row + 1, rows: result.rows });
    slider.value = String(this.column);
    slider.hidden = result.columns < 2;
    slider.setAttribute("aria-valuetext", cell.label);
    stage.setAttribute("aria-label", words("{name}, {count} pictures", { name: cell.label, count: result.cells.length }));
    stage.classList.toggle("realign-plain", cell.lambda == null);
    stage.title = cell.lambda == null ? "" : words("Click to use {name}", { name: cell.label });
  }

  /** Follows the graph: the sweep may have been bypassed, or the slider moved, by hand. */
  drawButtons() {
    if (!this.result) return;
    const { use, again } = this.parts;
    const { cell, node, result } = this;
    again.hidden = !sweepNode(node) || isSweeping(node);
    use.hidden = cell.lambda == null || isInUse(node, result, cell);
    const said = words("Use {name}", { name: cell.name });
    if (use.textContent !== said) use.textContent = said;
  }
}

export function attachCompare(node) {
  const view = new CompareView(node);
  views.set(node, view);
  addElement(node, KEY, view.parts.root, { min: 330, hideOnZoom: false });
  node.setSize?.([Math.max(node.size[0], 340), Math.max(node.size[1], 470)]);
  chain(node, "onExecuted", (output) => view.show(output?.[KEY]?.[0]));
  keepUpdated(node, () => view.drawButtons());
}

export function compareOutputsUpdated(outputs) {
  for (const [locator, output] of Object.entries(outputs ?? {})) {
    if (!output?.[KEY]) continue;
    const node = nodeByLocator(locator);
    if (kindOf(node) === "RealignCompare") views.get(node)?.show(output[KEY][0]);
  }
}
