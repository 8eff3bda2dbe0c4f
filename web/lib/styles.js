/** The style sheet of all widgets, once per page, in the page's own colours. */

const ID = "realign-styles";

const CSS = `
.realign-line, .realign-plot, .realign-compare, .realign-check {
  --realign-field: var(--comfy-input-bg); --realign-edge: var(--border-color);
  box-sizing: border-box; width: 100%; font: 12px/1.35 Inter, Arial, sans-serif; color: var(--input-text);
}
.lg-node .realign-plot, .lg-node .realign-compare, .lg-node .realign-check {
  --realign-field: var(--component-node-widget-background, var(--comfy-input-bg)); --realign-edge: transparent;
}
.realign-line {
  height: 36px; padding: 2px 4px; overflow: hidden; display: -webkit-box; -webkit-box-orient: vertical;
  -webkit-line-clamp: 2; font-size: 11px; line-height: 16px; color: var(--descrip-text, var(--input-text));
  cursor: default; text-wrap: balance;
}
.realign-ruler {
  position: fixed; left: 0; top: 0; visibility: hidden; pointer-events: none; box-sizing: border-box; max-height: 200px;
  white-space: pre-line;
}
.realign-plot, .realign-compare, .realign-check { display: flex; flex-direction: column; gap: 6px; min-height: 0; }
.realign-plot { height: 100%; min-height: 172px; padding: 2px; }
.realign-plot canvas { flex: 1 1 0px; min-height: 120px; height: 0; width: 100%; border-radius: 5px;
  background: var(--realign-field); }
.realign-compare { height: 100%; min-height: 300px; padding: 2px; outline: none; }
.realign-body { flex: 1; min-height: 0; display: flex; flex-direction: column; gap: 6px; }
.realign-sheet {
  display: grid; gap: 2px; align-items: center; justify-content: center; overflow: auto; flex: none; padding: 1px;
  scrollbar-width: thin; overscroll-behavior: contain;
}
.realign-head, .realign-name {
  font-size: 11px; line-height: 15px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
  color: var(--descrip-text, var(--input-text)); font-variant-numeric: tabular-nums;
}
.realign-head { text-align: center; border-radius: 8px; padding: 0 1px; }
.realign-head.realign-slider { outline: 1.5px solid var(--p-primary-color, #60a5fa); outline-offset: -1.5px; color: var(--fg-color, var(--input-text)); }
.realign-name { text-align: right; padding-right: 5px; }
.realign-compare button.realign-cell {
  position: relative; width: var(--realign-cell); height: var(--realign-high); padding: 0; border: 0; border-radius: 3px;
  overflow: hidden; background: var(--realign-field); content-visibility: auto; contain-intrinsic-size: var(--realign-cell) var(--realign-high);
}
.realign-cell img { width: 100%; height: 100%; object-fit: contain; display: block; }
.realign-cell.realign-gone img { visibility: hidden; }
.realign-compare button.realign-cell.realign-shown { outline: 2px solid var(--fg-color, #fff); outline-offset: -2px; box-shadow: inset 0 0 0 3px #000a; }
.realign-cell.realign-shown::after {
  content: ""; position: absolute; inset: 0; border: 2px solid var(--fg-color, #fff); border-radius: 3px; box-shadow: inset 0 0 0 1px #0009;
}
.realign-marks, .realign-draft {
  position: absolute; right: 2px; font-size: 11px; line-height: 12px; color: #fff; text-shadow: 0 0 2px #000, 0 0 3px #000, 0 1px 2px #000;
}
.realign-marks { top: 2px; letter-spacing: 1px; }
.realign-draft { bottom: 2px; font-size: 9px; }
.realign-label {
  position: absolute; left: 2px; bottom: 1px; max-width: 100%; overflow: hidden; white-space: nowrap; color: #fff; font-size: 10px;
  line-height: 12px; text-shadow: 0 0 2px #000, 0 0 3px #000, 0 1px 2px #000;
}
.realign-stage {
  position: relative; flex: 1; min-height: 160px; border-radius: 5px; background: var(--realign-field); contain: strict;
  overflow: hidden; outline: none; border: 1px solid transparent; touch-action: none; cursor: default;
}
.realign-stage:focus-visible { border-color: var(--p-primary-color, var(--border-color)); }
.realign-layer { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; }
.realign-wipe { position: absolute; top: 0; bottom: 0; left: 0; width: 1px; background: #fff; box-shadow: 0 0 2px #000; pointer-events: none; }
.realign-caption {
  position: absolute; left: 6px; bottom: 6px; max-width: calc(100% - 12px); box-sizing: border-box; padding: 1px 7px; border-radius: 9px;
  background: #000a; color: #fff; font-size: 12px; line-height: 18px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
  font-variant-numeric: tabular-nums;
}
.realign-caption:empty, .realign-compare .realign-said:empty { display: none; }
.realign-flipped .realign-caption { background: #fffd; color: #000; }
.realign-runs { flex: 1; min-width: 0; text-overflow: ellipsis; }
.realign-switch { display: flex; flex: none; }
.realign-compare .realign-switch button { border-radius: 0; padding: 3px 7px; }
.realign-compare .realign-switch button:first-child { border-radius: 5px 0 0 5px; }
.realign-compare .realign-switch button:last-child { border-radius: 0 5px 5px 0; }
.realign-compare .realign-switch button[aria-pressed="true"] { background: var(--p-primary-color, #2563eb); color: #fff; border-color: transparent; }
.realign-compare button.realign-use { flex: 2 1 0; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-weight: 600; }
.realign-compare button.realign-keep { flex: 1 1 0; min-width: 0; }
.realign-chip { flex: none; white-space: nowrap; }
.realign-loupe {
  position: fixed; inset: 0; z-index: 9000; height: auto; padding: 8px; background: var(--comfy-menu-bg, #171718);
  --realign-field: #0000; --realign-edge: var(--border-color);
}
.realign-loupe .realign-body { gap: 8px; }
.realign-loupe .realign-stage { order: -1; border-radius: 0; }
.realign-loupe .realign-caption { font-size: 14px; line-height: 22px; }
.realign-loupe > .realign-bar, .realign-loupe .realign-body > .realign-bar { max-width: 900px; width: 100%; align-self: center; }
.realign-loupe .realign-said { height: 16px; -webkit-line-clamp: 1; text-align: center; }
body.realign-loupe-open > #vue-app { visibility: hidden; }
.realign-hint {
  position: absolute; inset: 0; display: flex; align-items: center; justify-content: center; text-align: center;
  margin: 0; padding: 12px; color: var(--descrip-text, var(--input-text));
}
.realign-bar { display: flex; align-items: center; gap: 6px; min-width: 0; }
.realign-grow { flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.realign-strong { font-weight: 600; color: var(--fg-color, var(--input-text)); font-variant-numeric: tabular-nums; }
.realign-faint {
  color: var(--descrip-text, var(--input-text)); font-variant-numeric: tabular-nums; white-space: nowrap;
}
.realign-compare button, .realign-compare select, .realign-check button, .realign-plot select {
  font: inherit; color: var(--input-text); background: var(--realign-field); border: 1px solid var(--realign-edge);
  border-radius: 5px; padding: 3px 8px; cursor: pointer;
}
.realign-compare button.realign-main, .realign-check button.realign-main { flex: 1; padding: 5px 8px; }
.realign-compare button:hover:not(:disabled), .realign-check button:hover:not(:disabled), .realign-plot select:hover { border-color: var(--input-text); }
.realign-compare button:disabled, .realign-check button:disabled, .realign-compare button[aria-disabled="true"] { opacity: 0.4; cursor: default; }
.realign-compare button:focus-visible, .realign-check button:focus-visible, .realign-plot select:focus-visible, .realign-compare select:focus-visible {
  outline: 2px solid var(--p-primary-color, #60a5fa); outline-offset: 1px;
}
.realign-compare [hidden], .realign-plot [hidden] { display: none; }
.realign-check { height: 100%; min-height: 230px; padding: 2px; }
.lg-node .realign-check { min-height: 310px; }
.realign-table {
  flex: 1 1 0px; min-height: 160px; overflow: auto; padding: 6px 8px; border-radius: 5px;
  background: var(--realign-field); user-select: text; cursor: text;
}
.realign-table p { margin: 0 0 4px; white-space: pre-wrap; overflow-wrap: anywhere; }
.realign-said {
  height: 32px; overflow: hidden; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2;
  white-space: normal;
}
.widget-markdown[node-type^="Realign"] [aria-label="$$node-text-preview"] p { white-space: pre-line; }
`;

export function injectStyles() {
  if (document.getElementById(ID)) return;
  const style = document.createElement("style");
  style.id = ID;
  style.textContent = CSS;
  document.head.append(style);
}

/** An element: tag, class names, attributes, children. */
export function el(tag, classes = "", attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
