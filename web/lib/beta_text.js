/** What λ stands for, in words. Pure functions. */

/** At most four significant digits, never an exponent below a million: 16670, 0.075. */
export function short(value) {
  return String(Number(Number(value).toPrecision(4)));
}

/**
 * The line below a λ slider. anchor: {state, beta}, as anchorAt in beta.js gives it.
 * scheduled: λ does not come from the slider.
 */
export function betaLine(lambda, anchor, scheduled) {
  if (scheduled) return "λ comes from the connected schedule/sweep";
  if (anchor.state === "own") return "λ comes from the anchor's own schedule (Anchor λ)";
  if (anchor.state === "several") return `several anchors: strength ${short(lambda)}${aside(meaning(lambda))}`;
  if (anchor.state === "known") return knownLine(lambda, anchor.beta);
  const why = anchor.state === "later" ? "β is known after a run" : "the anchor has no known β";
  const said = special(lambda);
  return said ? `λ ${short(lambda)}: ${said}` : `strength ${short(lambda)} (${why})`;
}

function knownLine(lambda, beta) {
  const start = `anchor β ${beta} · λ ${short(lambda)}`;
  const said = special(lambda);
  return said ? `${start}: ${said}` : `${start} → β ${short(beta / lambda)} (${pull(lambda)})`;
}

const pull = (lambda) => `${lambda < 1 ? "stronger" : "weaker"} pull to the reference`;
const aside = (text) => (text ? ` (${text})` : "");
const meaning = (lambda) => (lambda === 0 ? "the reference itself" : lambda < 0 ? "away from the anchors" : "");

function special(lambda) {
  if (lambda < 0) return "away from the anchor";
  if (lambda === 0) return "the reference itself";
  return lambda === 1 ? "the anchor itself" : "";
}
