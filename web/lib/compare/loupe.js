/**
 * λ Compare over the whole window. Its body moves in here and back, so that zoom, place and picture stay; the page below
 * is hidden, not only covered, or the browser would draw the graph at every frame.
 */

import { el } from "../styles.js";
import { words } from "../words.js";

const OPEN = "realign-loupe-open"; // on the page's body
const KEYS = "← → λ · ↑ ↓ row · hold Space: pinned picture · wheel: zoom · 1: pixel by pixel · 0: whole · P: pin · S: star · Esc";

let open = null;

export class Loupe {
  /** body: what moves, with the stage in it. keydown: what other keys do. closed: called afterwards. */
  constructor({ body, stage, keydown, closed }) {
    Object.assign(this, { body, stage, closed });
    const close = el("button", "realign-close", { type: "button", "aria-label": words("Close"), title: words("Close") }, "✕");
    close.addEventListener("click", () => this.close());
    const line = el("div", "realign-bar", {}, el("span", "realign-faint realign-grow", { title: words(KEYS) }, words(KEYS)), close);
    this.root = el("div", "realign-compare realign-loupe", { role: "dialog", "aria-modal": "true", "aria-label": words("λ comparison") }, line);
    this.root.addEventListener("keydown", (event) => this.key(event, keydown));
  }

  get isOpen() {
    return open === this;
  }

  open() {
    if (open) return;
    open = this;
    this.home = this.body.parentElement;
    this.root.prepend(this.body);
    document.body.append(this.root);
    document.body.classList.add(OPEN);
    this.settle(true);
    this.stage.root.focus({ preventScroll: true });
  }

  close() {
    if (open !== this) return;
    open = null;
    document.body.classList.remove(OPEN);
    this.home.append(this.body);
    this.root.remove();
    this.stage.zoom = 1;
    this.settle(false);
    if (this.home.isConnected) this.stage.root.focus({ preventScroll: true });
    this.closed();
  }

  settle(free) {
    const { stage } = this;
    stage.free = free;
    stage.split = stage.press = null;
    stage.flip(false);
    stage.place();
    stage.draw();
  }

  key(event, keydown) {
    const { stage } = this;
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const does = {
      1: () => stage.zoomToPixels(),
      0: () => stage.zoomTo(1),
      "+": () => stage.zoomTo(stage.zoom * 1.25),
      "=": () => stage.zoomTo(stage.zoom * 1.25),
      "-": () => stage.zoomTo(stage.zoom / 1.25),
      f: () => this.close(),
      Escape: () => this.close(),
    }[event.key.length > 1 ? event.key : event.key.toLowerCase()];
    if (event.key === "Tab") this.stay(event);
    else if (!does) keydown(event);
    else {
      event.preventDefault();
      does();
    }
  }

  /** Tab goes round within the loupe. */
  stay(event) {
    const all = [...this.root.querySelectorAll("button, select, [tabindex='0']")].filter((one) => one.offsetParent && one.tabIndex >= 0);
    const [from, to] = event.shiftKey ? [all[0], all.at(-1)] : [all.at(-1), all[0]];
    if (document.activeElement !== from) return;
    event.preventDefault();
    to.focus();
  }
}
