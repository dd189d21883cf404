/** Returns the quantile `q`, 0..1, by the nearest rank; NaN for no values. */
export function quantile(values: readonly number[], q: number): number {
  return values.toSorted((a, b) => a - b)[Math.round(q * (values.length - 1))] ?? NaN;
}
