/** Comparison of learning curves: trains our code and the official code on the same images with the same settings. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { flagOf, parseSetting } from "../../dino/config/flags.js";
import { fitWarmups, formatConfig, resolveConfig } from "../../dino/config/resolve.js";
import { type Config, type PartialConfig, settingNames } from "../../dino/config/settings.js";
import { writeFileAtomically } from "../../dino/files/files.js";
import { startProgress } from "../../dino/files/progress.js";
import { openSplits } from "../../dino/images/sources/open-splits.js";
import type { Splits } from "../../dino/images/split.js";
import { startValues } from "../../dino/training/init.js";
import { catchSignals } from "../../dino/training/interrupt.js";
import { lengthOf } from "../../dino/training/schedule.js";
import type { Device } from "../../engine/index.js";
import type { Origin } from "../figures/origin.js";
import {
  curveOf,
  saveCurves,
  savedCurves,
  type LearningCurve,
  type LearningFile,
  pickSettings,
  type RecipeCurves,
  withCurve,
} from "./curves.js";
import { checkOfficial, expectSupported, trainOfficial, officialSettings } from "./official.js";
import { trainOurs, stepsAt } from "./ours.js";
import { type Pair, pairOf } from "./report.js";
import { exportCrops, exportImages, exportStart } from "./shared.js";

/** Inputs that the official code can share with ours. */
export const sharedInputs = ["start", "crops"] as const;
export type SharedInput = (typeof sharedInputs)[number];

/** A preset with changed settings: the name of the preset, then any number of SETTING=VALUE. */
export interface Recipe {
  readonly name: string;
  readonly flags: PartialConfig;
}

/** Reads a recipe such as "vit-s16 batch=8 global-crops-scale=0.4,1". Throws for unknown settings of `dino train`. */
export function parseRecipe(text: string): Recipe {
  const [preset = "", ...changes] = text.trim().split(/\s+/);
  const pairs = changes.map((change) => {
    const [flag, value] = change.split("=", 2);
    const setting = settingNames.find((name) => flagOf(name) === `--${flag}`);
    if (setting === undefined || value === undefined)
      throw new Error(`--recipe ${text}: expected PRESET SETTING=VALUE ..., got ${change}`);
    return [setting, parseSetting(setting, [value])] as const;
  });
  const flags: PartialConfig = Object.fromEntries([["preset", parseSetting("preset", [preset])] as const, ...pairs]);
  return { name: [preset, ...changes].join(" "), flags };
}

/** Options of `compareLearning`. */
export interface LearningOptions {
  readonly device: Device;
  /** Folder of the official code. */
  readonly official: string;
  readonly recipes: readonly Recipe[];
  readonly seeds: readonly number[];
  /** Evaluations at even intervals, besides the one before the first step. */
  readonly evaluations: number;
  readonly lend: readonly SharedInput[];
  /** Results file; by default nothing is saved. */
  readonly file?: string | undefined;
  readonly saved: LearningFile;
  /** Trains again even if a curve is saved. */
  readonly overwrite: boolean;
  readonly origin: () => Origin;
  readonly log: (line: string) => void;
}

/**
 * Trains every recipe with every seed in both codes, except for saved curves, and saves each curve when it is complete. Throws
 * before training if the official code cannot run, or lacks a setting of a recipe.
 */
