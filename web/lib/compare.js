/** λ Compare: flips through the pictures of a sweep in place. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { short } from "./beta_text.js";
import { kindOf, locatorOf, nodeByLocator, settingOf } from "./graph.js";
import { addElement, chain, keepUpdated } from "./live.js";
import { hasOrigin, keepOrigin, recall, remember } from "./memory.js";
import { el } from "./styles.js";
import { words } from "./words.js";
import { isSweeping, lambdaNode, offerOf, sweepAgain, sweepNode, useCell } from "./write_back.js";

const KEY = "realign_compare";
const HINT = "Run: the pictures of the λ sweep appear here, to flip through with the slider or ← →.";
const GONE = "This picture is gone from the host: press Run to make it again.";
const UNUSED = "The λ sweep is connected here, but not to the sampler or guider: these pictures have its slider's λ.";
const HELD = 48; // pictures that are kept loaded
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

/** Whether two results are tables of the same λ and rows, so that a place in one is the same place in the other. */
function sameTable(a, b) {
  const names = (result) => JSON.stringify(result?.cells.map((cell) => [cell.name, cell.row_label]));
  return a?.columns === b?.columns && names(a) === names(b);
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
  const text = el("div", "realign-bar", {}, label, kl);
  const buttons = el("div", "realign-bar", {}, use, again);
  const controls = [rows, slider, text, said]; // the buttons see to themselves
  const body = [stage, rows, slider, text, buttons, said];
  const root = el("div", "realign-compare", { role: "group", "aria-label": words("λ comparison") }, ...body);
  return { root, stage, up, down, rowText, rows, slider, label, kl, use, again, said, controls, buttons };
}

class CompareView {
  constructor(node) {
    this.node = node;
    this.result = null;
    this.restored = false;
    this.images = new Map(); // cell → its element
    this.row = this.column = 0;
    this.parts = parts();
    this.listen();
    this.draw();
  }

  listen() {
    const { root, slider, up, down, use, again } = this.parts;
    slider.addEventListener("input", () => this.go(Number(slider.value), this.row));
    up.addEventListener("click", () => this.go(this.column, this.row - 1));
    down.addEventListener("click", () => this.go(this.column, this.row + 1));
    use.addEventListener("click", () => this.use());
    again.addEventListener("click", () => this.say(sweepAgain(this.node)));
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
    const presses = event.key === "Enter";
    if (!moves[event.key] && !presses) return;
    event.stopPropagation();
    if (presses && !onStage) return;
    event.preventDefault();
    if (presses) this.use();
    else if (rows) this.go(...moves[event.key]);
  }

  /** What the node showed before the page made it anew: of the page's own outputs, else as remembered. */
  restore() {
    if (this.restored) return;
    this.restored = true;
    if (!hasOrigin(this.node)) return;
    const shown = app.nodeOutputs?.[locatorOf(this.node)]?.[KEY]?.[0] ?? recall(this.node, "result");
    if (shown?.cells?.length) this.take(shown, recall(this.node, "place"));
  }

  /** A run's result, as nodes/compare.py describes it. The place in it is kept where it is the same table. */
  show(result) {
    this.restore();
    if (!result?.cells?.length || JSON.stringify(result) === JSON.stringify(this.result)) return;
    this.take(result, sameTable(result, this.result) ? this.place() : null);
  }

  /** place: {column, row, lambda}, to go on there as long as the slider is where it was; else the slider's λ is shown. */
  take(result, place) {
    this.result = result;
    this.images.clear();
    this.parts.slider.max = String(result.columns - 1);
    this.say(result.unused_sweep ? words(UNUSED) : "");
    remember(this.node, "result", result);
    const kept = place && place.lambda === this.slider();
    this.go(kept ? place.column : this.nearestColumn(), place?.row ?? 0);
  }

  /** λ as it is set for the next run, null where that is computed. */
  slider() {
    const node = lambdaNode(this.node);
    return (node && settingOf(node, "lambda_").widget?.value) ?? null;
  }

  /** The column whose λ is nearest to the slider's; of multiples of a schedule, the schedule itself. */
  nearestColumn() {
    const { cells, columns } = this.result;
    const wanted = cells[0].name.includes("×") ? 1 : this.slider();
    if (wanted == null) return 0;
    const far = cells.slice(0, columns).map((cell) => (cell.lambda == null ? Infinity : Math.abs(cell.lambda - wanted)));
    return Math.max(far.indexOf(Math.min(...far)), 0);
  }

