/** λ Compare, and Pick: all pictures of a run as a sheet, the one that is looked at, a loupe, and what is chosen. */

import { short } from "./beta_text.js";
import { Buttons, SWEEP_HINT } from "./compare/buttons.js";
import { KEY, Look } from "./compare/look.js";
import { Loupe } from "./compare/loupe.js";
import { GONE } from "./compare/pictures.js";
import { cellName, cellOf, columnName, countOf } from "./compare/run.js";
import { Sheet } from "./compare/sheet.js";
import { Stage } from "./compare/stage.js";
import { valueOf } from "./graph.js";
import { addElement, keepUpdated, whenGone } from "./live.js";
import { onOutput } from "./outputs.js";
import { el } from "./styles.js";
import { words } from "./words.js";
import { pickedPlace } from "./write_back.js";

const UNUSED = "The λ sweep is connected here, but not to the sampler or guider: these pictures have its slider's λ.";
const LEAST = 430; // px: the widget's height
const views = new WeakMap();

/**
 * What differs between the nodes that show a run so. Buttons: the class of what stands below the picture. hint(): before the
 * first run. size: px, of a new node. share, largest, strip: of the sheet. pressAgain(look): on the picture that is shown.
 */
const COMPARE = { Buttons, hint: () => words(SWEEP_HINT), size: [420, 760], share: 0.155, largest: 112, strip: 12, pressAgain: () => {} };

class RunView {
  constructor(node, kind) {
    this.node = node;
    this.kind = kind;
    this.look = new Look(node, () => this.draw());
    const { share, largest, strip } = kind;
    this.sheet = new Sheet({ chosen: (index) => this.choose(index, true), lost: (run) => this.look.lost(run.run), share, largest, strip });
    this.stage = new Stage({ clicked: (at) => this.clicked(at), lost: (which) => this.lost(which) });
    this.stage.flippedTo = () => this.drawCaption();
    this.buttons = new kind.Buttons(this.look, (text) => this.say(text));
    this.said = el("div", "realign-faint realign-said", { role: "status", "aria-live": "polite" });
    const parts = [this.sheet.root, this.stage.root, this.buttons.line, this.buttons.row, this.said];
    this.body = el("div", "realign-body", {}, ...parts);
    this.root = el("div", "realign-compare", { role: "group", "aria-label": words("λ comparison") }, this.body);
    const keydown = (event) => this.key(event);
    this.loupe = new Loupe({ body: this.body, stage: this.stage, keydown, closed: () => this.draw() });
    this.root.addEventListener("keydown", keydown);
    for (const root of [this.root, this.loupe.root]) root.addEventListener("keyup", (event) => this.keyUp(event));
    this.draw();
  }

  choose(index, pressed = false) {
    if (pressed && index === this.look.index) return this.kind.pressAgain(this.look);
    const columns = this.look.run.columns.length;
    this.look.go(index % columns, Math.floor(index / columns));
  }

  /** A short press: into the loupe; there, to the picture's own pixels and back. */
  clicked(at) {
    if (!this.loupe.isOpen) this.loupe.open();
    else if (this.stage.zoom > 1) this.stage.zoomTo(1);
    else this.stage.zoomToPixels(at);
  }

