/** From a command line to a run: settles the settings, opens the images, trains with progress on the terminal. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { type Device, DeviceLostError, isCausedBy, OutOfMemoryError } from "../../engine/index.js";
import { chooseAdapter, openDevice } from "../../engine/node.js";
import { shareOf } from "../batches/batch-share.js";
import { type Choice, chooseSettings, settingsOf } from "../auto.js";
import {
  changeableOnResume,
  type Config,
  defaultConfig,
  flagOf,
  formatSettings,
  parseConfig,
  type PartialConfig,
  resolveConfig,
  type SettingName,
} from "../config.js";
import type { Dashboard } from "../dashboard/server.js";
import { gatherFacts } from "../facts.js";
import type { Parts } from "../evaluation/evaluate.js";
import { openParts } from "../evaluation/open-parts.js";
import { startValues } from "./init.js";
import { heedSignals, Interrupted } from "./interrupt.js";
import { checkParts } from "../evaluation/labelled.js";
import { describeKnn } from "../evaluation/online-evaluation.js";
import type { EpochLine, EvaluationLine } from "../run/log.js";
import { adviseOnMemory } from "./memory-advice.js";
import { fromFirst, toFirst } from "../mpi/sharing.js";
import { alone, type World } from "../mpi/world.js";
import { startProgress, takeReports } from "../progress.js";
import { checkpointsIn, filesOf } from "../run/run-folder.js";
import type { TrainOptions } from "./run.js";
import { train, type TrainSummary } from "./train.js";

export interface Start {
  /** What the user set himself. */
  readonly flags: PartialConfig;
  readonly resume: boolean;
  /** Replaces the run that is there. */
  readonly overwrite: boolean;
  /** What to train on, which stays open; an adapter of this machine if left out. */
  readonly device?: Device | undefined;
  /** Which adapter, as `dino doctor` counts them; the best if left out, of several ranks each takes another as far as they go. */
  readonly adapter?: number | undefined;
  /** Who is told how it goes, instead of the terminal. */
  readonly listener?: Listener | undefined;
  /** The ranks that train together, each of which starts with the same flags: this process if left out. */
  readonly world?: World | undefined;
  /** The port to show the run at while it trains, as `dino serve` does; not at all if left out. */
  readonly dashboard?: number | undefined;
}

/** Who is told how a training goes, and may end it. */
export type Listener = Pick<TrainOptions, "onProgress" | "onWarning" | "onEvaluating" | "onEvaluated" | "stop">;

/** A run that has ended, and whether its images have classes to measure it by. */
export interface Finished extends TrainSummary {
  readonly hasClasses: boolean;
  readonly data: string;
  /** With the preset `auto`: what it chose, and why. */
  readonly choices?: readonly Choice[];
}

