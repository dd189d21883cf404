/** Prints results on stdout and notes on stderr. */
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { makeFolder, writeFileAtomically } from "../files/files.js";
import type { DecodeFailure } from "../images/image-location.js";
import { type Picture } from "../pictures/drawing.js";
import { encodePng } from "../pictures/png.js";

/** Puts a message on one line, without control characters: file names and file contents may hold anything. */
export function oneLine(message: string): string {
  return message
    .replace(/^error: /, "")
    .trim()
    .replace(/\s*\n\s*/g, " ")
    .replaceAll(/\p{Cc}/gu, "?");
}

/** Lists the images that could not be decoded on stderr, ten at most. */
export function reportFailures(failures: readonly DecodeFailure[]): void {
  for (const { path, reason } of failures.slice(0, 10))
    process.stderr.write(`skipped ${oneLine(path)}: ${oneLine(reason)}\n`);
  if (failures.length > 10) process.stderr.write(`skipped ${failures.length - 10} more\n`);
}

export function print(...lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

/** Prints on stderr, which keeps stdout for results. */
export function printToStderr(...lines: readonly string[]): void {
  process.stderr.write(lines.map((line) => `${line}\n`).join(""));
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, 2));
}

/** Writes a picture as a PNG file and creates its folder if needed. */
export async function writePicture(path: string, picture: Picture): Promise<void> {
  await makeFolder(dirname(path));
  await writeFileAtomically(path, encodePng(picture));
}

/** Whether two paths name the same existing file. */
export async function isSameFile(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([a, b].map((path) => stat(path).catch(() => undefined)));
  return first !== undefined && second !== undefined && first.dev === second.dev && first.ino === second.ino;
}
