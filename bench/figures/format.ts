/** Formats a number with three digits, without an exponent. */
export const figure = (value: number): string =>
  value >= 999.5 || value < 0.01 ? value.toFixed(value < 1 ? 4 : 0) : value.toPrecision(3);

/** Formats a fraction 0..1 in percent. */
export const percent = (part: number): string => `${(100 * part).toFixed(0)} %`;
