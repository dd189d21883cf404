/** Trainings that differ in some settings, side by side in one folder, each a run like any other. */
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

/** A training to be made. */
export interface TrainingRun {
  /** Of its folder. */
  readonly name: string;
  /** `out` is the folder's path. */
  readonly config: Config;
}

/** A training that was made, now or before. */
export interface FinishedRun extends TrainingRun {
  readonly checkpoint: string;
  readonly log: Log;
}

export interface RunAllOptions {
  readonly device: Device;
  readonly splits: Splits;
  readonly trials: readonly TrainingRun[];
  /** Trains again what is there already. */
  readonly overwrite: boolean;
  /** Says what comes next. */
  readonly say: (line: string) => void;
}

/**
 * Trains one after the other. What a former call finished is taken as it stands, and what it left unfinished goes on, so that
 * trials survive being stopped. Throws, before anything is trained, where a folder holds a run of other settings.
 */
export async function runAll({
  device,
  splits,
  trials,
  overwrite,
  say,
}: RunAllOptions): Promise<readonly FinishedRun[]> {
  const images = splits.train.indices.length;
  const states = await Promise.all(trials.map(async (trial) => (overwrite ? "missing" : await stateOf(trial, images))));
  const tried: FinishedRun[] = [];
  for (const [i, trial] of trials.entries()) {
    const { name, config } = trial;
    const state = states[i]!;
    const checkpoint = join(config.out, "checkpoint.safetensors");
    say(`${i + 1} of ${trials.length}   ${name}${state === "finished" ? "   (there already)" : ""}`);
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
    tried.push({ ...trial, checkpoint, log: await readLog(join(config.out, "log.jsonl")) });
  }
  return tried;
}

/** What may differ between a trial and the run that is there: nothing that changes a number. */
const free: ReadonlySet<SettingName> = new Set(["out", "threads", "preset"]);

async function stateOf(trial: TrainingRun, images: number): Promise<"missing" | "begun" | "finished"> {
  const { out } = trial.config;
  const path = join(out, "config.json");
  const checkpoint = join(out, "checkpoint.safetensors");
  if (!existsSync(path) || !existsSync(checkpoint)) return "missing";
  const there = await readConfig(out);
  const { iterationsPerEpoch, steps } = lengthOf(trial.config, images);
  const { config } = fitWarmups(trial.config, { iterationsPerEpoch, explicit: new Set() });
  const name = differenceBetween(config, there, free);
  if (name !== undefined) {
    const [wanted, has] = [JSON.stringify(config[name]), JSON.stringify(there[name])];
    throw new Error(
      `${out} holds a run with ${flagOf(name)} ${has}, not ${wanted}; --overwrite replaces it, or name another --out`,
    );
  }
  return (await stepsDone(checkpoint)) === steps ? "finished" : "begun";
}
