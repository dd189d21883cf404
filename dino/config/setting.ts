/** Definitions of settings: one builder per kind of value. */
import { z } from "zod";
import type { Size } from "../images/pixels.js";
import { presetNames } from "./presets.js";

declare global {
  // Zod's types refer to it; merged with those of Node or a browser where a program has them.
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type
  interface URL {}
}

/** Source of a setting and its default. */
export type SettingOrigin =
  "main_dino.py" | "main_dino.py, fixed there" | "vision_transformer.py" | "dinov2" | "dinov3" | "ours";

/** One setting: default, valid values, and command line syntax. */
export interface Setting<T> {
  readonly default: T;
  /** Unit of the number, or placeholder of the flag's argument: "epochs", "pixels", "0 to 1". */
  readonly unit: string;
  readonly about: string;
  readonly source: SettingOrigin;
  /** Alternative flag: the official name if ours is shorter. */
  readonly alias?: string;
  readonly schema: z.ZodType<T>;
  /** Description of valid values, for messages. */
  readonly expected: string;
  /** Number of command line arguments; 0 for a switch, whose argument is optional. */
  readonly argumentCount: number;
  /** Converts the arguments to a value; invalid values are left to the schema. */
  readonly parse: (args: readonly string[]) => unknown;
}

type About = Pick<Setting<unknown>, "unit" | "about" | "source" | "alias">;

type Range = { readonly from?: number; readonly above?: number; readonly to?: number; readonly below?: number };

export function number(initial: number, limits: Range, about: About): Setting<number> {
  const schema = z.number().refine((value) => isWithin(value, limits));
  return {
    ...about,
    default: initial,
    schema,
    expected: `a number${describeRange(limits)}`,
    argumentCount: 1,
    parse: ([word]) => toNumber(word),
  };
}

export function whole(
  initial: number,
  limits: Range,
  about: About = { unit: "", about: "", source: "ours" },
): Setting<number> {
  const schema = z.number().refine((value) => Number.isSafeInteger(value) && isWithin(value, limits));
  return {
    ...about,
    default: initial,
    schema,
    expected: `a whole number${describeRange(limits)}`,
    argumentCount: 1,
    parse: ([word]) => toNumber(word),
  };
}

export function flag(initial: boolean, about: About): Setting<boolean> {
  return {
    ...about,
    default: initial,
    schema: z.boolean(),
    expected: "true or false",
    argumentCount: 0,
    parse: toBoolean,
  };
}

export function textSetting(initial: string, about: About): Setting<string> {
  return {
    ...about,
    default: initial,
    schema: z.string().min(1),
    expected: `a ${about.unit}`,
    argumentCount: 1,
    parse: ([word]) => word,
  };
}

export function choice<const Name extends string>(
  names: readonly Name[],
  initial: Name,
  about: About = { unit: "", about: "", source: "ours" },
): Setting<Name> {
  const known = (word: string | undefined): string | undefined =>
    names.find((name) => plain(name) === plain(word ?? "")) ?? word;
  return {
    ...about,
    default: initial,
    schema: z.enum(names),
    expected: `one of ${names.join(", ")}`,
    argumentCount: 1,
    parse: ([word]) => known(word),
  };
}

export function size(initial: number, about: About): Setting<Size> {
  const side = z.number().int().min(1);
  return {
    ...about,
    default: { rows: initial, cols: initial },
    schema: z.strictObject({ rows: side, cols: side }),
    expected: "a number of pixels, or ROWSxCOLS",
    argumentCount: 1,
    parse: ([word]) => {
      const [, rows, cols] = /^(\d+)(?:x(\d+))?$/.exec(word ?? "") ?? [];
      return { rows: toNumber(rows), cols: toNumber(cols ?? rows) };
    },
  };
}

export function range(
  initial: readonly [number, number],
  limits: Range,
  about: About,
): Setting<readonly [number, number]> {
  const schema = z
    .tuple([z.number(), z.number()])
    .readonly()
    .refine(([low, high]) => low <= high && isWithin(low, limits) && isWithin(high, limits));
  const expected = `two numbers${describeRange(limits)}, the lower one first`;
  return { ...about, default: initial, schema, expected, argumentCount: 2, parse: toNumbers };
}

