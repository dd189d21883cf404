/** What commands print: results on stdout, what went wrong on stderr. */
import type { DecodeFailure } from "../images.js";

/** A message of any library on one line. */
export function oneLine(message: string): string {
  return message
    .replace(/^error: /, "")
    .trim()
    .replace(/\s*\n\s*/g, " ");
}

/** Names what could not be decoded, on stderr. */
export function reportFailures(failures: readonly DecodeFailure[]): void {
  for (const { path, reason } of failures.slice(0, 10)) process.stderr.write(`skipped ${path}: ${oneLine(reason)}\n`);
  if (failures.length > 10) process.stderr.write(`skipped ${failures.length - 10} more\n`);
}

export function print(...lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

/** On stderr, where stdout is for JSON alone. */
export function printAside(...lines: readonly string[]): void {
  process.stderr.write(lines.map((line) => `${line}\n`).join(""));
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, 2));
}