  key(event) {
    const { look, stage } = this;
    if (event.ctrlKey || event.metaKey || event.altKey || !look.run || event.target.tagName === "SELECT") return;
    const onButton = event.target.tagName === "BUTTON";
    const { columns, rows } = look.run;
    const does = {
      ArrowLeft: () => look.go(look.column - 1, look.row),
      ArrowRight: () => look.go(look.column + 1, look.row),
      ArrowUp: () => this.down(-1),
      ArrowDown: () => this.down(1),
      Home: () => look.go(0, look.row),
      End: () => look.go(columns.length - 1, look.row),
      PageUp: () => look.go(look.column, 0),
      PageDown: () => look.go(look.column, rows.length - 1),
      p: () => look.togglePin(),
      s: () => look.toggleStar(),
      f: () => this.loupe.open(),
      " ": onButton ? null : () => stage.flip(true),
      Enter: onButton || stage.hovered ? null : () => this.buttons.useIt(), // not where the mouse only happens to be
    }[event.key.length > 1 ? event.key : event.key.toLowerCase()];
    if (!does) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat && !event.key.startsWith("Arrow")) return;
    const inSheet = event.target.classList.contains("realign-cell");
    does();
    if (inSheet && !this.loupe.isOpen) this.sheet.cells[look.index]?.focus({ preventScroll: true });
  }

  /** To the next row; in a strip that goes on in the next line, to that. */
  down(by) {
    const { look, sheet } = this;
    if (!sheet.wraps) return look.go(look.column, look.row + by);
    const to = look.index + by * sheet.perLine;
    if (to >= 0 && to < countOf(look.run)) this.choose(to);
  }

  keyUp(event) {
    if (event.key !== " " || !this.stage.flipped) return;
    event.stopPropagation();
    this.stage.flip(false);
  }

  lost(which) {
    const { look, stage } = this;
    if (which === "pin") return stage.show({ ...this.files, pin: null });
    stage.show({ hint: words(GONE) });
    if (look.run) look.lost(look.run.run);
  }

  say(text) {
    this.said.textContent = this.said.title = text;
  }

  show(raw) {
    const before = this.look.run?.run;
    this.look.show(raw);
    if (this.look.run?.run !== before) this.say(this.look.run?.unused_sweep ? words(UNUSED) : "");
  }

  draw() {
    const { look, sheet, stage } = this;
    const { run } = look;
    this.sheet.root.hidden = !run || countOf(run) === 1;
    this.said.hidden = !run;
    if (!run) stage.show({ hint: this.kind.hint() });
    else {
      this.drawSheet();
      const pin = look.pin;
      const picture = run.files[look.index];
      this.files = { picture, pin: pin?.run.files[pin.index] ?? null, near: this.ahead() };
      stage.show(this.files);
      this.drawCaption();
    }
    this.buttons.draw();
    stage.root.classList.toggle("realign-single", Boolean(run) && sheet.root.hidden);
  }

  /** The next picture of who walks on in one direction, loaded ahead. Who goes to and fro finds both still there. */
  ahead() {
    const { run, index } = this.look;
    const { walk } = this;
    if (walk?.run !== run) this.walk = { run, index };
    else if (walk.index !== index) this.walk = { run, index, step: index - walk.index, goesOn: index - walk.index === walk.step };
    const next = index + this.walk.step;
    return this.walk.goesOn && next >= 0 && next < countOf(run) ? [run.files[next]] : [];
  }

  drawSheet() {
    const { look } = this;
    const { pin, shown, stars, kept } = look.kept.state;
    const told = JSON.stringify([shown, look.index, look.sliderColumn(), valueOf(this.node, "picked"), pin, stars, kept]);
    if (told === this.sheetTold && this.sheet.run === look.run) return;
    this.sheetTold = told;
    const place = this.node.graph && pickedPlace(this.node, look.run);
    const picked = place ? place.row * look.run.columns.length + place.column : -1;
    this.sheet.show(look.run, {
      index: look.index,
      slider: look.sliderColumn(),
      picked: (index) => index === picked,
      starred: (index) => look.marked("stars", index),
      kept: (index) => look.marked("kept", index),
      front: (index) => look.run.front.includes(index),
    });
  }

  /** “λ 0.75 | pinned λ 0”; β, KL and scores in its tooltip. */
  drawCaption() {
    const { look, stage } = this;
    const { run, cell, pin } = look;
    if (!run) return;
    const own = [cellName(run, look.index), cell.masked && words("masked"), run.draft && words("draft")].filter(Boolean).join(" · ");
    const pinned = pin && stage.files.pin ? words("pinned {name}", { name: this.pinName(pin) }) : "";
    const text = stage.flipped && pinned ? pinned : [own, pinned].filter(Boolean).join(" | ");
    const star = look.marked("stars") ? "★ " : "";
    if (stage.caption.textContent !== star + text) stage.caption.textContent = star + text;
    const facts = [cell.beta && `β ${short(cell.beta)}`, cell.kl != null && words("KL {kl} from the reference, in nats", { kl: Number(cell.kl.toPrecision(3)) })];
    stage.caption.title = [...facts, ...cell.scores].filter(Boolean).join("\n");
    const { length } = run.files;
    stage.root.setAttribute("aria-label", words("{name}, {count} pictures", { name: own, count: length }));
  }

  /** As short as it tells the pin from the picture. */
  pinName(pin) {
    const { run, row } = { run: pin.run, row: cellOf(pin.run, pin.index).row };
    const sameRow = run === this.look.run && row === this.look.row;
    return sameRow ? columnName(run.columns[cellOf(run, pin.index).column]) : cellName(run, pin.index);
  }

  /** Whatever has changed in the graph by hand. */
  follow() {
    const { look } = this;
    look.restore();
    look.kept.settle();
    this.stage.follow();
    if (look.run && !this.sheet.root.hidden) this.drawSheet();
    this.buttons.draw();
  }
}

/** The view of a node's runs, in place of a preview. */
export function attachView(node, kind) {
  const view = new RunView(node, kind);
  views.set(node, view);
  addElement(node, KEY, view.root, { min: LEAST, hideOnZoom: false });
  node.setSize?.([Math.max(node.size[0], kind.size[0]), Math.max(node.size[1], kind.size[1])]);
  onOutput(node, KEY, (run) => view.show(run));
  whenGone(node, () => view.loupe.close());
  keepUpdated(node, () => view.follow());
}

export const attachCompare = (node) => attachView(node, COMPARE);

/** What a node keeps of its runs (kept.js), whether it is on the screen or not. */
export function keptOf(node) {
  const kept = views.get(node)?.look.kept;
  kept?.restore();
  return kept;
}
