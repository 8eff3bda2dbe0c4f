/**
 * Sentences that come with their numbers in them, in the page's language: what the host sends of a run, and the notes of
 * templates. A table's keys are English sentences with {placeholders}: {n}, of one letter, stands for what has no space
 * in it, a number mostly, {name} for any text, which may be a sentence of the table itself.
 */

import { filled, tableOf } from "./words.js";

const compiled = new Map(); // key → {test: RegExp, names}, or null for a text without placeholders

function patternOf(key) {
  if (!compiled.has(key)) {
    const names = [];
    const parts = key.split(/\{(\w+)\}/).map((part, i) => {
      if (i % 2 === 0) return part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      names.push(part);
      return part.length === 1 ? "(\\S+)" : "(.+?)";
    });
    compiled.set(key, names.length ? { test: new RegExp(`^${parts.join("")}$`), names } : null);
  }
  return compiled.get(key);
}

const literal = (key) => key.replace(/\{\w+\}/g, "").length;
const orders = new WeakMap(); // a language's table → its patterns, those that say most first

function patternsOf(table) {
  if (!orders.has(table)) {
    const keys = Object.keys(table).filter(patternOf);
    orders.set(table, keys.sort((a, b) => literal(b) - literal(a)));
  }
  return orders.get(table);
}

/** tables: {zh, ja}. The sentence in the page's language; undefined where the tables have none for it. */
export function sentence(tables, text) {
  const table = tableOf(tables);
  return table && sentenceOf(table, text);
}

function sentenceOf(table, text) {
  if (Object.hasOwn(table, text)) return table[text];
  for (const key of patternsOf(table)) {
    const { test, names } = patternOf(key);
    const found = test.exec(text);
    if (!found) continue;
    const values = names.map((name, i) => [name, sentenceOf(table, found[i + 1]) ?? found[i + 1]]);
    return filled(table[key], Object.fromEntries(values));
  }
  return undefined;
}

/** Lines of facts, “step 3/30 · λ 0.5 · …”, with what is known of them in the page's language. */
export function spoken(tables, text) {
  if (!tableOf(tables)) return text;
  const line = (one) => one.split(" · ").map((fact) => sentence(tables, fact) ?? fact).join(" · ");
  return text.split("\n").map(line).join("\n");
}
