/** Starting a training from flags: resolves settings, opens images and device, trains with progress on the terminal. */
import { existsSync } from "node:fs";
import { chooseAdapter, openDevice } from "../../engine/adapters/node.js";
import type { Device } from "../../engine/index.js";
import { checkEqualShards } from "../batches/batch-shard.js";
import { type Choice, chooseSettings, type Facts, settingsOf } from "../config/auto.js";
import { gatherFacts, memoryFor } from "../config/dataset-facts.js";
import { flagOf, formatSettings } from "../config/flags.js";
import { changeableOnResume, resolveConfig } from "../config/resolve.js";
import { type Config, defaultConfig, type PartialConfig, type SettingName } from "../config/settings.js";
import type { StartSettings } from "../config/start-settings.js";
import type { Dashboard } from "../dashboard/server.js";
import { openSplits } from "../images/sources/open-splits.js";
import { broadcast } from "../mpi/sharing.js";
import { singleWorld, type World } from "../mpi/world.js";
import { readConfig } from "../run/config-file.js";
import { checkpointsIn, expectWritable, runFiles } from "../run/run-folder.js";
import { checkBatch, checkCrops, checkEvaluations, checkPrecision, checkRanks } from "./checks.js";
import { settingsOfInit, startValues } from "./init.js";
import { measureSettings } from "./measure-settings.js";
import { fitStep } from "./memory-advice.js";
import type { TrainOptions } from "./run.js";
import { type SupervisedTraining, trainSilently, trainWithProgress } from "./supervised.js";
import { train, type TrainSummary } from "./train.js";

export interface StartOptions {
  /** Settings given by the user. */
  readonly flags: PartialConfig;
  readonly resume: boolean;
  /** Replaces the run in the folder. */
  readonly overwrite: boolean;
  /** Device to train on, which stays open; if left out, an adapter of this machine is opened. */
  readonly device?: Device | undefined;
  /** Index of the adapter in `dino doctor`. If left out, the best one; several ranks use the adapters in turn. */
  readonly adapter?: number | undefined;
  /** Receives the progress, which is otherwise printed. */
  readonly listener?: Listener | undefined;
  /** The ranks of a distributed training, each started with the same flags; a world of one if left out. */
  readonly world?: World | undefined;
  /** The command that goes on with a stopped run, for messages; `dino train --resume` if left out. */
  readonly resumeCommand?: string;
  /** Port of a dashboard to serve during training; none if left out. */
  readonly dashboard?: number | undefined;
}

/** Callbacks of a training, and the signal that stops it. */
export type Listener = Pick<TrainOptions, "onProgress" | "onWarning" | "onEvaluating" | "onEvaluated" | "stop">;

/** The result of a run. */
export interface Finished extends TrainSummary {
  /** Whether the images have classes for evaluation. */
  readonly hasClasses: boolean;
  readonly data: string;
  /** Settings chosen by the presets `auto` and `adapt`, with reasons. */
  readonly choices?: readonly Choice[];
}

/**
 * Trains with the given flags: resolves settings, opens images and device, checks them against each other, and runs.
 * Throws if settings contradict each other, and if the folder holds another run.
 */
export async function startTraining(start: StartOptions): Promise<Finished> {
  const { resume, device: borrowed, listener, world = singleWorld() } = start;
  const log = listener ? (listener.onWarning ?? (() => undefined)) : world.rank === 0 ? print : () => undefined;
  const flags = start.dashboard === undefined ? start.flags : { picturesEvery: 1, ...start.flags };
  const { resolved, startsFrom, hasCheckpoint } = await broadcast(world, () => resolveStart(start, flags));
  const { data, ...reading } = resolved ?? { ...defaultConfig, ...startsFrom?.backbone, ...startsFrom?.view, ...flags };
  const opened = await openSplits(data, reading);
  const index = borrowed ? undefined : (start.adapter ?? (await adapterOf(world)));
  using own = borrowed ? undefined : await openDevice({ index });
  const device = borrowed ?? own!;
  for (const fault of device.faults) log(`${device.name}: ${fault}`);
  await checkRanks(world, { device, splits: opened, onWarning: log });
  const { config, choices } = await broadcast(world, async () => {
    if (resolved && resume) return { config: resolved, choices: [] };
    const measured = await measureSettings(opened.train, flags, startsFrom);
    const { config, choices } = resolved
      ? await fitted(device, resolveConfig(flags, { measured: settingsOf(measured), start: startsFrom }), flags)
      : chosenBy(await gatherFacts(opened.train, device, { ...startsFrom?.view, ...flags }), {
          flags,
          measured,
          startsFrom,
        });
    return { config, choices: [...measured, ...choices] };
  });
  for (const { settings, because } of choices) log(`${formatSettings(settings)}: ${because}`);
  const isRead = config.shortSide === reading.shortSide && config.background === reading.background;
  const splits = isRead ? opened : await openSplits(data, config);
  checkEqualShards(config.batch, config.accumulate, world.size);
  checkBatch(config, splits, world.size);
  checkCrops(config);
  checkEvaluations(config, splits);
  checkPrecision(device, config);
  const continues = resume && hasCheckpoint;
  if (resume && !hasCheckpoint) log(`${config.out} holds no checkpoint yet: the run begins again at its first step`);
  const initial = world.rank === 0 && !continues ? await startValues(device, config, log) : undefined;
  const explicit = new Set(Object.keys(start.flags) as SettingName[]);
  const reopen = () => openDevice({ index });
  const { resumeCommand } = start;
  const training = {
    ...{ device, config, splits, explicit, initial, resume: continues, world, reopen },
    ...(resumeCommand !== undefined && { resumeCommand }),
  };
  await using dashboard = world.rank === 0 ? await showRun(config.out, start.dashboard, log) : undefined;
  if (dashboard) log(`dashboard at ${dashboard.address}`);
  const summary = await runTraining(training, listener);
  return {
    ...summary,
    data,
    hasClasses: splits.train.images.labels !== undefined,
    ...(choices.length > 0 && { choices }),
  };
}

