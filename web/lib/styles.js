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
.realign-plot, .realign-compare, .realign-check { display: flex; flex-direction: column; gap: 6px; min-height: 0; }
.realign-plot { height: 100%; min-height: 172px; padding: 2px; }
.realign-plot canvas { flex: 1 1 0px; min-height: 120px; height: 0; width: 100%; border-radius: 5px;
  background: var(--realign-field); }
.realign-compare { height: 100%; min-height: 300px; padding: 2px; outline: none; }
.realign-stage {
  position: relative; flex: 1; min-height: 160px; border-radius: 5px; background: var(--realign-field);
  overflow: hidden; outline: none; border: 1px solid transparent;
}
.realign-stage:focus-visible { border-color: var(--p-primary-color, var(--border-color)); }
.realign-stage img {
  position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; user-select: none;
}
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
.realign-compare input[type="range"] {
  width: 100%; margin: 0; height: 16px; accent-color: var(--p-primary-color, #60a5fa); cursor: pointer;
}
.realign-compare button, .realign-check button, .realign-plot select {
  font: inherit; color: var(--input-text); background: var(--realign-field); border: 1px solid var(--realign-edge);
  border-radius: 5px; padding: 3px 8px; cursor: pointer;
}
.realign-compare button.realign-main, .realign-check button.realign-main { flex: 1; padding: 5px 8px; }
.realign-compare button:hover:not(:disabled), .realign-check button:hover:not(:disabled), .realign-plot select:hover { border-color: var(--input-text); }
.realign-compare button:disabled, .realign-check button:disabled, .realign-compare button[aria-disabled="true"] { opacity: 0.4; cursor: default; }
.realign-compare button:focus-visible, .realign-plot select:focus-visible, .realign-compare input:focus-visible {
  outline: 1px solid var(--p-primary-color, #60a5fa); outline-offset: 1px;
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
