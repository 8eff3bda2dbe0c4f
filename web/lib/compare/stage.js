/** The picture that is looked at, over it the pin: wiped by hovering, flipped to by holding, magnified in the loupe. */

import { el } from "../styles.js";
import { Pictures, drawBitmap } from "./pictures.js";

const CLICK = 250; // ms: pressed for longer is held
const STILL = 4; // px: moved by more is dragged
const MOST = 32; // times the size at which a picture fits
const SHARP = 3; // screen pixels of a picture's pixel from which on it is shown as a square

/** The size of a bitmap that fits into one, px: a pin of another run may have another shape. */
function within(size, { width, height }) {
  const scale = Math.min(size[0] / width, size[1] / height);
  return [width * scale, height * scale];
}

const clamped = (value, low, high) => Math.min(Math.max(value, low), high);

export class Stage {
  /** clicked: for a short press. lost(which): “picture” or “pin”, which the host has no more. */
  constructor({ clicked, lost }) {
    this.clicked = clicked;
    this.lost = lost;
    this.pictures = new Pictures();
    this.files = { near: [] };
    this.bitmaps = { picture: null, pin: null };
    this.zoom = 1; // times the size at which the picture fits
    this.centre = [0.5, 0.5]; // of what is seen, in the picture
    this.free = false; // whether it may be magnified
    this.flipped = false;
    this.split = null; // px from the left
    this.picture = el("canvas", "realign-layer realign-current", { "aria-hidden": "true" });
    this.pin = el("canvas", "realign-layer realign-pinned", { "aria-hidden": "true" });
    this.line = el("div", "realign-wipe", { "aria-hidden": "true" });
    this.hint = el("p", "realign-hint");
    this.caption = el("div", "realign-caption", { role: "status", "aria-live": "polite" });
    this.root = el("div", "realign-stage", { tabindex: "0", role: "group" }, this.picture, this.pin, this.line, this.hint, this.caption);
    this.listen();
  }

  listen() {
    const { root } = this;
    root.addEventListener("pointermove", (event) => this.moved(event));
    root.addEventListener("pointerleave", () => this.left());
    root.addEventListener("pointerdown", (event) => this.pressed(event));
    for (const name of ["pointerup", "pointercancel"]) root.addEventListener(name, (event) => this.released(event));
    root.addEventListener("pointerenter", () => this.entered());
    root.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
    root.addEventListener("contextmenu", (event) => event.stopPropagation()); // the page's own: save, copy the picture
    new ResizeObserver(() => this.place()).observe(root);
  }

  /** Shows pictures: {picture, pin, near: []}, file names; near ones are loaded ahead. A hint instead: {hint}. */
  show({ picture = null, pin = null, near = [], hint = "" }) {
    if (pin === picture) pin = null;
    this.hint.textContent = hint;
    this.hint.hidden = !hint;
    this.files = { picture, pin, near };
    this.picture.dataset.wanted = picture ?? "";
    this.pictures.keep([picture, pin, ...near].filter(Boolean));
    this.paint();
    this.draw();
  }

  /** Both layers anew. A picture that is not there yet leaves the one before it. */
  paint() {
    const { pictures, files } = this;
    const again = () => this.files === files && this.paint();
    for (const which of ["picture", "pin"]) {
      const file = files[which];
      const bitmap = file ? pictures.get(file, again) : null;
      if (file && pictures.isGone(file)) return this.lost(which);
      if (bitmap || !file) this.bitmaps[which] = bitmap;
      if (bitmap) this[which].dataset.file = file;
    }
    for (const file of files.near) pictures.get(file);
    this.place();
  }

  /** The pin is over the picture: none of it, what lies left of the split, or all. */
  draw() {
    const { pin, line, root } = this;
    const wiped = this.split != null && this.files.pin && !this.flipped;
    pin.hidden = !this.files.pin || (!this.flipped && !wiped);
    pin.style.clipPath = wiped ? `inset(0 ${Math.max(root.clientWidth - this.split, 0)}px 0 0)` : "";
    line.hidden = !wiped;
    if (wiped) line.style.transform = `translateX(${this.split}px)`;
    root.classList.toggle("realign-flipped", this.flipped);
  }

