/** Realign Check: the table of what is right and what is not, and its text for a bug report. */

import { addElement, keepUpdated } from "./live.js";
import { hasOrigin, recall, remember } from "./memory.js";
import { onOutput } from "./outputs.js";
import { el } from "./styles.js";
import { words } from "./words.js";

const KEY = "realign_check";
const HINT = "Run: what is right and what is not with these models appears here.";
const AGAIN = 2000; // ms until the button says again what it does

/** Where the page is not served from this machine, browsers keep the clipboard from it: the old way then. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = el("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

class CheckView {
  constructor(node) {
    this.node = node;
    this.result = null; // {table, report}: texts; the table's first line is the verdict
    this.restored = false;
    this.table = el("div", "realign-table", { tabindex: "0", "aria-label": words("What the check found") });
    this.copy = el("button", "realign-main", { type: "button" }, words("Copy the report"));
    this.copy.addEventListener("click", () => this.copyReport());
    this.table.addEventListener("wheel", (event) => event.stopPropagation());
    this.root = el("div", "realign-check", { role: "group" }, this.table, el("div", "realign-bar", {}, this.copy));
    this.draw();
  }

  show(result) {
    if (!result) return;
    this.result = result;
    this.restored = true;
    remember(this.node, KEY, result);
    this.draw();
  }

  /** What was shown at the place that the node was saved at: after a reload, undo, another tab. */
  restore() {
    if (this.restored || !this.node.graph) return;
    this.restored = true;
    if (hasOrigin(this.node)) this.show(recall(this.node, KEY));
  }

  draw() {
    this.copy.disabled = !this.result;
    if (!this.result) {
      this.table.replaceChildren(el("p", "realign-faint", {}, words(HINT)));
      return;
    }
    const [verdict, ...lines] = this.result.table.split("\n");
    const rows = lines.map((line) => el("p", line.startsWith("·") ? "realign-faint" : "", {}, line));
    this.table.replaceChildren(el("p", "realign-strong", {}, verdict), ...rows);
  }

  async copyReport() {
    const done = await copied(this.result.report);
    const not = () => words("Connect the output to “Preview as Text”, and copy it there");
    this.copy.textContent = done ? words("Copied") : not();
    setTimeout(() => (this.copy.textContent = words("Copy the report")), AGAIN);
  }
}

export function attachCheck(node) {
  const view = new CheckView(node);
  addElement(node, KEY, view.root, { min: 340, hideOnZoom: false });
  node.setSize?.([Math.max(node.size[0], 430), Math.max(node.size[1], 580)]);
  onOutput(node, KEY, (result) => view.show(result));
  keepUpdated(node, () => view.restore());
}
