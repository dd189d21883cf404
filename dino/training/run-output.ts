/** Output of a run to its folder: settings, logs, checkpoints, pictures. */
import { join } from "node:path";
import type { Device } from "../../engine/index.js";
import { type DeviceNotes, formatConfig } from "../config/resolve.js";
import type { Config } from "../config/settings.js";
import { makeFolder, writeFileAtomically, writeJson } from "../files/files.js";
import type { Splits } from "../images/split.js";
import { encodePng } from "../pictures/png.js";
import { drawRunPictures } from "../pictures/run-pictures.js";
import type { LogLine } from "../run/log.js";
import { pictureKinds, pictureName } from "../run/picture-names.js";
import { removeLatePictures, runFiles } from "../run/run-folder.js";
import { openLog } from "../run/run-log.js";
import type { StepProfile } from "../run/step-profile.js";
import type { Checkpoint } from "../weights/checkpoint-bytes.js";
import { writeCheckpoint } from "../weights/checkpoint.js";
import type { Trainer } from "./trainer.js";

/**
 * Writes the results of a run. All functions throw if the folder is not writable, naming the last complete checkpoint.
 */
export interface RunOutput {
  log(line: LogLine): Promise<void>;
  /** Saves the checkpoint from which a run is resumed; the previous one stays beside it. */
  save(): Promise<void>;
  /** Saves a permanent checkpoint, named by the number of completed epochs. */
  saveNumbered(epochs: number): Promise<void>;
  /** Saves a state for diagnosis, from which no run is resumed; returns its path. */
  dump(state: Checkpoint): Promise<string>;
  draw(): Promise<void>;
  writeProfile(profile: StepProfile): Promise<void>;
}

export interface RunOutputOptions {
  readonly config: Config;
  readonly splits: Splits;
  /** Step of the existing checkpoint. */
  readonly saved: number | undefined;
}

/** Returns an output that writes nothing, for ranks above 0. */
export function noOutput(): RunOutput {
  const nothing = () => Promise.resolve();
  return {
    log: nothing,
    save: nothing,
    saveNumbered: nothing,
    draw: nothing,
    writeProfile: nothing,
    dump: () => Promise.resolve(""),
  };
}

function deviceNotes({ name, kernels, features, tensorCores, faults }: Device): DeviceNotes {
  return { name, kernels, f16: features.has("shader-f16"), tensorCores, faults };
}

/** Truncates the logs and pictures in a run's folder to the steps completed, and writes the settings. */
export async function openRunOutput(
  trainer: Trainer,
  { config, splits, ...there }: RunOutputOptions,
): Promise<RunOutput> {
  const { out } = config;
  const paths = runFiles(out);
  let { saved } = there;
  const describeFailure = (writing: Promise<void>): Promise<void> =>
    writing.catch((error: unknown) => {
      const whole = saved === undefined ? "there is no checkpoint yet" : `the checkpoint of step ${saved} is whole`;
      throw new Error(
        `${out}: expected to write there, but ${(error as Error).message}; ${whole}: see to the disk, then go on with --resume`,
        { cause: error },
      );
    });
  await writeFileAtomically(paths.config, formatConfig(config, deviceNotes(trainer.device)));
  const append = await openLog(config, trainer.done);
  await removeLatePictures(out, trainer.done);
  return {
    log: (line) => describeFailure(append(line)),
    async save() {
      if (saved === trainer.done) return;
      await describeFailure(writeCheckpoint(paths.checkpoint, await trainer.state(), { keep: paths.previous }));
      saved = trainer.done;
    },
    async saveNumbered(epochs) {
      const path = join(out, `checkpoint${String(epochs).padStart(4, "0")}.safetensors`);
      await describeFailure(writeCheckpoint(path, await trainer.state()));
    },
    async dump(state) {
      const path = join(out, `not-finite-${state.step}.safetensors`);
      await describeFailure(writeCheckpoint(path, state));
      return path;
    },
    async draw() {
      const { teacher, done } = trainer;
      const drawn = await drawRunPictures(teacher, done, { config, splits });
      if (drawn === undefined) return;
      await makeFolder(paths.pictures);
      for (const kind of pictureKinds) {
        await describeFailure(
          writeFileAtomically(join(paths.pictures, pictureName(done, kind)), encodePng(drawn[kind])),
        );
      }
    },
    writeProfile: (profile) => describeFailure(writeJson(paths.profile, profile)),
  };
}
