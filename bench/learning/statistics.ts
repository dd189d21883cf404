/** Whether two samples differ by more than chance. */

/** Mean and standard deviation of a sample, by n - 1; the latter is 0 for a single value. */
export function meanAndSpread(values: readonly number[]): { readonly mean: number; readonly spread: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, spread: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0 };
}

export interface Welch {
  readonly t: number;
  readonly degrees: number;
  /** Probability of a difference at least so large between samples of one mean, 0..1, two-sided. */
  readonly p: number;
}

/**
 * Welch's t-test of mean(a) - mean(b), which does not take the two deviations for equal; undefined where a sample has fewer than
 * two values, or where neither varies. Welch, 1947, https://doi.org/10.1093/biomet/34.1-2.28
 */
export function welch(a: readonly number[], b: readonly number[]): Welch | undefined {
  if (a.length < 2 || b.length < 2) return undefined;
  const [first, second] = [meanAndSpread(a), meanAndSpread(b)];
  const [va, vb] = [first.spread ** 2 / a.length, second.spread ** 2 / b.length];
  if (va + vb === 0) return undefined;
  const t = (first.mean - second.mean) / Math.sqrt(va + vb);
  const degrees = (va + vb) ** 2 / (va ** 2 / (a.length - 1) + vb ** 2 / (b.length - 1));
  return { t, degrees, p: tails(t, degrees) };
}

/**
 * Probability that Student's t of so many degrees of freedom lies at least as far from 0 as `t`. With t = sqrt(n) tan(angle) its
 * density is proportional to cos(angle)^(n - 1).
 */
function tails(t: number, degrees: number): number {
  const weight = (from: number, to: number): number => {
    const width = (to - from) / STRIPS;
    let sum = 0;
    for (let i = 0; i < STRIPS; i++) sum += Math.cos(from + (i + 0.5) * width) ** (degrees - 1);
    return sum * width;
  };
  return weight(Math.atan(Math.abs(t) / Math.sqrt(degrees)), Math.PI / 2) / weight(0, Math.PI / 2);
}

/** Strips of the midpoint rule, for five digits. */
const STRIPS = 10_000;