/**
 * Resolves the settings of a new run, or of the run in the folder; null where the preset `auto` chooses them once images and
 * device are open. Throws where the folder holds no run to resume, or one that is not to be replaced.
 */
async function resolveStart(
  { resume, overwrite }: StartOptions,
  flags: PartialConfig,
): Promise<{
  readonly resolved: Config | null;
  readonly startsFrom?: StartSettings | undefined;
  readonly hasCheckpoint: boolean;
}> {
  const out = flags.out ?? defaultConfig.out;
  const hasCheckpoint = (await checkpointsIn(out)).length > 0;
  if (resume) {
    if (!existsSync(runFiles(out).config))
      throw new Error(`--resume: ${out} holds no run; leave --resume out to begin one`);
    await expectWritable(out);
    return { resolved: continued(await readConfig(out), flags), hasCheckpoint };
  }
  if (!overwrite && hasCheckpoint) {
    throw new Error(`--out ${out} already holds a run; --resume continues it, --overwrite replaces it`);
  }
  await expectWritable(out);
  const startsFrom = await settingsOfInit(flags);
  const resolved = flags.preset === "auto" ? null : resolveConfig(flags, { start: startsFrom });
  return { resolved, startsFrom, hasCheckpoint };
}

/** Chooses settings by the preset `auto`. */
function chosenBy(
  facts: Facts,
  {
    flags,
    measured,
    startsFrom,
  }: {
    readonly flags: PartialConfig;
    readonly measured: readonly Choice[];
    readonly startsFrom: StartSettings | undefined;
  },
): { readonly config: Config; readonly choices: readonly Choice[] } {
  const given = { ...startsFrom?.view, ...startsFrom?.backbone, ...settingsOf(measured), ...flags };
  const choices = chooseSettings(facts, given);
  const derived = { chosen: settingsOf(choices), start: startsFrom, measured: settingsOf(measured) };
  return { config: resolveConfig(flags, derived), choices };
}

/** Makes a step of the preset `adapt` fit into memory, since its network is given. */
async function fitted(
  device: Device,
  config: Config,
  explicit: PartialConfig,
): Promise<{ readonly config: Config; readonly choices: readonly Choice[] }> {
  const choice =
    config.preset === "adapt" ? await fitStep(device, config, { bytes: memoryFor(device), explicit }) : undefined;
  return choice ? { config: { ...config, ...choice.settings }, choices: [choice] } : { config, choices: [] };
}

function runTraining(
  training: SupervisedTraining & { readonly world: World },
  listener: Listener | undefined,
): Promise<TrainSummary> {
  if (listener) return train({ ...training, ...listener });
  return training.world.rank === 0 ? trainWithProgress(training) : trainSilently(training);
}

/** Chooses the adapter of a rank, in turn; undefined if there is no choice. */
async function adapterOf({ size, localRank }: World): Promise<number | undefined> {
  if (size === 1) return undefined;
  const all = await (await chooseAdapter()).list();
  return all.length > 1 ? localRank % all.length : undefined;
}

function print(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Serves the dashboard of a run. If that fails, reports why, and the run continues without it. */
async function showRun(
  out: string,
  port: number | undefined,
  log: (line: string) => void,
): Promise<Dashboard | undefined> {
  if (port === undefined) return undefined;
  const { openDashboard, PortTakenError } = await import("../dashboard/server.js");
  const open = (candidate: number) => openDashboard({ roots: [out], host: "127.0.0.1", port: candidate, log });
  try {
    return await open(port).catch((error: unknown) => {
      if (!(error instanceof PortTakenError)) throw error;
      log(`--dashboard: port ${port} is taken; taking another`);
      return open(0);
    });
  } catch (error) {
    log(`${(error as Error).message}; training without`);
    return undefined;
  }
}

/** Returns the settings of a resumed run, updated by flags that may change. Throws for a flag that may not. */
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