  place() {
    return { column: this.column, row: this.row, lambda: this.slider() };
  }

  get cell() {
    return this.result?.cells[this.row * this.result.columns + this.column];
  }

  go(column, row) {
    const { columns, rows } = this.result;
    this.column = Math.min(Math.max(column, 0), columns - 1);
    this.row = Math.min(Math.max(row, 0), rows - 1);
    remember(this.node, "place", this.place());
    this.draw();
  }

  /** The element of a cell's picture, loaded once; those next to the one that is shown are loaded ahead. */
  image(cell) {
    const held = this.images.get(cell) ?? loaded(cell);
    this.images.delete(cell);
    this.images.set(cell, held); // the last one used stands last
    for (const old of this.images.keys()) if (this.images.size > HELD) this.images.delete(old);
    return held;
  }

  shownImage() {
    const { cells, columns, rows } = this.result;
    for (const [across, down] of [[2, 0], [-2, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]) {
      const [column, row] = [this.column + across, this.row + down];
      if (column >= 0 && column < columns && row >= 0 && row < rows) this.image(cells[row * columns + column]);
    }
    const image = this.image(this.cell);
    image.onerror = () => image.isConnected && this.parts.stage.replaceChildren(el("p", "realign-hint", {}, words(GONE)));
    return image;
  }

  use() {
    if (!this.cell || this.cell.lambda == null) return;
    this.say(useCell(this.node, this.result, this.cell));
    remember(this.node, "place", this.place()); // the slider is there now: undo of it shows the λ that it goes back to
  }

  say(said) {
    this.parts.said.textContent = this.parts.said.title = said;
    this.drawButtons();
  }

  draw() {
    const { stage, controls } = this.parts;
    for (const control of controls) control.hidden = !this.result;
    if (this.result) {
      const image = this.shownImage();
      const isGone = image.complete && !image.naturalWidth;
      if (stage.firstChild !== image) stage.replaceChildren(image);
      if (isGone) image.onerror();
      this.drawText();
    }
    this.drawButtons();
  }

  drawText() {
    const { stage, rows, up, down, rowText, slider, label, kl } = this.parts;
    const { result, cell } = this;
    const facts = [cell.name, cell.beta && `β ${short(cell.beta)}`, cell.masked && words("masked")];
    label.textContent = facts.filter(Boolean).join(" · ");
    kl.textContent = cell.kl == null ? "" : `KL ${Number(cell.kl.toPrecision(3))}`;
    rows.hidden = result.rows < 2;
    up.disabled = this.row === 0;
    down.disabled = this.row === result.rows - 1;
    rowText.textContent = cell.row_label || words("row {row} of {rows}", { row: this.row + 1, rows: result.rows });
    slider.value = String(this.column);
    slider.hidden = result.columns < 2;
    slider.setAttribute("aria-valuetext", cell.label);
    stage.setAttribute("aria-label", words("{name}, {count} pictures", { name: cell.label, count: result.cells.length }));
  }

  /** Follows the graph: the sweep may have been bypassed, or the slider moved, by hand. */
  drawButtons() {
    const { use, again, buttons } = this.parts;
    const { cell, node, result } = this;
    again.hidden = !node.graph || !sweepNode(node) || isSweeping(node);
    use.hidden = cell?.lambda == null;
    if (!use.hidden) {
      const { name, no, inUse } = offerOf(node, result, cell);
      use.hidden = inUse;
      const said = words("Use {name}", { name });
      if (use.textContent !== said) use.textContent = said;
      use.title = no || words("Sets {name}, and bypasses λ Sweep: the next run makes this picture alone.", { name });
      use.setAttribute("aria-disabled", String(Boolean(no)));
    }
    buttons.hidden = use.hidden && again.hidden;
  }
}

export function attachCompare(node) {
  const view = new CompareView(node);
  views.set(node, view);
  addElement(node, KEY, view.parts.root, { min: 330, hideOnZoom: false });
  node.setSize?.([Math.max(node.size[0], 340), Math.max(node.size[1], 470)]);
  keepOrigin(node);
  chain(node, "onExecuted", (output) => view.show(output?.[KEY]?.[0]));
  keepUpdated(node, () => {
    view.restore();
    view.drawButtons();
  });
}

export function compareOutputsUpdated(outputs) {
  for (const [locator, output] of Object.entries(outputs ?? {})) {
    if (!output?.[KEY]) continue;
    const node = nodeByLocator(locator);
    if (kindOf(node) === "RealignCompare") views.get(node)?.show(output[KEY][0]);
  }
}