  /** Puts both pictures where zoom and centre want them, in the same size. */
  place() {
    const { picture, pin } = this.bitmaps;
    const room = [this.root.clientWidth, this.root.clientHeight];
    this.picture.hidden = !picture;
    if (!picture?.width || !room[0] || !room[1]) return; // of a bitmap that was let go of, the drawing stays
    const fit = Math.min(room[0] / picture.width, room[1] / picture.height);
    const size = [picture.width * fit * this.zoom, picture.height * fit * this.zoom];
    const corner = room.map((side, i) => {
      const free = side - size[i];
      this.centre[i] = free >= 0 ? 0.5 : clamped(this.centre[i], side / 2 / size[i], 1 - side / 2 / size[i]);
      return free >= 0 ? free / 2 : side / 2 - this.centre[i] * size[i];
    });
    this.scale = this.shownScale();
    this.placed = { corner, size, fit };
    this.root.dataset.place = [this.zoom, ...this.centre].map((value) => value.toFixed(3)).join(" ");
    const density = devicePixelRatio * this.scale;
    for (const [canvas, bitmap] of [[this.picture, picture], [this.pin, pin]]) {
      if (!bitmap?.width) continue;
      const whole = within(size, bitmap);
      const pixels = this.zoom > 1 && (whole[0] / bitmap.width) * density >= SHARP;
      const own = corner.map((start, i) => start + (size[i] - whole[i]) / 2);
      drawBitmap(canvas, bitmap, { room, corner: own, size: whole, density, pixels });
    }
  }

  /** How large the graph shows the node. */
  shownScale() {
    return this.root.offsetWidth ? this.root.getBoundingClientRect().width / this.root.offsetWidth : 1;
  }

  /** The graph may be shown at another scale since. */
  follow() {
    if (this.placed && Math.abs(this.shownScale() / this.scale - 1) > 0.05) this.place();
  }

  /** Of a pointer, px from the stage's corner, whatever the graph's scale. */
  point(event) {
    const box = this.root.getBoundingClientRect();
    const scale = box.width / (this.root.offsetWidth || 1) || 1;
    return [(event.clientX - box.left) / scale - this.root.clientLeft, (event.clientY - box.top) / scale - this.root.clientTop];
  }

  /** zoom: times fitting. at: what stays where it is, px. */
  zoomTo(zoom, at = [this.root.clientWidth / 2, this.root.clientHeight / 2]) {
    if (!this.placed) return;
    const { corner, size } = this.placed;
    const held = at.map((value, i) => (value - corner[i]) / size[i]);
    const next = clamped(zoom, 1, MOST);
    const grown = size.map((value) => (value / this.zoom) * next);
    this.centre = at.map((value, i) => held[i] + (([this.root.clientWidth, this.root.clientHeight][i] / 2 - value) / grown[i]));
    this.zoom = next;
    this.place();
  }

  /** One pixel of the picture is one of the screen. */
  zoomToPixels(at) {
    if (this.placed) this.zoomTo(1 / this.placed.fit / devicePixelRatio, at);
  }

  entered() {
    const active = document.activeElement;
    if (active === this.root || active?.matches?.("input, textarea, select, [contenteditable='true']")) return; // one who types
    this.root.focus({ preventScroll: true });
    this.hovered = true; // so that keys work without a click
  }

  left() {
    if (this.press) return;
    this.split = null;
    this.draw();
    if (this.hovered && document.activeElement === this.root && !this.free) this.root.blur();
    this.hovered = false;
  }

  moved(event) {
    event.stopPropagation();
    const at = this.point(event);
    const { press } = this;
    if (press && this.free && this.zoom > 1) return this.drag(at);
    if (press) {
      press.wipes ||= event.pointerType === "touch" && this.isMoved(at); // a finger that moves wipes, as a mouse hovers
      if (!press.wipes) return;
      this.flip(false);
    }
    this.split = clamped(at[0], 0, this.root.clientWidth);
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  isMoved(at) {
    return Math.hypot(at[0] - this.press.at[0], at[1] - this.press.at[1]) >= STILL;
  }

  drag(at) {
    const { press, placed } = this;
    if (!press.dragged && !this.isMoved(at)) return;
    press.dragged = true;
    this.flip(false);
    this.centre = press.centre.map((value, i) => value - (at[i] - press.at[i]) / placed.size[i]);
    this.place();
  }

  pressed(event) {
    if (event.button !== 0 || !this.files.picture) return;
    event.stopPropagation();
    this.root.focus({ preventScroll: true });
    this.hovered = false; // it is meant
    this.root.setPointerCapture?.(event.pointerId);
    this.press = { at: this.point(event), centre: [...this.centre], time: event.timeStamp };
    this.flip(true);
  }

  released(event) {
    const { press } = this;
    if (!press) return;
    event.stopPropagation();
    const at = this.point(event);
    const isClick = !press.dragged && !press.wipes && !this.isMoved(at) && event.timeStamp - press.time < CLICK;
    this.press = null;
    this.flip(false);
    if (press.wipes) this.left();
    if (event.type === "pointerup" && isClick) this.clicked(at);
  }

  flip(on) {
    if (this.flipped === on) return;
    this.flipped = on;
    this.draw();
    this.flippedTo?.(on);
  }

  wheeled(event) {
    if (!this.free || event.ctrlKey) return;
    event.preventDefault();
    event.stopPropagation();
    const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    this.zoomTo(this.zoom * Math.exp(-event.deltaY * lines * 0.002), this.point(event));
  }
}
