/** What λ stands for, in words. */

import { words } from "./words.js";

/** At most four significant digits, never an exponent below a million: 16670, 0.075. */
export function short(value) {
  return String(Number(Number(value).toPrecision(4)));
}

/**
 * The line below a λ slider. anchor: {state, beta}, as anchorAt in beta.js gives it.
 * scheduled: λ does not come from the slider.
 */
export function betaLine(lambda, anchor, scheduled) {
  if (scheduled) return words("λ comes from the connected schedule/sweep");
  if (anchor.state === "own") return words("λ comes from the anchor's own schedule (Anchor λ)");
  if (anchor.state === "several") return words("several anchors: strength {lambda}", { lambda: short(lambda) }) + aside(meaning(lambda));
  if (anchor.state === "known") return knownLine(lambda, anchor.beta);
  const why = words(anchor.state === "later" ? "β is known after a run" : "the anchor has no known β");
  const said = special(lambda);
  return said ? `λ ${short(lambda)}: ${said}` : words("strength {lambda} ({why})", { lambda: short(lambda), why });
}

function knownLine(lambda, beta) {
  const start = words("anchor β {beta} · λ {lambda}", { beta, lambda: short(lambda) });
  const said = special(lambda);
  return said ? `${start}: ${said}` : `${start} → β ${short(beta / lambda)} (${pull(lambda)})`;
}

const pull = (lambda) => words(lambda < 1 ? "stronger pull to the reference" : "weaker pull to the reference");
const aside = (text) => (text ? ` (${text})` : "");
const meaning = (lambda) => words(lambda === 0 ? "the reference itself" : lambda < 0 ? "away from the anchors" : "");

function special(lambda) {
  if (lambda < 0) return words("away from the anchor");
  if (lambda === 0) return words("the reference itself");
  return lambda === 1 ? words("the anchor itself") : "";
}
