/** What λ Compare looks at: a picture of a run, and the pin beside it. Looking writes nothing into the graph. */

import { app } from "../../../../scripts/app.js";
import { locatorOf, settingOf } from "../graph.js";
import { hasOrigin } from "../memory.js";
import { lambdaNode } from "../write_back.js";
import { Kept } from "./kept.js";
import { cellOf, countOf, parseRun, sameTable } from "./run.js";

export const KEY = "realign_compare";
const NEAR = 1e-6;

const without = (places, index) => places.filter((one) => one !== index);

export class Look {
  /** changed: called whenever something else is to be shown. */
  constructor(node, changed) {
    this.node = node;
    this.changed = changed;
    this.kept = new Kept(node);
    this.gone = new Set(); // runs whose files the host has no more
  }

  get runs() {
    return this.kept.state.runs;
  }

  get run() {
    const { runs, shown } = this.kept.state;
    return runs.find((run) => run.run === shown) ?? null;
  }

  get column() {
    return this.kept.state.at[this.run?.run]?.[0] ?? 0;
  }

  get row() {
    return this.kept.state.at[this.run?.run]?.[1] ?? 0;
  }

  get index() {
    return this.row * (this.run?.columns.length ?? 0) + this.column;
  }

  get cell() {
    return this.run && cellOf(this.run, this.index);
  }

  /** What the node showed before the page made it anew. */
  restore() {
    if (this.kept.restored) return;
    const found = this.kept.restore();
    const outputs = hasOrigin(this.node) ? app.nodeOutputs?.[locatorOf(this.node)]?.[KEY]?.[0] : null;
    if (outputs) this.show(outputs);
    if (!found) return;
    if (this.kept.state.at[this.run.run]?.[2] !== this.slider()) this.go(this.nearestColumn(), this.row);
    else this.changed();
  }

  /** The host's result: a new run, or one that is known. An earlier one than the last is what the page's history has opened;
   * the last one is also told whenever a tab is opened, and stays where it was left. */
  show(raw) {
    const run = parseRun(raw);
    if (!run) return;
    if (!this.kept.restored) this.restore();
    const known = this.runs.find((one) => one.run === run.run);
    if (known && known.files[0] === run.files[0]) return known === this.runs.at(-1) ? undefined : this.open(run.run);
    const before = this.run;
    const place = before && sameTable(before, run) ? this.kept.state.at[before.run] : null;
    this.gone.delete(run.run);
    this.last = before && before.run !== run.run ? { run: before.run, index: this.index } : this.last;
    this.kept.add(run);
    const [column, row, lambda] = place ?? this.kept.state.at[run.run] ?? [0, 0, NaN];
    this.go(lambda === this.slider() ? column : this.nearestColumn(), row);
  }

  /** Opens an earlier run where it was left. */
  open(id) {
    if (!this.runs.some((run) => run.run === id) || id === this.run?.run) return;
    this.last = { run: this.run.run, index: this.index };
    this.kept.write({ shown: id });
    if (!this.kept.state.at[id]) this.go(this.nearestColumn(), 0);
    this.changed();
  }

  go(column, row) {
    const { run, columns, rows } = this.run;
    const at = [clamped(column, columns.length), clamped(row, rows.length), this.slider()];
    this.kept.write({ at: { ...this.kept.state.at, [run]: at } });
    this.changed();
  }

  /** λ as it is set for the next run, null where that is computed. */
  slider() {
    const node = this.node.graph && lambdaNode(this.node);
    const value = node ? settingOf(node, "lambda_").widget?.value : null;
    return Number.isFinite(value) ? value : null;
  }

  /** The column whose λ is nearest to the slider's; of multiples of a schedule, the schedule itself. */
  nearestColumn() {
    const { columns } = this.run;
    const wanted = columns[0].name.includes("×") ? 1 : this.slider();
    if (wanted == null) return 0;
    const far = columns.map(({ lambda }) => (lambda == null ? Infinity : Math.abs(lambda - wanted)));
    return Math.max(far.indexOf(Math.min(...far)), 0);
  }

  /** The column of the slider's very λ, or -1. */
  sliderColumn() {
    const lambda = this.slider();
    return lambda == null ? -1 : this.run.columns.findIndex((one) => one.lambda != null && Math.abs(one.lambda - lambda) < NEAR);
  }

  /**
   * What is compared with, {run, index}: the pinned picture; else the row's own at λ 0, or the nearest to it. Of a single
   * picture, the one that was looked at before it.
   */
  get pin() {
    const { pin, runs } = this.kept.state;
    if (pin) return { run: runs.find((run) => run.run === pin.run), index: pin.index };
    const { columns } = this.run;
    if (countOf(this.run) === 1) return this.before;
    const far = columns.map(({ lambda }) => Math.abs(lambda ?? Infinity));
    const column = Math.max(far.indexOf(Math.min(...far)), 0);
    return { run: this.run, index: this.row * columns.length + column };
  }

  /** What was looked at before this run, {run, index}; null where there was nothing. */
  get before() {
    const { runs, at } = this.kept.state;
    const last = this.last && runs.find((run) => run.run === this.last.run);
    if (last) return { run: last, index: this.last.index };
    const run = runs[runs.indexOf(this.run) - 1];
    if (!run) return null;
    const [column, row] = at[run.run] ?? [0, 0];
    return { run, index: row * run.columns.length + column };
  }

  /** Pins the picture; the pinned one is let go. */
  togglePin() {
    const { pin } = this.kept.state;
    const isPinned = pin && pin.run === this.run.run && pin.index === this.index;
    this.kept.write({ pin: isPinned ? null : { run: this.run.run, index: this.index } });
    this.changed();
  }

  marked(name, index = this.index) {
    return (this.kept.state[name][this.run.run] ?? []).includes(index);
  }

  toggleStar() {
    const { stars } = this.kept.state;
    const own = stars[this.run.run] ?? [];
    const next = own.includes(this.index) ? without(own, this.index) : [...own, this.index];
    this.kept.write({ stars: { ...stars, [this.run.run]: next } }, true);
    this.changed();
  }

  markKept(id, index) {
    const { kept, runs } = this.kept.state;
    if (!runs.some((run) => run.run === id)) return;
    this.kept.write({ kept: { ...kept, [id]: [...without(kept[id] ?? [], index), index] } });
    this.changed();
  }

  lost(id) {
    if (this.gone.has(id)) return;
    this.gone.add(id);
    this.changed();
  }
}

const clamped = (value, count) => Math.min(Math.max(value, 0), count - 1);
