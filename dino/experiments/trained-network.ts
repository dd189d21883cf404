/** A network for a folder of images: that of a finished run on them, or a new one. */
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Device } from "../../engine/index.js";
import type { Config, PartialConfig } from "../config/settings.js";
import { findRuns } from "../dashboard/runs.js";
import { isBuiltin } from "../images/builtin.js";
import { readConfig } from "../run/config-file.js";
import { readLog } from "../run/log.js";
import { checkpointsIn, runFiles } from "../run/run-folder.js";
import { startTraining } from "../training/start.js";

export interface NetworkOptions {
  readonly data: string;
  /** Folders that runs are searched in. */
  readonly roots: readonly string[];
  /** Settings of a new run in place of those that the preset would choose. */
  readonly settings?: PartialConfig;
  /** The folder of a new run, which goes on if it was stopped. */
  readonly out: string;
  readonly device: Device;
  readonly log: (line: string) => void;
}

/**
 * Returns the checkpoint of the newest finished run on the images; trains one by the preset `auto` if there is none. Ctrl-C keeps
 * what is trained, and the next call goes on.
 */
export async function trainedNetwork({ data, settings, roots, out, device, log }: NetworkOptions): Promise<string> {
  const found = await newestRun(data, [...roots, out]);
  if (found !== undefined) {
    log(`network of ${found}, the newest finished run on ${data}; --checkpoint takes another`);
    return runFiles(found).checkpoint;
  }
  const resume = (await checkpointsIn(out)).length > 0;
  log(
    resume
      ? `going on with the training in ${out}; Ctrl-C stops it, and the same command goes on`
      : `no finished run on ${data} in ${roots.join(", ")}: training one in ${out} by --preset auto, with the time left below; ` +
          "Ctrl-C stops it, and the same command goes on; --checkpoint takes a trained network instead",
  );
  const flags = resume ? { out } : { data, out, preset: "auto" as const, ...settings };
  const { checkpoint } = await startTraining({
    ...{ flags, resume, device, overwrite: !resume && existsSync(runFiles(out).config) },
    resumeCommand: "the same command",
  });
  return checkpoint;
}

/** Finds the newest finished run on the images; undefined if there is none. */
async function newestRun(data: string, roots: readonly string[]): Promise<string | undefined> {
  let newest: { readonly folder: string; readonly ms: number } | undefined;
  for (const folder of (await findRuns(roots.filter((root) => existsSync(root)))).values()) {
    const { checkpoint } = runFiles(folder);
    if (!existsSync(checkpoint)) continue;
    const config = await readConfig(folder).catch(() => undefined);
    if (config === undefined || !isSameData(config.data, data) || !(await isFinished(folder, config))) continue;
    const { mtimeMs: ms } = await stat(checkpoint);
    if (newest === undefined || ms > newest.ms) newest = { folder, ms };
  }
  return newest?.folder;
}

function isSameData(a: string, b: string): boolean {
  return a === b || (!isBuiltin(a) && !isBuiltin(b) && resolve(a) === resolve(b));
}

/** Whether the log of a run holds its last step or the end of its last epoch. */
async function isFinished(folder: string, { steps, epochs }: Config): Promise<boolean> {
  const log = await readLog(runFiles(folder).log).catch(() => undefined);
  const last = log?.epochs.at(-1);
  if (last === undefined) return false;
  return steps === null ? last.epoch + 1 >= epochs : last.step >= steps;
}

/** The folder of the run that `dino explore` trains, within its results. */
export function runWithin(folder: string): string {
  return join(folder, "run");
}
