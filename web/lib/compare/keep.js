/**
 * “Keep”: a picture of a run among the user's own. Its file holds the workflow that makes it alone (nodes/pictures/
 * saved.py), so it is copied as it is, by the host's own view and upload calls; nothing is sampled. A draft is sampled
 * exactly, by the graph in its file, and saved by the host's Save Image.
 */

import { api } from "../../../../scripts/api.js";
import { outputOf } from "../job.js";
import { words } from "../words.js";
import { GONE } from "./pictures.js";
import { cellOf, urlOf } from "./run.js";

const FOLDER = "Realign";
const SAVER = "realign_keep"; // the id of the node that saves; no node of the page's has it

const plain = (value) => String(Number(value.toPrecision(6)));

/** “lambda0.75_seed8”, for a file's name. */
export function nameOf(run, index) {
  const { lambda, row, column } = cellOf(run, index);
  const { seed_offset, cfg, eta } = run.rows[row];
  const parts = [lambda == null ? `picture${column + 1}` : `lambda${plain(lambda)}`];
  if (run.seed != null) parts.push(`seed${run.seed + seed_offset}`);
  if (cfg != null) parts.push(`cfg${plain(cfg)}`);
  if (eta != null) parts.push(`eta${plain(eta)}`);
  return parts.join("_");
}

async function fileOf(run, index) {
  const response = await fetch(urlOf(run.files[index]));
  if (!response.ok) throw new Error(words(GONE));
  return response.blob();
}

/** Saves a picture. Returns its path below the output folder. */
export async function keep(run, index) {
  const blob = await fileOf(run, index);
  if (run.draft) return sampleExactly(blob, run, index);
  const form = new FormData();
  form.append("image", new File([blob], `${nameOf(run, index)}.png`, { type: "image/png" }));
  form.append("type", "output");
  form.append("subfolder", FOLDER);
  const response = await api.fetchApi("/upload/image", { method: "POST", body: form });
  if (!response.ok) throw new Error(words("The host could not save it: {why}", { why: response.statusText || response.status }));
  const saved = await response.json();
  return [saved.subfolder, saved.name].filter(Boolean).join("/");
}

async function sampleExactly(blob, run, index) {
  const { getPngMetadata } = await import("../../../../scripts/pnginfo.js");
  const told = await getPngMetadata(blob);
  if (!told?.prompt) throw new Error(words("The host writes no workflow into pictures (--disable-metadata): switch “draft” off, and run again."));
  const output = savingGraph(JSON.parse(told.prompt), run.node, `${FOLDER}/${nameOf(run, index)}`);
  if (!output) throw new Error(words("This picture's file does not say how it was made."));
  const workflow = told.workflow ? JSON.parse(told.workflow) : undefined;
  const made = await outputOf(SAVER, async () => (await api.queuePrompt(0, { output, workflow })).prompt_id);
  const saved = made?.images?.[0];
  if (!saved) throw new Error(words("The run did not finish: nothing was saved."));
  return [saved.subfolder, saved.filename].filter(Boolean).join("/");
}

/** The graph that makes a node's picture, ending in Save Image in its place, and with nothing else that saves. id: the node's. */
export function savingGraph(graph, id, prefix) {
  const images = graph[id]?.inputs?.images;
  if (!Array.isArray(images)) return null;
  const needed = {};
  const waiting = [String(images[0])];
  while (waiting.length) {
    const one = waiting.pop();
    if (one in needed || !graph[one]) continue;
    needed[one] = graph[one];
    for (const value of Object.values(graph[one].inputs ?? {})) if (Array.isArray(value)) waiting.push(String(value[0]));
  }
  const inputs = { images, filename_prefix: prefix };
  return { ...needed, [SAVER]: { class_type: "SaveImage", inputs, _meta: { title: "Save Image" } } };
}
