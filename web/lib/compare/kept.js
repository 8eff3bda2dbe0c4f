/**
 * What λ Compare keeps, in one place: the node's property `realign_compare`. So undo, tabs, reloads, copies and
 * subgraphs bring it back with the node, and a workflow file takes it along.
 *
 *   runs     the last ones, the newest last (see run.js)      shown   the one that is looked at
 *   at       run → [column, row, λ of the slider then]        pin     {run, index}, or null for the row's own λ 0
 *   stars    run → [index]                                    kept    run → [index], saved already
 *   told     run → true, where the host was told stars of it once
 *
 * Looking writes nothing that undo would take back: what changes by looking is put into the page's record of the graph
 * as well, so that there is no difference to undo. A star is a step of its own.
 */

import { app } from "../../../../scripts/app.js";
import { allGraphs, asOneStep } from "../graph.js";
import { chain } from "../live.js";
import { hasOrigin, isOfAnother, recall, remember } from "../memory.js";
import { countOf, parseRun } from "./run.js";

const PROPERTY = "realign_compare";
const RUNS = 8;
const MOST = 64; // that are looked through
const PICTURES = 2048; // of all runs but the newest
const EMPTY = { runs: [], shown: null, at: {}, pin: null, stars: {}, kept: {}, told: {} };

const isPlace = (value) => Number.isSafeInteger(value) && value >= 0;
const entries = (value) => (value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : []);

/** A saved property with nothing in it that is not checked. */
function checked(raw) {
  const told = Array.isArray(raw?.runs) ? raw.runs.slice(-MOST) : [];
  const runs = told.map(parseRun).filter(Boolean).slice(-RUNS);
  const byId = new Map(runs.map((run) => [run.run, run]));
  const has = (id, index) => byId.has(id) && isPlace(index) && index < countOf(byId.get(id));
  const marks = (value) =>
    Object.fromEntries(
      entries(value)
        .filter(([id, places]) => byId.has(id) && Array.isArray(places))
        .map(([id, places]) => [id, places.filter((index) => has(id, index))]),
    );
  const at = entries(raw?.at).filter(
    ([id, place]) => Array.isArray(place) && isPlace(place[0]) && isPlace(place[1]) && byId.has(id),
  );
  return {
    runs,
    shown: byId.has(raw?.shown) ? raw.shown : null,
    at: Object.fromEntries(at.map(([id, [column, row, lambda]]) => [id, [column, row, Number.isFinite(lambda) ? lambda : null]])),
    pin: has(raw?.pin?.run, raw?.pin?.index) ? { run: raw.pin.run, index: raw.pin.index } : null,
    stars: marks(raw?.stars),
    kept: marks(raw?.kept),
    told: Object.fromEntries(entries(raw?.told).filter(([id, was]) => byId.has(id) && was === true)),
  };
}

/** The newest runs of both, oldest first, and `always`, however old. Of one that is in both, `b`'s. */
function newest(a, b, always = null) {
  const byId = new Map([...a, ...b].map((run) => [run.run, run]));
  const sorted = [...byId.values()].sort((one, other) => other.time - one.time);
  if (!sorted.length) return [];
  const wanted = new Set([sorted[0], ...(always ? [always] : []), ...sorted]);
  let room = PICTURES + countOf(sorted[0]);
  const fitting = [...wanted].slice(0, RUNS).filter((run) => (room -= countOf(run)) >= 0 || run === always);
  return fitting.sort((one, other) => one.time - other.time);
}

export class Kept {
  constructor(node) {
    this.node = node;
    this.state = EMPTY;
    this.restored = false;
    // The page compares what it has just serialized with its record: a difference would be a step, and end what can be
    // redone.
    chain(node, "onSerialize", () => this.isAlive && this.settle(true));
  }

  /** What the node was saved with, and what has come since: an older state of the graph knows fewer runs. */
  restore() {
    if (this.restored) return false;
    this.restored = true;
    const own = checked(this.node.properties?.[PROPERTY]);
    const since = checked(hasOrigin(this.node) ? recall(this.node, "compare") : null);
    const saved = this.node.properties?.[PROPERTY] ? own : since;
    const state = {
      runs: newest(own.runs, since.runs),
      shown: since.shown ?? own.shown,
      at: { ...own.at, ...since.at },
      pin: saved.pin,
      stars: saved.stars,
      kept: { ...own.kept, ...since.kept },
      told: { ...own.told, ...since.told },
    };
    if (!state.runs.length) return false;
    this.write(state);
    return true;
  }

  /** Changes what is kept. step: whether undo takes it back. */
  write(change, step = false) {
    const state = { ...this.state, ...change };
    const ids = new Set(state.runs.map((run) => run.run));
    for (const name of ["at", "stars", "kept", "told"]) {
      state[name] = Object.fromEntries(Object.entries(state[name]).filter(([id]) => ids.has(id)));
    }
    if (state.pin && !ids.has(state.pin.run)) state.pin = null;
    if (!ids.has(state.shown)) state.shown = state.runs.at(-1)?.run ?? null;
    this.state = state;
    const put = () => {
      this.node.properties ??= {};
      this.node.properties[PROPERTY] = { ...state };
    };
    if (step) asOneStep(put);
    else put();
    if (!this.isAlive) return; // in its place may be a node of another workflow by now
    this.settle(true);
    remember(this.node, "compare", state);
  }

  get isAlive() {
    const { graph, id } = this.node;
    return graph?.getNodeById?.(id) === this.node;
  }

  add(run) {
    this.write({ runs: newest(this.state.runs, [run], run), shown: run.run });
  }

  /** Has the page's record of the graph hold the same, but for stars: they are what undo is for. Undo, tabs and files
   * put another record in its place, so the widget asks for this again and again. While a workflow is loaded, the record
   * is still that of the one before. */
  settle(changed = false) {
    const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
    const own = this.node.properties?.[PROPERTY];
    if (!tracker || tracker.changeCount || tracker.constructor.isLoadingGraph) return;
    if (!own || (!changed && this.settled === tracker.activeState)) return;
    this.settled = tracker.activeState;
    for (const record of new Set([tracker.activeState, tracker.initialState])) {
      const saved = this.recordIn(record);
      if (!saved) continue;
      const stars = saved.properties?.[PROPERTY]?.stars ?? {};
      saved.properties = { ...saved.properties, [PROPERTY]: { ...own, stars } }; // values, which nobody changes in place
    }
  }

  /** The node as a record of the graph has it. */
  recordIn(record) {
    const { graph, id } = this.node;
    const root = graph === allGraphs()[0];
    const nodes = root ? record?.nodes : record?.definitions?.subgraphs?.find((one) => one.id === graph?.id)?.nodes;
    const saved = nodes?.find((one) => String(one.id) === String(id) && one.type === this.node.type);
    return saved && !isOfAnother(this.node, saved) ? saved : null;
  }
}
