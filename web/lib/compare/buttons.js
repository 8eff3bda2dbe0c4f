/** What λ Compare's buttons do: Use, Keep, Finer, the switch between a sweep and one picture, and the runs before. */

import { el } from "../styles.js";
import { words } from "../words.js";
import { finer, finerOffer, isSweeping, offerOf, pickedPlace, setSweeping, sweepNode, unpick, useCell } from "../write_back.js";
import { Keep, Runs, button, setAttribute, setText } from "./parts.js";

export const SWEEP_HINT = "Run: the pictures of the λ sweep appear here, to compare and choose from.";

export class Buttons {
  /** look: see look.js. say(text): below the buttons. */
  constructor(look, say) {
    this.look = look;
    this.say = say;
    this.runs = new Runs(look);
    this.modes = { true: button("", words("Sweep")), false: button("", words("One picture")) };
    this.modes.true.title = words("The next run makes all pictures of the λ sweep.");
    this.modes.false.title = words("The next run makes one picture, with the slider's λ.");
    for (const [on, one] of Object.entries(this.modes)) one.addEventListener("click", () => this.sweep(on === "true"));
    this.switch = el("div", "realign-switch", { role: "group", "aria-label": words("The next run") }, this.modes.true, this.modes.false);
    this.chosen = button("realign-chip");
    this.chosen.title = words("“chosen” gives this picture alone. Press to give all of them again.");
    this.chosen.addEventListener("click", () => this.act(() => unpick(look.node)));
    this.line = el("div", "realign-bar", {}, this.runs.root, this.chosen, this.switch);
    this.use = button("realign-main realign-use");
    this.keep = new Keep(look, say);
    this.finer = button("realign-finer", words("Finer"));
    this.use.addEventListener("click", () => this.useIt());
    this.finer.addEventListener("click", () => this.act(() => finer(look.node, look.run, look.column)));
    this.row = el("div", "realign-bar", {}, this.use, this.keep.root, this.finer);
  }

  act(does) {
    this.say(does() ?? "");
    this.look.changed();
  }

  useIt() {
    const { look } = this;
    if (!look.cell || this.use.hidden) return;
    this.act(() => useCell(look.node, look.run, look.cell));
    look.go(look.column, look.row); // the slider is there now: undo of it shows the λ that it goes back to
  }

  sweep(on) {
    if (on !== isSweeping(this.look.node)) this.act(() => setSweeping(this.look.node, on));
  }

  /** Follows the graph: the sweep may have been bypassed, or the slider moved, by hand. Cheap when nothing changed. */
  draw() {
    const { look, use, finer: fine, chosen } = this;
    const { run, node } = look;
    this.line.hidden = this.row.hidden = !run;
    if (!run) return;
    this.runs.draw();
    this.keep.draw();
    const sweep = node.graph && sweepNode(node);
    this.switch.hidden = !sweep;
    const sweeping = Boolean(sweep) && isSweeping(node);
    for (const [on, one] of Object.entries(this.modes)) setAttribute(one, "aria-pressed", String((on === "true") === sweeping));
    const place = node.graph && pickedPlace(node, run);
    chosen.hidden = !place || !sweeping;
    if (!chosen.hidden) setText(chosen, `● ${run.columns[place.column].name} ✕`);
    const { name, no, inUse } = node.graph ? offerOf(node, run, look.cell) : { inUse: true };
    use.hidden = look.cell.lambda == null || inUse;
    if (!use.hidden) {
      setText(use, words("Use {name}", { name }));
      const does = sweep ? "Sets {name}, and puts λ Sweep to sleep: the next run makes this picture alone." : "Sets {name}.";
      use.title = no || words(does, { name });
      setAttribute(use, "aria-disabled", String(Boolean(no)));
    }
    const offer = node.graph ? finerOffer(node, run, look.column) : { values: null };
    fine.hidden = !offer.values;
    if (offer.values) fine.title = words("Sweeps λ {values}: around this one, at half the distance.", { values: offer.values.join(", ") });
  }
}
