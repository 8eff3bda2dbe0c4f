/** λ Schedule: the live plot, and the presets above it. */

import { anchorAt } from "./beta.js";
import { kindOf, nearestUpstream, settingOf, targets, valueOf, widgetOf, writeWidget, asOneStep } from "./graph.js";
import { addElement, keepUpdated } from "./live.js";
import { drawPlot } from "./plot.js";
import { PRESETS, presetValues } from "./presets.js";
import { COMPLAINTS, complaint, scheduleOf } from "./schedule.js";
import { el } from "./styles.js";
import { words } from "./words.js";

const FIELDS = ["shape", "start", "end", "begin", "stop", "curve", "scale", "offset", "over", "sigma_max", "sigma_min"];
const PASSED_ON = ["REALIGN_LAMBDA", "REALIGN_ANCHOR", "MODEL", "GUIDER", "*"];

const valuesOf = (node) => Object.fromEntries(FIELDS.map((name) => [name, valueOf(node, name)]));

/** The steps of the run that this schedule ends in: of the nearest node behind it that has or gets some. */
export function connectedSteps(node) {
  const seen = new Set([node]);
  let level = [node];
  while (level.length) {
    const next = level.flatMap(followers).filter((one) => !seen.has(one) && seen.add(one));
    for (const one of next) {
      const steps = stepsOf(one);
      if (steps) return steps;
    }
    level = next;
  }
  return null;
}

function followers(node) {
  return (node.outputs ?? []).flatMap((output, slot) =>
    PASSED_ON.includes(output.type) ? targets(node, slot).map((target) => target.node) : [],
  );
}

function stepsOf(node) {
  if (kindOf(node) === "LambdaSchedule") return null;
  if (widgetOf(node, "steps")) return settingOf(node, "steps").widget?.value ?? null;
  const scheduler = nearestUpstream(node, "sigmas", (one) => typeof valueOf(one, "steps") === "number");
  return (scheduler && settingOf(scheduler, "steps").widget?.value) ?? null;
}

export function applyPreset(node, name) {
  const values = presetValues(name, valueOf(node, "scale"));
  asOneStep(() => {
    for (const [field, value] of Object.entries(values)) {
      const widget = widgetOf(node, field);
      if (widget) writeWidget(node, widget, value);
    }
  });
}

function presetMenu(node) {
  const names = ["preset…", ...Object.keys(PRESETS)];
  const menu = el("select", "realign-grow", { "aria-label": words("Preset of the λ curve") });
  menu.append(...names.map((name, i) => el("option", "", { value: i ? name : "" }, words(name))));
  menu.addEventListener("change", () => {
    if (menu.value) applyPreset(node, menu.value);
    menu.value = "";
  });
  menu.addEventListener("keydown", (event) => event.stopPropagation());
  return menu;
}

export function attachSchedule(node) {
  const canvas = el("canvas", "", { role: "img", "aria-label": words("λ over the run") });
  const note = el("span", "realign-faint");
  const bar = el("div", "realign-bar", {}, presetMenu(node), note);
  const box = el("div", "realign-plot", {}, bar, canvas);
  addElement(node, "realign_plot", box, { min: 196, max: 420 });
  node.hideOutputImages = true; // the picture that a run makes of the same plot
  node.onDrawBackground = () => {};
  let drawn = "";
  keepUpdated(node, () => {
    const values = valuesOf(node);
    const connected = connectedSteps(node);
    const bySteps = values.over !== "noise level";
    const steps = connected ?? valueOf(node, "steps");
    const beta = anchorAt(node).beta ?? null;
    const size = [canvas.clientWidth, canvas.clientHeight];
    const theme = getComputedStyle(document.body).getPropertyValue("--comfy-input-bg");
    const now = JSON.stringify([values, steps, connected, beta, size, theme]);
    if (now === drawn) return;
    const schedule = scheduleOf(values);
    const axis = bySteps ? words("step 1 … {steps}", { steps }) : words("log σ, from the first noise level to the last");
    note.textContent = bySteps && connected ? words("{steps} steps, as connected", { steps: connected }) : "";
    const wrong = complaint(schedule);
    const problem = wrong && words(COMPLAINTS[wrong], schedule);
    drawPlot(canvas, schedule, { steps: bySteps ? steps : null, beta, axis, problem });
    if (size[0] && size[1]) drawn = now;
  });
}