/** Trains as a command line says. Throws where settings contradict each other, and for a folder that holds another run. */
export async function startTraining(start: Start): Promise<Finished> {
  const { resume, overwrite, device: lent, listener, world = alone() } = start;
  const dashboard = world.rank === 0 ? start.dashboard : undefined;
  const flags = start.dashboard === undefined ? start.flags : { picturesEvery: 1, ...start.flags };
  const out = flags.out ?? defaultConfig.out;
  const isAuto = !resume && flags.preset === "auto";
  const { settled, hasCheckpoint } = await fromFirst(world, async () => {
    const hasCheckpoint = (await checkpointsIn(out)).length > 0;
    if (resume && !existsSync(filesOf(out).config))
      throw new Error(`--resume: ${out} holds no run; leave --resume out to begin one`);
    if (!resume && !overwrite && hasCheckpoint) {
      throw new Error(`--out ${out} already holds a run; --resume continues it, --overwrite replaces it`);
    }
    const continues = async () => continued(await readConfig(out), flags);
    return { settled: isAuto ? null : resume ? await continues() : resolveConfig({ ...flags, out }), hasCheckpoint };
  });
  const say = listener ? (listener.onWarning ?? (() => undefined)) : world.rank === 0 ? sayAside : () => undefined;
  const { data, heldOut, seed, maxPixels } = settled ?? { ...defaultConfig, ...flags };
  const parts = await openParts(data, { heldOut, seed, maxPixels });
  const index = lent ? undefined : (start.adapter ?? (await adapterOf(world)));
  using own = lent ? undefined : await openDevice({ index });
  const device = lent ?? own!;
  await expectAlike(world, { device, parts, say });
  const { config, choices } = await fromFirst(world, async () => {
    const choices = isAuto ? chooseSettings(await gatherFacts(parts.train, device), flags) : [];
    return { config: settled ?? resolveConfig({ ...flags, out }, settingsOf(choices)), choices };
  });
  for (const { settings, because } of choices) say(`${formatSettings(settings)}: ${because}`);
  shareOf(config.batch, config.accumulate, world); // which throws
  checkEvaluations(config, parts);
  checkPrecision(device, config);
  const begins = world.rank === 0 && !(resume && hasCheckpoint);
  const initial = begins ? await startValues(device, config, say) : undefined;
  if (resume && !hasCheckpoint) say(`${out} holds no checkpoint yet: the run begins again at its first step`);
  const given = new Set(Object.keys(start.flags) as SettingName[]);
  const training = {
    ...{ device, config, parts, given, initial, resume: resume && hasCheckpoint, world },
    reopen: () => openDevice({ index }),
  };
  await using shown = dashboard === undefined ? undefined : await showRun(out, dashboard, say);
  if (shown) say(`dashboard at ${shown.address}`);
  const summary = await (listener
    ? train({ ...training, ...listener })
    : world.rank === 0
      ? trainWithProgress(training)
      : trainSilently(training));
  return { ...summary, data, hasClasses: parts.train.images.labels !== undefined, ...(isAuto && { choices }) };
}

/** The adapter of a rank: the ranks of a machine take one after another; undefined where there is no choice. */
async function adapterOf({ size, localRank }: World): Promise<number | undefined> {
  if (size === 1) return undefined;
  const all = await (await chooseAdapter()).list();
  return all.length > 1 ? localRank % all.length : undefined;
}

function sayAside(words: string): void {
  process.stderr.write(`${words}\n`);
}

/** Serves the dashboard of a run; where that cannot be, says why, and the run goes on without. */
async function showRun(out: string, port: number, say: (words: string) => void): Promise<Dashboard | undefined> {
  const { openDashboard, PortTakenError } = await import("../dashboard/server.js");
  const open = (at: number) => openDashboard({ roots: [out], host: "127.0.0.1", port: at, say });
  try {
    return await open(port).catch((error: unknown) => {
      if (!(error instanceof PortTakenError)) throw error;
      say(`--dashboard: port ${port} is taken; taking another`);
      return open(0);
    });
  } catch (error) {
    say(`${(error as Error).message}; training without`);
    return undefined;
  }
}

export interface Training extends Pick<TrainOptions, "visit" | "initial" | "world"> {
  readonly device: Device;
  readonly config: Config;
  readonly parts: Parts;
  /** What the user set himself. */
  readonly given: ReadonlySet<SettingName>;
  readonly resume: boolean;
  /** How a run that was stopped goes on, for people; by `dino train --resume` if left out. */
  readonly goesOn?: string;
  /** Opens a device in the place of one that was lost; the best there is if left out. */
  readonly reopen?: () => Promise<Device>;
}

/**
 * Trains, with loss, rate and time left on stderr. A device that is lost is opened anew, and the run goes on from its last
 * checkpoint. The first Ctrl-C, SIGTERM or SIGHUP ends the run after the step under way: throws Interrupted then, saying how it
 * goes on.
 */
