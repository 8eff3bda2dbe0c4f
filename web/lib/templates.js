/**
 * Notes, titles of groups and titles of nodes of this pack's templates in the page's language. They are plain text of a
 * workflow, which stays English: only while it is on the page it is another. A text that is not a template's, or that
 * was changed, is its writer's.
 */

import { allGraphs } from "./graph.js";
import { chain } from "./live.js";
import { sentence } from "./sentences.js";
import { ja } from "./template_words_ja.js";
import { zh } from "./template_words_zh.js";
import { tableOf } from "./words.js";

const TABLES = { zh, ja };
const NOTE = "MarkdownNote";
const MARKS = /^(# |\d+\\\. |• )?(.*?)(\\?)$/; // what Markdown makes of a line, and its text

const saved = new WeakMap(); // group or node → {title: [file's, page's], note: [file's, page's]}

/** After a workflow was opened, by whatever way: undo and tabs too. */
export function translateTemplates() {
  if (!tableOf(TABLES)) return;
  for (const graph of allGraphs().filter(isTemplate)) {
    for (const node of graph.nodes) {
      translate(node, "title", titled(node));
      if (node.type === NOTE) translate(node, "note", node.widgets?.[0]);
    }
    for (const group of graph.groups ?? []) translate(group, "title", titled(group));
  }
}

/** A workflow with a template's note, which may have been changed below its heading: elsewhere “Prompt” is a user's. */
function isTemplate(graph) {
  const heading = (node) => /^# (.+)/.exec(node.widgets?.[0]?.value ?? "")?.[1];
  return (graph.nodes ?? []).some((node) => node.type === NOTE && sentence(TABLES, heading(node) ?? "") !== undefined);
}

/** The title as a thing with a value, like a widget. */
const titled = (owner) => ({
  get value() {
    return owner.title;
  },
  set value(title) {
    owner.title = title;
  },
});

function translate(owner, part, shown) {
  const text = shown?.value;
  const said = typeof text !== "string" ? undefined : part === "note" ? noteInWords(text) : sentence(TABLES, text);
  if (said === undefined || said === text) return;
  if (!saved.has(owner)) {
    saved.set(owner, {});
    keepEnglish(owner);
  }
  saved.get(owner)[part] = [text, said];
  shown.value = said;
}

/** A note's translation, line by line; undefined where a line is not known: then it is no template's. */
function noteInWords(text) {
  const lines = text.split("\n").map((line) => {
    const [, mark = "", words, end] = MARKS.exec(line);
    const said = words === "" || words === "---" ? words : sentence(TABLES, words);
    return said === undefined ? undefined : mark + said + end;
  });
  return lines.includes(undefined) ? undefined : lines.join("\n");
}

/** Has the saved form of a node or a group say what its file said, unless it was changed on the page. */
function keepEnglish(owner) {
  if (owner.type === NOTE || owner.widgets || owner.inputs) {
    chain(owner, "onSerialize", (form) => restore(owner, form));
    return;
  }
  const serialize = owner.serialize; // groups have no such place
  owner.serialize = function (...args) {
    const form = serialize.apply(this, args);
    restore(this, form);
    return form;
  };
}

function restore(owner, form) {
  const { title, note } = saved.get(owner) ?? {};
  const now = form.title ?? owner.title; // the page leaves out a title that is the kind's own, as a translation may be
  if (title && now === title[1]) form.title = title[0];
  if (note && form.widgets_values?.[0] === note[1]) form.widgets_values[0] = note[0];
}
