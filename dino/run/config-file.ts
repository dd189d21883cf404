/** config.json of a run. */
import { readFile } from "node:fs/promises";
import { parseConfig } from "../config/resolve.js";
import type { Config } from "../config/settings.js";
import { runFiles } from "./run-folder.js";

/** The settings of the run in a folder. Throws, naming the file, where there are none. */
export async function readConfig(out: string): Promise<Config> {
  const path = runFiles(out).config;
  try {
    return parseConfig(await readFile(path, "utf8"));
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}
