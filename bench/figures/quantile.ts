/** The value below which a part `q` of the values lies, 0..1, by the nearest rank; NaN where there are none. */
export function quantile(values: readonly number[], q: number): number {
  return values.toSorted((a, b) => a - b)[Math.round(q * (values.length - 1))] ?? NaN;
}