export async function compareLearning(options: LearningOptions): Promise<readonly Pair[]> {
  const { official, recipes, seeds } = options;
  const known = await officialSettings();
  const resolved = recipes.map(({ name, flags }) => ({ name, config: resolveConfig(flags) }));
  for (const { name, config } of resolved) {
    try {
      expectSupported(config, known);
    } catch (error) {
      throw new Error(`--recipe ${name}: ${(error as Error).message}`, { cause: error });
    }
  }
  options.log(`official code: ${await checkOfficial(official)}; ours: ${options.device.name}`);
  const decisive = [...known.taken, ...(Object.keys(known.fixed) as (keyof Config)[]), "data", "heldOut"] as const;
  const learner = ["official", ...options.lend.toSorted().toReversed()].join("+") as Pair["learner"];
  let file = options.saved;
  const pairs: Pair[] = [];
  using interruption = catchSignals((signal) => options.log(`${signal}: ending; what is done is kept`));
  for (const { name, config: requested } of resolved) {
    const { config, splits } = await openRecipe(requested);
    const { steps } = lengthOf(config, splits.train.indices.length);
    const at = stepsAt(steps, options.evaluations);
    let recipe: RecipeCurves = savedCurves(file, { recipe: name, settings: pickSettings(config, decisive) });
    await using images = await imagesFolder(splits);
    for (const seed of seeds) {
      for (const who of ["ours", learner] as const) {
        const title = `${name}, seed ${seed}, ${who}`;
        const kept = options.overwrite ? undefined : curveOf(recipe, { learner: who, seed, at });
        if (kept) {
          options.log(`${title}: ${describeCurve(kept)} (kept, of commit ${kept.commit})`);
          continue;
        }
        const training = { config: { ...config, seed }, splits, at, title, images, stop: interruption.signal };
        const learnt = await (who === "ours"
          ? runOurTraining(options, training)
          : runOfficialTraining(options, training));
        options.log(`${title}: ${describeCurve(learnt)}`);
        recipe = withCurve(recipe, who, { ...learnt, ...options.origin() });
        if (options.file !== undefined) file = await saveCurves(options.file, file, recipe);
      }
    }
    pairs.push(pairOf(recipe, { learner, seeds }));
  }
  return pairs;
}

interface Training {
  /** Settings, with the seed. */
  readonly config: Config;
  readonly splits: Splits;
  readonly at: readonly number[];
  readonly title: string;
  readonly images: Folder;
  readonly stop: AbortSignal;
}

/** Opens the images of a recipe, and shortens its warm-ups to fit. Throws for images that the official code would use differently. */
async function openRecipe(asked: Config): Promise<{ readonly config: Config; readonly splits: Splits }> {
  const { data, heldOut, seed, maxPixels, batch } = asked;
  const splits = await openSplits(data, { heldOut, seed, maxPixels });
  const { length } = splits.train.indices;
  if (splits.train.images.mixture) throw new Error(`--data ${data}: the official code does not mix images by weights`);
  if (length < batch) throw new Error(`--data ${data}: ${length} images to train on are fewer than --batch ${batch}`);
  const { iterationsPerEpoch } = lengthOf(asked, length);
  return { config: fitWarmups(asked, { iterationsPerEpoch, explicit: new Set() }).config, splits };
}

async function runOurTraining(
  { device, evaluations, log }: LearningOptions,
  training: Training,
): Promise<LearningCurve> {
  const { config, splits, at, title, stop } = training;
  using progress = startProgress({ title, total: at.at(-1)!, unit: "steps" });
  return await trainOurs({
    device,
    config,
    splits,
    evaluations,
    stop,
    onStep: (step, loss) => progress.update(step, `loss ${loss.toFixed(3)}`),
    onWarning: log,
  });
}

async function runOfficialTraining(
  { device, official, lend, log }: LearningOptions,
  training: Training,
): Promise<LearningCurve> {
  const { config, splits, at, title, images, stop } = training;
  await using own = await temporaryFolder();
  const configFile = join(own.path, "config.json");
  await writeFileAtomically(configFile, formatConfig(config));
  const [start, crops] = [join(own.path, "start.safetensors"), join(own.path, "crops.u8")];
  if (lend.includes("start")) await exportStart(config, await startValues(device, config, log), start);
  if (lend.includes("crops")) await exportCrops(config, splits.train, crops);
  using progress = startProgress({ title, total: at.at(-1)!, unit: "steps" });
  return await trainOfficial({
    official,
    configFile,
    images: images.path,
    seed: config.seed,
    at,
    stop,
    start: lend.includes("start") ? start : undefined,
    crops: lend.includes("crops") ? crops : undefined,
    onMeasured: ([step, top1]) => progress.update(step, `k-NN ${top1.toFixed(1)} %`),
  });
}

interface Folder extends AsyncDisposable {
  readonly path: string;
}

async function temporaryFolder(): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), "dino-learning-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

async function imagesFolder(splits: Splits): Promise<Folder> {
  const folder = await temporaryFolder();
  await exportImages(splits, folder.path);
  return folder;
}

function describeCurve({ points, stepsPerSecond, loss }: LearningCurve): string {
  const [first, last] = [points[0]![1], points.at(-1)![1]].map((top1) => top1.toFixed(1));
  return `k-NN ${first} to ${last} %, loss ${loss.toFixed(3)}, ${stepsPerSecond.toFixed(1)} steps/s`;
}
