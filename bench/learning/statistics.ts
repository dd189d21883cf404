/** Significance of the difference between two samples. */

/** Returns mean and standard deviation (n - 1) of a sample; the deviation of a single value is 0. */
export function meanAndSpread(values: readonly number[]): { readonly mean: number; readonly spread: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, spread: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0 };
}

/** Result of Welch's t-test. */
export interface Welch {
  readonly t: number;
  readonly degrees: number;
  /** Two-sided p-value, 0..1. */
  readonly p: number;
}

/**
 * Runs Welch's t-test of mean(a) - mean(b), which does not assume equal variances; undefined if a sample has fewer than two
 * values, or if both have zero variance. Welch, 1947, https://doi.org/10.1093/biomet/34.1-2.28
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
 * Returns the probability that Student's t with the given degrees of freedom is at least as far from 0 as `t`. With t = sqrt(n) tan(angle) its
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

/** Intervals of the midpoint rule, for five digits. */
const STRIPS = 10_000;