export async function trainWithProgress(training: Training): Promise<TrainSummary> {
  const { config, parts, goesOn = `npx dino train --out ${config.out} --resume` } = training;
  const several = training.world !== undefined && training.world.size > 1; // who all go on together, or none
  let { device, resume } = training;
  const among = several ? `, ${training.world.size} ranks with ${training.world.library}` : "";
  process.stderr.write(`${describeRun(config, parts)}, on ${device.name}${among}\n`);
  let progress: ReturnType<typeof startProgress> | undefined;
  const say = (words: string): void => {
    if (progress === undefined) sayAside(words);
    else progress.say(words);
  };
  using interruption = heedSignals(
    (signal) => say(`${signal}: ending after this step, with a checkpoint; once more ends at once`),
    { isRank: several },
  );
  using beginning = takeReports("k-NN before the first step, images");
  const losses = { inARow: 0, atStep: -1 };
  let reached = 0;
  try {
    for (;;) {
      try {
        const summary = await train({
          ...{ ...training, device, resume },
          stop: interruption.asked,
          onProgress: ({ step, steps, loss, lr, imagesPerSecond }) => {
            reached = step;
            progress ??= startProgress({ title: "training", total: steps, start: step - 1, unit: "steps" });
            progress.update(
              step,
              `loss ${loss.toFixed(3)}, lr ${lr.toExponential(1)}, ${imagesPerSecond.toFixed(0)} images/s`,
            );
          },
          onWarning: say,
          onEvaluating: (looked, images) => {
            const words = `k-NN looks at image ${Math.round(looked)} of ${images}`;
            if (progress) progress.update(reached, words);
            else beginning.report(Math.round(looked), images);
          },
          onEvaluated: (line) => say(describeAccuracies(line)),
        });
        if (summary.done === summary.steps) return summary;
        const { done, steps, checkpoint } = summary;
        const words = `stopped after step ${done} of ${steps}, which ${checkpoint} holds; ${goesOn} goes on`;
        const signal = interruption.asked.aborted ? (interruption.asked.reason as NodeJS.Signals) : "SIGTERM"; // of another rank
        throw new Interrupted(signal, words);
      } catch (error) {
        if (isCausedBy(error, OutOfMemoryError)) {
          throw new Error(`${(error as Error).message}; ${await adviseOnMemory(device, config)}`, { cause: error });
        }
        if (!isCausedBy(error, DeviceLostError) || training.visit || several) throw error;
        losses.inARow = reached > losses.atStep ? 1 : losses.inARow + 1;
        losses.atStep = reached;
        if (losses.inARow > MOST_LOSSES) throw error;
        resume = (await checkpointsIn(config.out)).length > 0;
        say(
          `${(error as Error).message}; going on from ${resume ? "the last checkpoint" : "the first step"} on a new one`,
        );
        if (device !== training.device) device[Symbol.dispose]();
        device = await anotherDevice(training);
      }
    }
  } finally {
    progress?.stop();
    if (device !== training.device) device[Symbol.dispose]();
  }
}

/** Trains as one of several ranks that leave it to the first to say how it goes. Throws Interrupted where that one does. */
async function trainSilently(training: Training): Promise<TrainSummary> {
  using interruption = heedSignals(() => undefined, { isRank: true });
  const summary = await train({ ...training, stop: interruption.asked });
  if (summary.done === summary.steps) return summary;
  const signal = interruption.asked.aborted ? (interruption.asked.reason as NodeJS.Signals) : "SIGTERM";
  throw new Interrupted(signal, `stopped after step ${summary.done} of ${summary.steps}`);
}

/**
 * Throws at rank 0 where ranks do not have the same images. Where their devices are not the same, says that what each of them
 * rounds in its own way parts them, little by little.
 */
