/** Parses and formats settings as command line flags. */
import type { Size } from "../images/pixels.js";
import { toBoolean } from "./setting.js";
import { type Config, type PartialConfig, type SettingName, settings } from "./settings.js";

/** Returns the flag of a setting: patchSize -> --patch-size. */
export function flagOf(name: SettingName): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Parses the arguments of a flag. Throws, naming the flag, for an invalid value. */
export function parseSetting<Name extends SettingName>(name: Name, words: readonly string[]): Config[Name] {
  const { parse, schema, expected } = settings[name];
  const parsed = schema.safeParse(parse(words));
  if (!parsed.success)
    throw new Error(
      `${flagOf(name)}: expected ${expected}, got ${words.length === 0 ? "the flag alone" : words.join(" ")}`,
    );
  return parsed.data as Config[Name];
}

/** Parses the official flag `--use-fp16` as a precision. Throws unless the argument is true or false. */
export function parseUseFp16(words: readonly string[]): Config["precision"] {
  const position = toBoolean(words);
  if (typeof position !== "boolean") throw new Error(`--use-fp16: expected true or false, got ${words.join(" ")}`);
  return position ? "f16" : "f32";
}

/** Formats settings as command line flags. */
export function formatSettings(values: PartialConfig): string {
  return Object.entries(values)
    .map(([name, value]) => `${flagOf(name as SettingName)} ${formatValue(value)}`)
    .join(" ");
}

/** Formats the value of a setting as on a command line. */
export function formatValue(value: Config[SettingName]): string {
  if (value === null) return "auto";
  if (typeof value !== "object") return `${value}`;
  if ("rows" in value) return formatSize(value);
  return value.map((entry) => (typeof entry === "string" ? entry : Number(entry.toPrecision(4)))).join(" ");
}

/** Formats a size as on a command line. */
export function formatSize({ rows, cols }: Size): string {
  return rows === cols ? `${rows}` : `${rows}x${cols}`;
}
