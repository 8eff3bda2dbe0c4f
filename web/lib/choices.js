/** Lists of this pack's nodes in the page's language, by the page's own means: labels for values that stay as they are. */

import * as tables from "./choice_words.js";
import { translation } from "./words.js";

export function attachChoices(node) {
  for (const widget of node.widgets ?? []) {
    if (widget.type !== "combo" || !Array.isArray(widget.options?.values)) continue;
    const key = (value) => `${widget.name} ${value}`;
    if (!widget.options.values.some((value) => translation(tables, key(value)))) continue; // the host's lists, and files
    widget.options.getOptionLabel = (value) => translation(tables, key(value)) ?? value ?? "";
  }
}
