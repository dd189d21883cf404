import { existsSync, readFileSync, rmSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Choices } from "../core/device.js";
import { cacheFolder } from "./cache-folder.js";

/** Where the choices measured on an adapter are kept: `tuned/ADAPTER.json` in the cache. */
export function tunedPath(adapter: string, cache = cacheFolder()): string {
  const stem = adapter.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  return join(cache, "tuned", `${stem.replace(/^-|-$/g, "")}.json`);
}

/** The choices measured on an adapter; none where it was never tuned. Throws, naming the way out, for a file that is none. */
export function readChoices(path: string): Choices {
  if (!existsSync(path)) return {};
  try {
    const choices: unknown = JSON.parse(readFileSync(path, "utf8"));
    const isRecord = typeof choices === "object" && choices !== null && !Array.isArray(choices);
    if (isRecord && Object.values(choices).every((way) => typeof way === "string")) return choices as Choices;
    throw new Error("expected an object of strings");
  } catch (error) {
    throw new Error(
      `${path}: this is no result of tuning: ${(error as Error).message}; remove it with dino tune --forget`,
      {
        cause: error,
      },
    );
  }
}

/** Keeps choices, in order of their names. */
export async function writeChoices(path: string, choices: Choices): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const sorted = Object.fromEntries(Object.entries(choices).sort(([a], [b]) => (a < b ? -1 : 1)));
  await writeFile(`${path}.new`, `${JSON.stringify(sorted, undefined, 2)}\n`, { flush: true });
  await rename(`${path}.new`, path);
}

/** Forgets them; says whether there were any. */
export function forgetChoices(path: string): boolean {
  const known = existsSync(path);
  rmSync(path, { force: true });
  return known;
}