/** A number for each channel of an image. */
export function perChannel(initial: readonly number[], limits: Range, about: About): Setting<readonly number[]> {
  return {
    ...about,
    default: initial,
    schema: numbers(limits),
    expected: `a number${describeRange(limits)} for each channel`,
    argumentCount: Infinity,
    parse: toNumbers,
  };
}

/** Names of channels, separated by commas or spaces. */
export function nameList(about: About): Setting<readonly string[]> {
  const name = z.string().regex(/^[^\s,]+$/);
  return {
    ...about,
    default: [],
    schema: z.array(name).min(1).readonly(),
    expected: "a name for each channel, separated by commas",
    argumentCount: Infinity,
    parse: (args) => args.flatMap((word) => word.split(",")),
  };
}

/** The values of black and white: those of the bit depth, measured ones, or numbers, two in all or two for each channel. */
export function valueRange(about: About): Setting<"depth" | "auto" | readonly number[]> {
  const pairs = numbers({}).refine(
    (ends) => ends.length % 2 === 0 && ends.every((end, i) => i % 2 === 0 || end > ends[i - 1]!),
  );
  return {
    ...about,
    default: "depth",
    schema: z.union([z.enum(["depth", "auto"]), pairs]),
    expected: "depth, auto, or two numbers, the lower one first, for all channels or for each",
    argumentCount: Infinity,
    parse: (args) => (args.length === 1 && /^[a-z]/i.test(args[0]!) ? args[0]!.toLowerCase() : toNumbers(args)),
  };
}

function numbers(limits: Range): z.ZodType<readonly number[]> {
  return z
    .array(z.number())
    .min(1)
    .readonly()
    .refine((values) => values.every((value) => isWithin(value, limits)));
}

/** A setting for the name of a preset; `none` is null, which is also the default. */
export function recipe(about: About): Setting<(typeof presetNames)[number] | "auto" | null> {
  const named = choice([...presetNames, "auto"], "auto");
  const optionally = optional(named, about);
  const expected = `${named.expected}, none`;
  return { ...optionally, expected, parse: (args) => (args[0] === "none" ? null : named.parse(args)) };
}

/** A setting that may be null, `auto` on the command line, which is also its default. */
export function optional<T>(setting: Setting<T>, about: About): Setting<T | null> {
  return {
    ...setting,
    ...about,
    default: null,
    schema: setting.schema.nullable(),
    expected: `${setting.expected}, or auto`,
    parse: (args) => (args[0] === "auto" ? null : setting.parse(args)),
  };
}

function isWithin(
  value: number,
  { from = -Infinity, above = -Infinity, to = Infinity, below = Infinity }: Range,
): boolean {
  return Number.isFinite(value) && value >= from && value > above && value <= to && value < below;
}

/** Describes limits in words, to follow "a number". */
function describeRange({ from, above, to, below }: Range): string {
  if (from !== undefined && (to ?? below) !== undefined && to !== Number.MAX_SAFE_INTEGER) {
    return to === undefined ? ` from ${from} to below ${below!}` : ` from ${from} to ${to}`;
  }
  if (above !== undefined) return ` above ${above}${to === undefined ? "" : `, up to ${to}`}`;
  return from === undefined ? "" : ` of ${from} or more`;
}

function toNumber(word: string | undefined): number {
  return word === undefined || word.trim() === "" ? NaN : Number(word);
}

function toNumbers(args: readonly string[]): number[] {
  return args.flatMap((word) => word.split(",")).map(toNumber);
}

export function toBoolean([word]: readonly string[]): unknown {
  if (word === undefined || /^(true|on|1)$/i.test(word)) return true;
  return /^(false|off|0)$/i.test(word) ? false : word;
}

/** Normalizes names, so that dashes and underscores are equivalent. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll("_", "-");
}
