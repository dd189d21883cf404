/** Reader of a run's config.json. */
import { readFile } from "node:fs/promises";
import { parseConfig } from "../config/resolve.js";
import type { Config } from "../config/settings.js";
import { runFiles } from "./run-folder.js";

/** Reads the settings of the run in a folder. Throws, naming the file, if they are missing or invalid. */
export async function readConfig(out: string): Promise<Config> {
  const path = runFiles(out).config;
  try {
    return parseConfig(await readFile(path, "utf8"));
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}
