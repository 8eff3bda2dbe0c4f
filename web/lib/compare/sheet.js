/**
 * All pictures of a run at a glance, each a button: λ across, rows down. A single row or column of many would be a strip
 * too thin to look at: it goes on in the next line, with its names in the pictures.
 */

import { short } from "../beta_text.js";
import { el } from "../styles.js";
import { words } from "../words.js";
import { GONE } from "./pictures.js";
import { cellName, cellOf, columnName, countOf, rowName, urlOf } from "./run.js";

const SMALLEST = 30; // px: a picture's width
const LOUPE_SHARE = 0.14; // of the height
const NAMES = 0.3; // of the sheet's width
const GAP = 2; // px
const HEAD = 15; // px

export class Sheet {
  /**
   * chosen(index): what a press on a picture does. lost: called where its file is gone. share: of the node's height.
   * largest: px, a picture's width. strip: pictures of a single row or column that stand in one line.
   */
  constructor({ chosen, lost, share, largest, strip }) {
    this.chosen = chosen;
    this.share = share;
    this.largest = largest;
    this.strip = strip;
    this.lost = lost;
    this.run = null;
    this.cells = [];
    this.ratio = 1;
    this.root = el("div", "realign-sheet", { role: "group", "aria-label": words("All pictures of this run") });
    this.root.addEventListener("wheel", (event) => this.root.scrollHeight > this.root.clientHeight && event.stopPropagation());
    new ResizeObserver(() => this.fit()).observe(this.root);
  }

  /** marks: {index, slider (column), starred, front, kept, picked: index → bool}. */
  show(run, marks) {
    if (this.run !== run) this.fill(run);
    this.heads?.forEach((head, column) => {
      const isSlider = column === marks.slider;
      head.classList.toggle("realign-slider", isSlider);
      head.title = isSlider ? words("The slider's λ") : "";
    });
    this.cells.forEach((cell, index) => {
      const is = index === marks.index;
      cell.classList.toggle("realign-shown", is);
      cell.tabIndex = is ? 0 : -1;
      if (is) cell.setAttribute("aria-current", "true");
      else cell.removeAttribute("aria-current");
      const told = [marks.picked(index) && "●", marks.starred(index) && "★", marks.front(index) && "◆", marks.kept(index) && "✓"].filter(Boolean).join("");
      if (cell.realignTold === told) return;
      cell.realignTold = told;
      cell.querySelector(".realign-marks").textContent = told;
      const said = [marks.picked(index) && words("chosen"), marks.starred(index) && words("starred"), marks.front(index) && words("on the front"), marks.kept(index) && words("kept")];
      cell.setAttribute("aria-label", [cellName(run, index), run.draft && words("draft"), ...said].filter(Boolean).join(", "));
    });
    if (this.index !== marks.index) this.cells[marks.index]?.scrollIntoView?.({ block: "nearest", inline: "nearest" });
    this.index = marks.index;
  }

  fill(run) {
    this.run = run;
    this.index = null;
    const { columns, rows } = run;
    this.wraps = Math.min(columns.length, rows.length) === 1 && countOf(run) > this.strip;
    this.names = rows.map((_, row) => (this.wraps ? "" : rowName(run, row)));
    this.hasNames = this.names.some(Boolean);
    this.heads = columns.map((column) => el("span", "realign-head", {}, headOf(column, columns.length)));
    this.cells = run.files.map((_, index) => this.cell(run, index));
    const lines = rows.flatMap((_, row) => [
      ...(this.hasNames ? [el("span", "realign-name", { title: run.rows[row].prompt ?? this.names[row] }, this.names[row])] : []),
      ...this.cells.slice(row * columns.length, (row + 1) * columns.length),
    ]);
    this.root.hidden = countOf(run) === 1;
    const heads = this.wraps ? [] : [...(this.hasNames ? [el("span")] : []), ...this.heads];
    this.root.replaceChildren(...heads, ...lines);
    this.fit();
  }

  cell(run, index) {
    const image = el("img", "", { alt: "", draggable: "false", loading: "lazy", decoding: "async" });
    const marks = el("span", "realign-marks", { "aria-hidden": "true" });
    const button = el("button", "realign-cell", { type: "button", "data-cell": String(index) }, image, marks);
    if (this.wraps) {
      const name = run.rows.length > 1 ? rowName(run, index) : headOf(run.columns[index], countOf(run));
      button.append(el("span", "realign-label", { "aria-hidden": "true" }, name));
    }
    if (run.draft) button.append(el("span", "realign-draft", { "aria-hidden": "true" }, words("draft")));
    const { name, beta, kl } = cellOf(run, index);
    button.title = [cellName(run, index), beta && `β ${short(beta)}`, kl != null && `KL ${Number(kl.toPrecision(3))}`].filter(Boolean).join("\n") || name;
    button.setAttribute("aria-label", [cellName(run, index), run.draft && words("draft")].filter(Boolean).join(", "));
    button.addEventListener("click", () => this.chosen(index));
    image.addEventListener("load", () => {
      const ratio = image.naturalHeight / image.naturalWidth;
      if (index === 0 && ratio !== this.ratio) {
        this.ratio = ratio;
        this.fit();
      }
    });
    image.addEventListener("error", () => {
      button.classList.add("realign-gone");
      button.title = words(GONE);
      this.lost(run);
    });
    image.src = urlOf(run.thumbs[index]);
    return button;
  }

  /** Pictures as large as all of them have room; where that is too small, the sheet scrolls. */
  fit() {
    const [width, all] = [this.root.clientWidth, this.root.parentElement?.clientHeight ?? 0];
    if (!this.run || !width || !all) return;
    const height = all * (this.root.closest(".realign-loupe") ? LOUPE_SHARE : this.share);
    const [columns, rows] = this.wraps ? this.lines(width, height) : [this.run.columns.length, this.run.rows.length];
    const names = this.hasNames ? Math.min(this.longestName(), width * NAMES) : 0;
    const across = (width - names) / columns - GAP;
    const head = this.wraps ? 0 : HEAD;
    const down = ((height - head) / rows - GAP) / this.ratio;
    const size = Math.floor(Math.min(Math.max(Math.min(across, down), SMALLEST), this.largest));
    this.root.style.setProperty("--realign-cell", `${size}px`);
    this.root.style.setProperty("--realign-high", `${Math.round(size * this.ratio)}px`);
    this.root.style.gridTemplateColumns = `${names ? `${Math.ceil(names)}px ` : ""}repeat(${columns}, ${size}px)`;
    this.root.style.maxHeight = `${Math.max(height, head + size * this.ratio) + 4}px`;
  }

  /** How many of a strip stand in a line, and how many lines there are, so that pictures are as large as can be. */
  lines(width, height) {
    const count = countOf(this.run);
    const size = (across) => Math.min(width / across, height / Math.ceil(count / across) / this.ratio);
    const all = Array.from({ length: count }, (_, i) => i + 1).filter((across) => width / across >= SMALLEST);
    this.perLine = all.reduce((best, across) => (size(across) > size(best) ? across : best), all[0] ?? 1);
    return [this.perLine, Math.ceil(count / this.perLine)];
  }

  longestName() {
    const drawn = document.createElement("canvas").getContext("2d");
    drawn.font = "11px Inter, Arial, sans-serif";
    return Math.max(...this.names.map((name) => drawn.measureText(name).width)) + 8;
  }
}

/** λ alone where many columns stand side by side. */
function headOf(column, count) {
  const name = columnName(column);
  return count > 3 && column.lambda != null ? name.replace(/^λ /, "") : name;
}
