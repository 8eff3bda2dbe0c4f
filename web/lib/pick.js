/**
 * Pick: the pictures of a run, to star the better ones. The stars are kept as λ Compare keeps them, in the node's
 * property; every run tells them to Pick, and to the Learned Taste that it is connected to, in a hidden input.
 */

import { attachView, keptOf } from "./compare.js";
import { Keep, Runs, button, setAttribute, setText } from "./compare/parts.js";
import { allGraphs, isUpstream, kindOf, widgetOf } from "./graph.js";
import { el } from "./styles.js";
import { words } from "./words.js";

const PICK = "RealignPick";

class PickButtons {
  constructor(look, say) {
    this.look = look;
    this.runs = new Runs(look);
    this.count = el("span", "realign-faint realign-grow", { role: "status" });
    this.line = el("div", "realign-bar", {}, this.runs.root, this.count);
    this.star = button("realign-main realign-star");
    this.star.title = words("This one is better than the others. Key S; or press its picture above once more.");
    this.star.addEventListener("click", () => look.toggleStar());
    this.keep = new Keep(look, say);
    this.row = el("div", "realign-bar", {}, this.star, this.keep.root);
  }

  /** Enter, as “Use” on λ Compare. */
  useIt() {
    if (this.look.run) this.look.toggleStar();
  }

  draw() {
    const { look } = this;
    const { run } = look;
    this.line.hidden = this.row.hidden = !run;
    if (!run) return;
    this.runs.draw();
    this.keep.draw();
    const isStarred = look.marked("stars");
    setText(this.star, isStarred ? words("★ Better") : words("☆ Better"));
    setAttribute(this.star, "aria-pressed", String(isStarred));
    const count = look.kept.state.stars[run.run]?.length ?? 0;
    setText(this.count, count ? words("★ {count}: the next run counts them", { count }) : words("Star the better ones, then press Run."));
  }
}

const hint = () => words("Run: the pictures appear here. Star the better ones, and run again.");
const KIND = { Buttons: PickButtons, hint, size: [460, 760], share: 0.45, largest: 220, strip: 3, pressAgain: (look) => look.toggleStar() };

/**
 * The stars of these nodes as the host reads them: {run: {picked, lambda, rows}}, of all runs that have some or had some
 * when the host was told last, so that what was taken back is taken back there, too. "" where there are none.
 */
function picksOf(nodes) {
  const told = {};
  for (const kept of nodes.map(keptOf).filter(Boolean)) {
    const { runs, stars, told: before } = kept.state;
    const own = runs.filter((run) => stars[run.run]?.length || before[run.run]);
    for (const run of own) {
      const lambdas = run.rows.flatMap(() => run.columns.map((one) => one.lambda));
      const picked = [...(stars[run.run] ?? [])].sort((a, b) => a - b);
      told[run.run] = run.swept ? { picked, lambda: lambdas, rows: run.rows.length } : { picked };
    }
    if (own.some((run) => !before[run.run])) kept.write({ told: Object.fromEntries(own.map((run) => [run.run, true])) });
  }
  return Object.keys(told).length ? JSON.stringify(told) : "";
}

/** nodes(): those whose stars the node is told. Nothing of it is written into the graph. */
function tellPicks(node, nodes) {
  const widget = widgetOf(node, "picks");
  if (widget) widget.serializeValue = () => picksOf(nodes()) || widget.value;
}

export function attachPick(node) {
  attachView(node, KIND);
  tellPicks(node, () => [node]);
}

export function attachPreference(node) {
  const picks = () => allGraphs().flatMap((graph) => (graph.nodes ?? []).filter((one) => kindOf(one) === PICK));
  tellPicks(node, () => picks().filter((one) => isUpstream(one, "preference", node)));
}
