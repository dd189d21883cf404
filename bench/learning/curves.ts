/** Learning curves, and the file that saves them, so that no training is repeated. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { type Config, type SettingName, settingNames } from "../../dino/config/settings.js";
import { writeJson } from "../../dino/files/files.js";
import type { Origin } from "../figures/origin.js";

/** [step, k-NN top-1 of the teacher on the held-out images, in percent] */
export type Point = readonly [number, number];

/** Result of one training. */
export interface LearningCurve {
  readonly seed: number;
  readonly points: readonly Point[];
  /** Speed without evaluations. */
  readonly stepsPerSecond: number;
  /** Loss of the last step. */
  readonly loss: number;
  readonly device: string;
}

/** Learners: ours; the official code; the official code with our initial values, our crops, or both. */
export const learners = ["ours", "official", "official+start", "official+crops", "official+start+crops"] as const;
export type Learner = (typeof learners)[number];

/** Curves of a recipe, by learner, in order of the seeds. */
export interface RecipeCurves {
  /** Name, as given on the command line. */
  readonly recipe: string;
  /** Settings that affect learning. */
  readonly settings: { readonly [Name in SettingName]?: Config[Name] };
  readonly curves: Readonly<Record<string, readonly (LearningCurve & Origin)[]>>;
}

/** Contents of `learning-DEVICE.json`. */
export interface LearningFile {
  readonly device: string;
  readonly recipes: readonly RecipeCurves[];
}

/** Reads a results file; without recipes if there is none yet. */
export async function readLearning(path: string, device: string): Promise<LearningFile> {
  return existsSync(path) ? (JSON.parse(await readFile(path, "utf8")) as LearningFile) : { device, recipes: [] };
}

/** Picks the settings in `names`, in the order of the help. */
export function pickSettings(config: Config, names: readonly SettingName[]): RecipeCurves["settings"] {
  return Object.fromEntries(settingNames.filter((name) => names.includes(name)).map((name) => [name, config[name]]));
}

/** Returns the saved curves of a recipe; none if its settings have changed. */
export function savedCurves(file: LearningFile, { recipe, settings }: Omit<RecipeCurves, "curves">): RecipeCurves {
  const kept = file.recipes.find((each) => each.recipe === recipe);
  const isSame = kept && JSON.stringify(kept.settings) === JSON.stringify(settings);
  return isSame ? kept : { recipe, settings, curves: {} };
}

/** Returns the curve of a seed, if it was evaluated after the same steps. */
export function curveOf(
  { curves }: RecipeCurves,
  { learner, seed, at }: { readonly learner: Learner; readonly seed: number; readonly at: readonly number[] },
): (LearningCurve & Origin) | undefined {
  const found = curves[learner]?.find((curve) => curve.seed === seed);
  return String(found?.points.map(([step]) => step)) === String(at) ? found : undefined;
}

/** Adds a curve to a recipe; replaces an earlier one of its seed. */
export function withCurve(recipe: RecipeCurves, learner: Learner, curve: LearningCurve & Origin): RecipeCurves {
  const others = (recipe.curves[learner] ?? []).filter(({ seed }) => seed !== curve.seed);
  const all = [...others, curve].sort((a, b) => a.seed - b.seed);
  return { ...recipe, curves: { ...recipe.curves, [learner]: all } };
}

/** Writes the file with a recipe's curves; replaces earlier ones of the same name. */
export async function saveCurves(path: string, file: LearningFile, recipe: RecipeCurves): Promise<LearningFile> {
  const index = file.recipes.findIndex((each) => each.recipe === recipe.recipe);
  const recipes = index < 0 ? [...file.recipes, recipe] : file.recipes.with(index, recipe);
  const updated = { ...file, recipes };
  await writeJson(path, updated);
  return updated;
}
