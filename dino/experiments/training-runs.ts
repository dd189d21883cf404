/** Series of trainings that differ in some settings, each in its own folder like any other run. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Device } from "../../engine/index.js";
import { flagOf } from "../config/flags.js";
import { differenceBetween, fitWarmups } from "../config/resolve.js";
import type { Config, SettingName } from "../config/settings.js";
import type { Splits } from "../images/split.js";
import { readConfig } from "../run/config-file.js";
import { type Log, readLog } from "../run/log.js";
import { lengthOf } from "../training/schedule.js";
import { trainWithProgress } from "../training/supervised.js";
import { stepsDone } from "../weights/checkpoint.js";

/** A training to run. */
export interface TrainingRun {
  /** Name of its folder. */
  readonly name: string;
  /** `out` is the folder's path. */
  readonly config: Config;
}

/** A finished training, run now or before. */
export interface FinishedRun extends TrainingRun {
  readonly checkpoint: string;
  readonly log: Log;
}

export interface RunAllOptions {
  readonly device: Device;
  readonly splits: Splits;
  readonly runs: readonly TrainingRun[];
  /** Repeats runs that already exist. */
  readonly overwrite: boolean;
  /** Reports the next run. */
  readonly log: (line: string) => void;
}

/**
 * Runs trainings one after another. Takes finished runs of an earlier call as they are and continues unfinished ones,
 * so that a series can be stopped and restarted. Throws, before any training, if a folder holds a run with other
 * settings.
 */
export async function runAll({ device, splits, runs, overwrite, log }: RunAllOptions): Promise<readonly FinishedRun[]> {
  const images = splits.train.indices.length;
  const states = await Promise.all(runs.map(async (run) => (overwrite ? "missing" : await stateOf(run, images))));
  const finished: FinishedRun[] = [];
  for (const [i, run] of runs.entries()) {
    const { name, config } = run;
    const state = states[i]!;
    const checkpoint = join(config.out, "checkpoint.safetensors");
    log(`${i + 1} of ${runs.length}   ${name}${state === "finished" ? "   (already exists)" : ""}`);
    if (state !== "finished") {
      await trainWithProgress({
        device,
        config,
        splits,
        explicit: new Set(),
        resume: state === "begun",
        resumeCommand: "the same command",
      });
    }
    finished.push({ ...run, checkpoint, log: await readLog(join(config.out, "log.jsonl")) });
  }
  return finished;
}

/** Settings that may differ between a run and its existing folder, because they change no number. */
const IRRELEVANT: ReadonlySet<SettingName> = new Set(["out", "threads", "preset"]);

async function stateOf(run: TrainingRun, images: number): Promise<"missing" | "begun" | "finished"> {
  const { out } = run.config;
  const path = join(out, "config.json");
  const checkpoint = join(out, "checkpoint.safetensors");
  if (!existsSync(path) || !existsSync(checkpoint)) return "missing";
  const existing = await readConfig(out);
  const { iterationsPerEpoch, steps } = lengthOf(run.config, images);
  const { config } = fitWarmups(run.config, { iterationsPerEpoch, explicit: new Set() });
  const name = differenceBetween(config, existing, IRRELEVANT);
  if (name !== undefined) {
    const [wanted, has] = [JSON.stringify(config[name]), JSON.stringify(existing[name])];
    throw new Error(
      `${out} holds a run with ${flagOf(name)} ${has}, not ${wanted}; --overwrite replaces it, or use another --out`,
    );
  }
  return (await stepsDone(checkpoint)) === steps ? "finished" : "begun";
}
