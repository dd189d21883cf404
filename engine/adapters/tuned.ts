import { existsSync, readFileSync, rmSync } from "node:fs";
import type { Choices } from "../core/device.js";
import { adapterFile, cacheFolder, writeCacheFile } from "./cache-folder.js";

/** Returns the path of the measured choices of an adapter: `tuned/ADAPTER.json` in the cache. */
export function tunedPath(adapter: string, cache = cacheFolder()): string {
  return adapterFile("tuned", adapter, cache);
}

/** Reads the measured choices of an adapter; {} if it was never tuned. Throws, with a remedy, for an invalid file. */
export function readChoices(path: string): Choices {
  if (!existsSync(path)) return {};
  try {
    const choices: unknown = JSON.parse(readFileSync(path, "utf8"));
    const isRecord = typeof choices === "object" && choices !== null && !Array.isArray(choices);
    if (isRecord && Object.values(choices).every((way) => typeof way === "string")) return choices as Choices;
    throw new Error("expected an object of strings");
  } catch (error) {
    throw new Error(`${path}: not a result of tuning: ${(error as Error).message}; remove it with dino tune --forget`, {
      cause: error,
    });
  }
}

/** Writes choices, sorted by name. */
export async function writeChoices(path: string, choices: Choices): Promise<void> {
  const sorted = Object.fromEntries(Object.entries(choices).sort(([a], [b]) => (a < b ? -1 : 1)));
  await writeCacheFile(path, sorted);
}

/** Deletes the choices; returns whether there were any. */
export function forgetChoices(path: string): boolean {
  const known = existsSync(path);
  rmSync(path, { force: true });
  return known;
}
