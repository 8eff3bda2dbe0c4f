/** A job in the host's queue, followed to its end. */

import { api } from "../../../scripts/api.js";

const ENDS = ["execution_success", "execution_error", "execution_interrupted"];
const QUEUE = ["status", "reconnected"]; // what the page says where a job may have gone without a word

/**
 * What a node of a job gives; null where the job ends without it, is taken out of the queue, or dies with its host.
 * queue(): puts the job there, and gives its id. Its events may come before that.
 */
export async function outputOf(node, queue) {
  let id = null;
  let end;
  const ended = new Promise((resolve) => (end = resolve));
  const told = []; // [event's name, its detail]
  const tell = (name, detail) => {
    if (id === null) told.push([name, detail]);
    else if (QUEUE.includes(name)) outputIfGone(id, node).then((found) => found !== undefined && end(found));
    else if (detail?.prompt_id !== id) return;
    else if (ENDS.includes(name)) end(null);
    else if (detail.node === node) end(detail.output);
  };
  const heard = ["executed", ...ENDS, ...QUEUE].map((name) => [name, ({ detail }) => tell(name, detail)]);
  for (const [name, hear] of heard) api.addEventListener(name, hear);
  try {
    id = await queue();
    for (const [name, detail] of told) tell(name, detail);
    return await ended;
  } finally {
    for (const [name, hear] of heard) api.removeEventListener(name, hear);
  }
}

/** Of a job that is no longer queued: what the host's history has of the node, or null; undefined where that is not known. */
async function outputIfGone(id, node) {
  try {
    const queue = await read("/queue");
    if ([...queue.queue_running, ...queue.queue_pending].some(([, one]) => one === id)) return undefined;
    return (await read(`/history/${id}`))[id]?.outputs?.[node] ?? null;
  } catch {
    return undefined; // the host is out of reach: the page says when it is there again
  }
}

async function read(path) {
  const response = await api.fetchApi(path);
  if (!response.ok) throw new Error(response.statusText);
  return response.json();
}
