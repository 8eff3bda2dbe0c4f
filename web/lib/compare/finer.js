/** Five λ around one of a sweep's: two rounds of it find λ to an eighth of the first distance. */

const LIMITS = [-10, 10]; // of λ in a sweep
const rounded = (value) => Number(value.toFixed(6));

/**
 * The λ of the finer sweep: the chosen one, and two on each side at half the distance to the neighbour there. At an end
 * the other side's distance serves, but not across 0, the reference: then all are on the one side, at a quarter.
 *
 * lambdas: of the sweep's columns, each once. Returns [] where there is no neighbour.
 */
export function finerValues(lambdas, column) {
  const chosen = lambdas[column];
  const below = Math.max(...lambdas.filter((one) => one < chosen));
  const above = Math.min(...lambdas.filter((one) => one > chosen));
  const [down, up] = [chosen - below, above - chosen].map((far) => (Number.isFinite(far) ? far : null));
  if (down == null && up == null) return [];
  const steps = (far, sign) => [far / 2, far].map((step) => chosen + sign * step);
  const quarter = (far, sign) => [1, 2, 3, 4].map((part) => chosen + (sign * far * part) / 4);
  const allowed = (values) => values.every((one) => one >= LIMITS[0] && one <= LIMITS[1] && (chosen < 0 ? one <= 0 : one >= 0));
  const lower = down == null && !allowed(steps(up, -1)) ? null : steps(down ?? up, -1);
  const upper = up == null && !allowed(steps(down, 1)) ? null : steps(up ?? down, 1);
  const around = lower && upper ? [...lower, ...upper] : lower ? quarter(down, -1) : quarter(up, 1);
  return [...around, chosen].map(rounded).sort((a, b) => a - b);
}
