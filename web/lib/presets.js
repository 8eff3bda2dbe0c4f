/** Ready-made λ curves, 0–1 over the run; the node's `scale` sets their height. */

const STRAIGHT = "linear";
const SMOOTH = "monotone_cubic";

export const PRESETS = {
  "ramp up": [STRAIGHT, [[0, 0], [1, 1]]],
  "ramp down": [STRAIGHT, [[0, 1], [1, 0]]],
  "early half": [SMOOTH, [[0, 1], [0.45, 1], [0.55, 0], [1, 0]]],
  "late half": [SMOOTH, [[0, 0], [0.45, 0], [0.55, 1], [1, 1]]],
  "middle only": [SMOOTH, [[0, 0], [0.25, 0], [0.35, 1], [0.65, 1], [0.75, 0], [1, 0]]],
  bell: [SMOOTH, [[0, 0], [0.2, 0.15], [0.35, 0.65], [0.5, 1], [0.65, 0.65], [0.8, 0.15], [1, 0]]],
  "S-curve": [SMOOTH, [[0, 0], [0.2, 0.05], [0.5, 0.5], [0.8, 0.95], [1, 1]]],
  steps: [
    STRAIGHT,
    [[0, 0], [0.24, 0], [0.26, 0.33], [0.49, 0.33], [0.51, 0.67], [0.74, 0.67], [0.76, 1], [1, 1]],
  ],
};

/** Values for the widgets of a LambdaSchedule node; its own scale stays, unless that is 0. */
export function presetValues(name, scale) {
  const [interpolation, points] = PRESETS[name];
  return {
    shape: "curve",
    curve: { points: points.map((point) => [...point]), interpolation },
    begin: 0,
    stop: 1,
    scale: scale || 1,
    offset: 0,
  };
}
