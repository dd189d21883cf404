/** Settings as a command line writes them. */
import type { Size } from "../images/pixels.js";
import { type Config, type PartialConfig, type SettingName, settings } from "./settings.js";
import { toBoolean } from "./setting.js";

/** The flag of a setting: patchSize -> --patch-size. */
export function flagOf(name: SettingName): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** The words of a command line behind a flag as a value. Throws, naming the flag, for what it cannot be. */
export function parseSetting<Name extends SettingName>(name: Name, words: readonly string[]): Config[Name] {
  const { parse, schema, expected } = settings[name];
  const parsed = schema.safeParse(parse(words));
  if (!parsed.success)
    throw new Error(
      `${flagOf(name)}: expected ${expected}, got ${words.length === 0 ? "the flag alone" : words.join(" ")}`,
    );
  return parsed.data as Config[Name];
}

/** The official switch `--use-fp16` as a precision. Throws for words that are neither true nor false. */
export function parseUseFp16(words: readonly string[]): Config["precision"] {
  const position = toBoolean(words);
  if (typeof position !== "boolean") throw new Error(`--use-fp16: expected true or false, got ${words.join(" ")}`);
  return position ? "f16" : "f32";
}

/** Settings as a command line writes them. */
export function formatSettings(values: PartialConfig): string {
  return Object.entries(values)
    .map(([name, value]) => `${flagOf(name as SettingName)} ${formatValue(value)}`)
    .join(" ");
}

/** The value of a setting as a command line writes it. */
export function formatValue(value: Config[SettingName]): string {
  if (value === null) return "auto";
  if (typeof value !== "object") return `${value}`;
  if ("rows" in value) return formatSize(value);
  return value.map((entry) => Number(entry.toPrecision(4))).join(" ");
}

/** A size as a command line writes it. */
export function formatSize({ rows, cols }: Size): string {
  return rows === cols ? `${rows}` : `${rows}x${cols}`;
}
