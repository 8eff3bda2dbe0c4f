/**
 * A run's pictures as a table, as nodes/pictures/records.py describes it.
 *
 * Runs are kept in workflow files, which come from anybody: what is not exactly such a table is left out, its texts are
 * only ever shown as text, and its files are only asked for by name, in the host's temp folder, through its view call.
 */

import { api } from "../../../../scripts/api.js";
import { short } from "../beta_text.js";
import { words } from "../words.js";

const ID = /^[0-9a-f]{1,32}$/;
const FILE = /^\w[\w.-]{0,200}$/;
const MOST = 4096; // pictures
const LONGEST = 4000; // characters of a text

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
const orNull = (value) => (isNumber(value) ? value : null);
const text = (value) => (typeof value === "string" ? value.slice(0, LONGEST) : null);
const list = (values, length, one) => (Array.isArray(values) && values.length === length ? values.map(one) : null);

function columnOf(raw) {
  return { name: text(raw?.name) ?? "", lambda: orNull(raw?.lambda), beta: orNull(raw?.beta), masked: raw?.masked === true };
}

function rowOf(raw) {
  const says = (Array.isArray(raw?.says) ? raw.says : []).filter(
    (one) => Array.isArray(one) && typeof one[0] === "string" && (isNumber(one[1]) || typeof one[1] === "string"),
  );
  return {
    seed_offset: isCount(raw?.seed_offset) ? raw.seed_offset : 0,
    cfg: orNull(raw?.cfg),
    eta: orNull(raw?.eta),
    prompt: text(raw?.prompt),
    says: says.slice(0, 8).map(([kind, value]) => [text(kind), typeof value === "string" ? text(value) : value]),
  };
}

/** The run that a workflow or the host tells of, with nothing in it that is not checked; null where it is none. */
export function parseRun(raw) {
  const columns = Array.isArray(raw?.columns) && raw.columns.length <= MOST ? raw.columns.map(columnOf) : [];
  const rows = Array.isArray(raw?.rows) && raw.rows.length <= MOST ? raw.rows.map(rowOf) : [];
  const count = columns.length * rows.length;
  const files = list(raw?.files, count, String);
  const thumbs = list(raw?.thumbs, count, String);
  if (!count || count > MOST || !ID.test(raw.run) || !isNumber(raw.time)) return null;
  if (!files?.every((name) => FILE.test(name)) || !thumbs?.every((name) => FILE.test(name))) return null;
  return {
    run: String(raw.run),
    time: raw.time,
    node: text(raw.node),
    seed: isNumber(raw.seed) ? raw.seed : null,
    swept: raw.swept === true,
    unused_sweep: raw.unused_sweep === true,
    draft: raw.draft === true,
    columns,
    rows,
    kl: list(raw.kl, count, orNull),
    scores: list(raw.scores, count, (said) => (Array.isArray(said) ? said.map(text).filter(Boolean) : [])),
    front: (Array.isArray(raw.front) ? raw.front : []).filter((place) => isCount(place) && place < count),
    files,
    thumbs,
  };
}

export const countOf = (run) => run.columns.length * run.rows.length;

/** All that is known of one picture. index: row by row. */
export function cellOf(run, index) {
  const columns = run.columns.length;
  const [row, column] = [Math.floor(index / columns), index % columns];
  const { says, ...ofRow } = run.rows[row];
  const kl = run.kl?.[index] ?? null;
  return { ...run.columns[column], ...ofRow, index, row, column, kl, scores: run.scores?.[index] ?? [] };
}

/** Where a file of a run is to be had. */
export function urlOf(filename) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, type: "temp" })}`);
}

const ROW_WORDS = {
  seed: (value) => words("seed {seed}", { seed: value }),
  "seed+": (value) => words("seed {seed}", { seed: `+${value}` }),
  cfg: (value) => `cfg ${short(value)}`,
  eta: (value) => `η ${short(value)}`,
  image: (value) => words("image {image}", { image: value }),
  prompt: (value) => numbered(String(value), "prompt"),
};

/** What tells a row from the others: “seed 7”, “cfg 5”, a prompt's first words; "" where there is but one. */
export function rowName(run, row) {
  if (run.rows.length < 2) return "";
  const said = run.rows[row].says.map(([kind, value]) => ROW_WORDS[kind]?.(value)).filter(Boolean);
  return said.join(", ") || words("row {row} of {rows}", { row: row + 1, rows: run.rows.length });
}

const NUMBERED = { picture: "picture {number}", prompt: "prompt {number}" };

/** “picture 3 · λ 0.5”, “prompt 2”, in the page's language. */
function numbered(name, what) {
  const found = new RegExp(`^${what} (\\d+)(.*)$`).exec(name);
  return found ? words(NUMBERED[what], { number: found[1] }) + found[2] : name;
}

/** A column's λ, or a picture's place in a batch. */
export const columnName = (column) => numbered(column.name, "picture");

/** “λ 0.75 · seed 8” */
export function cellName(run, index) {
  const { row, column } = cellOf(run, index);
  return [columnName(run.columns[column]), rowName(run, row)].filter(Boolean).join(" · ");
}

/** “7 λ × 3 · 21:04” */
export function runName(run) {
  const { columns, rows } = run;
  const size = run.swept
    ? words(rows.length > 1 ? "{columns} λ × {rows}" : "{columns} λ", { columns: columns.length, rows: rows.length })
    : columns.length > 1
      ? words("{count} pictures", { count: columns.length })
      : columnName(columns[0]);
  const when = new Date(run.time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
  return [size, run.draft && words("draft"), when].filter(Boolean).join(" · ");
}

/** Whether two runs are tables of the same λ and rows, so that a place in one is the same place in the other. */
export function sameTable(a, b) {
  const table = (run) => JSON.stringify(run && [run.columns.map((one) => one.name), run.rows.map((one) => one.says)]);
  return table(a) === table(b);
}
