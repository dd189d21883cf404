/** Colours of points: of names, of numbers and of similarities. */
import type { Column } from "../../explorer/api.js";

export type Rgb = readonly [number, number, number];

/** Colours that can be told apart on light and dark ground; more names take turns around the colour circle. */
const NAMED: readonly Rgb[] = [
  [31, 119, 214],
  [235, 117, 25],
  [38, 160, 78],
  [214, 57, 72],
  [142, 98, 214],
  [168, 110, 82],
  [224, 96, 176],
  [150, 158, 32],
  [23, 170, 190],
  [122, 130, 142],
];
/** What has no value. */
const NONE: Rgb = [140, 146, 156];

/** Viridis at five places: https://bids.github.io/colormap/ */
const RAMP: readonly Rgb[] = [
  [68, 1, 84],
  [59, 82, 139],
  [33, 145, 140],
  [94, 201, 98],
  [253, 231, 37],
];

export function nameColor(index: number): Rgb {
  if (index < 0) return NONE;
  const named = NAMED[index];
  if (named) return named;
  const hue = (index * 137.508) % 360;
  const channel = (n: number) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (0.52 - 0.3 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}

/** Returns a colour of the ramp, for 0 to 1. */
export function rampColor(share: number): Rgb {
  const at = Math.min(0.9999, Math.max(0, share)) * (RAMP.length - 1);
  const low = RAMP[Math.floor(at)]!;
  const high = RAMP[Math.floor(at) + 1]!;
  return [0, 1, 2].map((i) => Math.round(low[i]! + (at % 1) * (high[i]! - low[i]!))) as unknown as Rgb;
}

export function cssColor([r, g, b]: Rgb): string {
  return `rgb(${r} ${g} ${b})`;
}

/** A name of a legend. */
export interface NameEntry {
  readonly name: string;
  readonly color: Rgb;
  readonly count: number;
  /** Returns the rows that have it. */
  readonly rows: () => readonly number[];
}

/** The ends of a ramp, and the rows that have a number. */
export interface NumberLegend {
  readonly kind: "numbers";
  readonly low: string;
  readonly high: string;
  /** The highest number first; ties go to the earlier row. */
  readonly ranked: readonly number[];
  readonly textOf: (row: number) => string;
}

/** What points are coloured by, ready to be drawn and explained. */
export interface Coloring {
  readonly colorOf: (row: number) => Rgb;
  /** What a row has, as text. */
  readonly textOf: (row: number) => string | undefined;
  readonly legend:
    | { readonly kind: "none" }
    | { readonly kind: "names"; readonly entries: readonly NameEntry[] }
    | { readonly kind: "range"; readonly low: string; readonly high: string }
    | NumberLegend;
}

/** Colours all points alike. */
export const plain: Coloring = { colorOf: () => NAMED[0]!, textOf: () => undefined, legend: { kind: "none" } };

export function coloringBy(column: Column): Coloring {
  if (column.kind === "names") {
    const { names, codes } = column;
    const counts = new Array<number>(names.length).fill(0);
    for (const code of codes) if (code >= 0) counts[code]!++;
    const rowsOf = (wanted: number) => () => [...codes.keys()].filter((row) => Math.max(codes[row]!, -1) === wanted);
    const entries: NameEntry[] = names.map((name, i) => ({
      ...{ name, color: nameColor(i), count: counts[i]!, rows: rowsOf(i) },
    }));
    const without = codes.reduce((sum, code) => sum + (code < 0 ? 1 : 0), 0);
    if (without > 0) entries.push({ name: "none", color: NONE, count: without, rows: rowsOf(-1) });
    return {
      colorOf: (row) => nameColor(codes[row]!),
      textOf: (row) => names[codes[row]!],
      legend: { kind: "names", entries },
    };
  }
  const { numbers } = column;
  const coloring = ramp((row) => numbers[row] ?? undefined, numbers.length);
  const ranked = [...numbers.keys()].filter((row) => numbers[row] !== null).sort((a, b) => numbers[b]! - numbers[a]!);
  const textOf = (row: number) => String(numbers[row]);
  return { ...coloring, legend: { ...coloring.legend, kind: "numbers", ranked, textOf } };
}

/** Colours by the similarity to one image. */
export function coloringBySimilarity(similarities: Float32Array): Coloring {
  return ramp((row) => similarities[row], similarities.length);
}

function ramp(valueOf: (row: number) => number | undefined, rows: number) {
  let [low, high] = [Infinity, -Infinity];
  for (let row = 0; row < rows; row++) {
    const value = valueOf(row);
    if (value === undefined) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const span = high - low || 1;
  const format = (value: number) => String(Number(value.toPrecision(3)));
  return {
    colorOf: (row: number) => {
      const value = valueOf(row);
      return value === undefined ? NONE : rampColor((value - low) / span);
    },
    textOf: (row: number) => {
      const value = valueOf(row);
      return value === undefined ? undefined : format(value);
    },
    legend: { kind: "range", low: format(low), high: format(high) } as const,
  };
}
