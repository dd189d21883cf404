/** Learning curves, and the file in which they are kept, so that what was trained once is not trained again. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { type Config, type SettingName, settingNames } from "../../dino/config/settings.js";
import { writeJson } from "../../dino/files/files.js";
import type { Origin } from "../figures/origin.js";

/** [step, k-NN top-1 of the teacher on the held-out images, in percent] */
export type Point = readonly [number, number];

/** What one training came to. */
export interface LearningCurve {
  readonly seed: number;
  readonly points: readonly Point[];
  /** Without evaluations. */
  readonly stepsPerSecond: number;
  /** Of the last step. */
  readonly loss: number;
  readonly device: string;
}

/** Who learns: ours; the official code; the official code from our start values, on our crops, or both. */
export const learners = ["ours", "official", "official+start", "official+crops", "official+start+crops"] as const;
export type Learner = (typeof learners)[number];

/** The curves of a recipe, by learner; in the order of the seeds. */
export interface RecipeCurves {
  /** As the command line gave it. */
  readonly recipe: string;
  /** Settings that decide what is learnt. */
  readonly settings: { readonly [Name in SettingName]?: Config[Name] };
  readonly curves: Readonly<Record<string, readonly (LearningCurve & Origin)[]>>;
}

/** `learning-DEVICE.json` */
export interface LearningFile {
  readonly device: string;
  readonly recipes: readonly RecipeCurves[];
}

/** The file's content; one without recipes where there is none yet. */
export async function readLearning(path: string, device: string): Promise<LearningFile> {
  return existsSync(path) ? (JSON.parse(await readFile(path, "utf8")) as LearningFile) : { device, recipes: [] };
}

/** The settings among `names` in the order of the help. */
export function pickSettings(config: Config, names: readonly SettingName[]): RecipeCurves["settings"] {
  return Object.fromEntries(settingNames.filter((name) => names.includes(name)).map((name) => [name, config[name]]));
}

/** The curves kept of a recipe with the same settings; none otherwise. */
export function savedCurves(file: LearningFile, { recipe, settings }: Omit<RecipeCurves, "curves">): RecipeCurves {
  const kept = file.recipes.find((each) => each.recipe === recipe);
  const isSame = kept && JSON.stringify(kept.settings) === JSON.stringify(settings);
  return isSame ? kept : { recipe, settings, curves: {} };
}

/** The curve of a seed if it was measured after the same steps. */
export function curveOf(
  { curves }: RecipeCurves,
  { learner, seed, at }: { readonly learner: Learner; readonly seed: number; readonly at: readonly number[] },
): (LearningCurve & Origin) | undefined {
  const found = curves[learner]?.find((curve) => curve.seed === seed);
  return String(found?.points.map(([step]) => step)) === String(at) ? found : undefined;
}

/** The curves of a recipe with one more, in the place of an earlier one of its seed. */
export function withCurve(recipe: RecipeCurves, learner: Learner, curve: LearningCurve & Origin): RecipeCurves {
  const others = (recipe.curves[learner] ?? []).filter(({ seed }) => seed !== curve.seed);
  const all = [...others, curve].sort((a, b) => a.seed - b.seed);
  return { ...recipe, curves: { ...recipe.curves, [learner]: all } };
}

/** Writes the file with a recipe's curves, in the place of earlier ones of its name. */
export async function saveCurves(path: string, file: LearningFile, recipe: RecipeCurves): Promise<LearningFile> {
  const place = file.recipes.findIndex((each) => each.recipe === recipe.recipe);
  const recipes = place < 0 ? [...file.recipes, recipe] : file.recipes.with(place, recipe);
  const now = { ...file, recipes };
  await writeJson(path, now);
  return now;
}
