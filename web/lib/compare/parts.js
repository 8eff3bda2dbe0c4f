/** What stands below a picture on λ Compare and on Pick alike: the runs before, and “Keep”. */

import { el } from "../styles.js";
import { words } from "../words.js";
import { keep } from "./keep.js";
import { runName } from "./run.js";

export const button = (classes, text = "") => el("button", classes, { type: "button" }, text);

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export class Runs {
  constructor(look) {
    this.look = look;
    this.root = el("select", "realign-runs", { "aria-label": words("Earlier runs") });
    this.root.addEventListener("change", () => look.open(this.root.value));
  }

  draw() {
    const { look, root } = this;
    const told = look.runs.map((run) => [run.run, runName(run) + (look.gone.has(run.run) ? ` (${words("gone")})` : "")]).reverse();
    const key = JSON.stringify(told);
    if (key !== this.told) {
      this.told = key;
      root.replaceChildren(...told.map(([id, name]) => el("option", "", { value: id }, name)));
    }
    if (root.value !== look.run.run) root.value = look.run.run;
    root.title = words("Earlier runs stay here: opening one samples nothing.");
  }
}

export class Keep {
  /** say(text): below the buttons. */
  constructor(look, say) {
    this.look = look;
    this.say = say;
    this.root = button("realign-main realign-keep");
    this.root.addEventListener("click", () => this.keep());
  }

  async keep() {
    const { look } = this;
    const { run, index } = look;
    if (!run || this.keeping) return;
    this.keeping = true;
    this.say(run.draft ? words("Sampling this picture exactly …") : "");
    this.draw();
    try {
      const path = await keep(run, index);
      this.say(words("Saved in the output folder: {path}", { path }));
      look.markKept(run.run, index);
    } catch (error) {
      this.say(error.message);
    } finally {
      this.keeping = false;
      this.draw();
    }
  }

  draw() {
    const { look, root } = this;
    if (!look.run) return;
    setText(root, this.keeping ? "…" : look.marked("kept") ? words("Kept ✓") : words("Keep"));
    root.title = look.run.draft
      ? words("Samples this picture exactly, and saves it with the workflow that makes it alone.")
      : words("Saves this picture, clean, with the workflow that makes it alone. Nothing is sampled.");
  }
}