async function expectAlike(
  world: World,
  { device, parts, say }: Pick<Training, "device" | "parts"> & { readonly say: (words: string) => void },
): Promise<void> {
  if (world.size === 1) return;
  const { train, test } = parts;
  const counts = [train.images.count, train.indices.length, test.indices.length].join(", ");
  const ranks = await toFirst(world, { counts, device: device.name });
  const others = (name: "counts" | "device") => ranks.findIndex((rank) => rank[name] !== ranks[0]![name]);
  const [counted, computed] = [others("counts"), others("device")];
  if (counted >= 0) {
    throw new Error(
      `--data: rank ${counted} has other images than rank 0 (in all, to train on, held out: ${ranks[counted]!.counts} instead of ` +
        `${counts}); give all ranks the same`,
    );
  }
  if (computed >= 0) {
    say(
      `rank ${computed} computes on ${ranks[computed]!.device}, rank 0 on ${device.name}: where they round otherwise, what they train ` +
        "parts little by little; --verify-ranks 100 watches that",
    );
  }
}

/** A device that is lost so many times in a row at the same step is given up. */
const MOST_LOSSES = 3;

/** A device on the adapter that the lost one was on. Throws where only another adapter is left, which would round otherwise. */
async function anotherDevice({ device: lost, reopen = openDevice }: Training): Promise<Device> {
  const device = await reopen();
  if (device.name === lost.name) return device;
  device[Symbol.dispose]();
  throw new Error(
    `${lost.name}: the device was lost, and in its place there is only ${device.name}, which rounds otherwise; ` +
      "the last checkpoint is intact: go on with --resume once the adapter is back",
  );
}

function describeRun({ steps, epochs, batch }: Config, { train: { indices } }: Parts): string {
  const length = steps === null ? `${epochs} epochs` : `${steps} steps`;
  return `training on ${indices.length} images for ${length} of batch ${batch}`;
}

function describeAccuracies({ step, knn, linear }: EpochLine | EvaluationLine): string {
  const linearly = linear ? [`linear ${linear.top1.toFixed(1)} % of the held-out images right`] : [];
  return `step ${step}: ${[...(knn ? [describeKnn(knn)] : []), ...linearly].join("; ")}`;
}

/** Throws, before anything is trained, where accuracies are asked for and the images have no classes to measure them by. */
export function checkEvaluations({ knnEvery, linearEvery }: Config, parts: Parts): void {
  const { train, test } = parts;
  const check = (flag: string, parts: Parts): void => {
    try {
      checkParts(parts);
    } catch (error) {
      throw new Error(`${flag}: ${(error as Error).message}`, { cause: error });
    }
  };
  if (knnEvery !== null && knnEvery > 0) check("--knn-every", { train, test: test.indices.length > 0 ? test : train });
  if (linearEvery > 0) check("--linear-every", parts);
}

/** Throws, before anything of an earlier run is lost, where the device cannot compute as the settings want. */
export function checkPrecision({ features, name }: Device, { precision }: Config): void {
  if (precision === "f16" && !features.has("shader-f16"))
    throw new Error(
      `--precision f16: ${name} has no f16 (shader-f16); leave --precision at f32, or take another adapter: dino doctor tells which there are`,
    );
}

/** The settings of the run in a folder. Throws, naming the file, where there are none. */
export async function readConfig(out: string): Promise<Config> {
  const path = filesOf(out).config;
  try {
    return parseConfig(await readFile(path, "utf8"));
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** The settings of a run that goes on, with those flags that may differ. Throws for any other flag that does. */
export function continued(config: Config, flags: PartialConfig): Config {
  for (const name of Object.keys(flags) as SettingName[]) {
    if (changeableOnResume.has(name) || JSON.stringify(flags[name]) === JSON.stringify(config[name])) continue;
    throw new Error(
      `--resume: the run has ${flagOf(name)} ${JSON.stringify(config[name])}, the command line ${JSON.stringify(flags[name])}; ` +
        `leave the flag out, or begin a new run in another --out`,
    );
  }
  const length = flags.epochs === undefined ? {} : { steps: null };
  return { ...config, ...length, ...flags };
}
