/**
 * Whole pictures, loaded and decoded before they are shown, the last used ones. They are bitmaps that can be let go of:
 * a browser keeps what it has decoded for an <img> as long as it likes, and a sweep has many.
 */

import { urlOf } from "./run.js";

/** What is said of a picture whose file the host has deleted. */
export const GONE = "This picture is gone from the host: press Run to make it again.";
const HELD = 4;

export class Pictures {
  constructor() {
    this.held = new Map(); // file → {bitmap, gone, waiting}
  }

  /** The bitmap of a file, if it is there already; else null, and `then` is called once it is there, or gone. */
  get(file, then) {
    const held = this.held.get(file) ?? this.load(file);
    this.held.delete(file);
    this.held.set(file, held); // the last one used stands last
    if (held.waiting && then) held.waiting.push(then);
    return held.bitmap;
  }

  isGone(file) {
    return this.held.get(file)?.gone ?? false;
  }

  load(file) {
    const held = { bitmap: null, gone: false, waiting: [] };
    const done = ({ bitmap = null, gone = false }) => {
      const { waiting } = held;
      Object.assign(held, { bitmap, gone, waiting: null });
      if (this.held.get(file) !== held) bitmap?.close();
      else for (const then of waiting) then();
    };
    decoded(file).then((bitmap) => done({ bitmap }), () => done({ gone: true }));
    return held;
  }

  /** Lets go of all but the last used ones, and of none of these. */
  keep(files) {
    for (const [file, { bitmap }] of this.held) {
      if (this.held.size <= HELD) return;
      if (files.includes(file)) continue;
      this.held.delete(file);
      bitmap?.close();
    }
  }
}

async function decoded(file) {
  const response = await fetch(urlOf(file));
  if (!response.ok) throw new Error(`${response.status}`);
  return createImageBitmap(await response.blob());
}

/**
 * Draws a picture on a canvas that covers a room. corner, size: of the picture in it, px; density: of the canvas. Only
 * what is seen of it is drawn.
 */
export function drawBitmap(canvas, bitmap, { room, corner, size, density, pixels }) {
  const [wide, high] = room.map((side) => Math.max(Math.round(side * density), 1));
  if (canvas.width !== wide) canvas.width = wide;
  if (canvas.height !== high) canvas.height = high;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, wide, high);
  const from = [0, 1].map((i) => Math.max(-corner[i] / size[i], 0));
  const to = [0, 1].map((i) => Math.min((room[i] - corner[i]) / size[i], 1));
  if (from[0] >= to[0] || from[1] >= to[1]) return;
  context.imageSmoothingEnabled = !pixels;
  context.imageSmoothingQuality = "high";
  const [part, place] = [[], []];
  const own = [bitmap.width, bitmap.height];
  for (const i of [0, 1]) {
    part.push([from[i] * own[i], (to[i] - from[i]) * own[i]]);
    place.push([(corner[i] + from[i] * size[i]) * density, (to[i] - from[i]) * size[i] * density]);
  }
  context.drawImage(bitmap, part[0][0], part[1][0], part[0][1], part[1][1], place[0][0], place[1][0], place[0][1], place[1][1]);
}
