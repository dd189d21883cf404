/** What commands print: results on stdout, what went wrong on stderr. */
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFileAtomically } from "../files/files.js";
import type { DecodeFailure } from "../images/image-location.js";
import { type Picture } from "../pictures/drawing.js";
import { encodePng } from "../pictures/png.js";

/** A message of any library on one line, and nothing in it that a terminal obeys: files and their names may hold anything. */
export function oneLine(message: string): string {
  return message
    .replace(/^error: /, "")
    .trim()
    .replace(/\s*\n\s*/g, " ")
    .replaceAll(/\p{Cc}/gu, "?");
}

/** Names what could not be decoded, on stderr. */
export function reportFailures(failures: readonly DecodeFailure[]): void {
  for (const { path, reason } of failures.slice(0, 10))
    process.stderr.write(`skipped ${oneLine(path)}: ${oneLine(reason)}\n`);
  if (failures.length > 10) process.stderr.write(`skipped ${failures.length - 10} more\n`);
}

export function print(...lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

/** On stderr, where stdout is for JSON alone. */
export function printToStderr(...lines: readonly string[]): void {
  process.stderr.write(lines.map((line) => `${line}\n`).join(""));
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, 2));
}

/** Writes a picture as a PNG file, into a folder that is made if it is missing. */
export async function writePicture(path: string, picture: Picture): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomically(path, encodePng(picture));
}

/** Whether two paths lead to one file that is there. */
export async function isSameFile(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([a, b].map((path) => stat(path).catch(() => undefined)));
  return first !== undefined && second !== undefined && first.dev === second.dev && first.ino === second.ino;
}
