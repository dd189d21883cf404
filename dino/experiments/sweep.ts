/** Sweeps: trains with several values of some settings and compares the k-NN accuracy. */
import { join } from "node:path";
import type { Device } from "../../engine/index.js";
import { flagOf, parseSetting } from "../config/flags.js";
import { resolveConfig } from "../config/resolve.js";
import { type Config, type PartialConfig, type SettingName, settingNames } from "../config/settings.js";
import { evaluateKnn } from "../evaluation/evaluate.js";
import { writeJson } from "../files/files.js";
import type { Splits } from "../images/split.js";
import { viewOf } from "../model/backbone.js";
import { extractFeatures } from "../model/extract.js";
import { type Panel, type Series, writeChart } from "../pictures/charts.js";
import { loadModel } from "../weights/load-model.js";
import { runAll, type TrainingRun } from "./training-runs.js";

/** A setting and its values. */
export interface Axis {
  readonly setting: SettingName;
  /** Values as on the command line. */
  readonly words: readonly string[];
}

/**
 * Ablations of the paper, with the values it compares: the teacher's momentum (section 5.2), multi-crop (table 8), the
 * number of prototypes (appendix, table 12), the batch size (table 9), the teacher's temperature (appendix, table 11).
 */
export const ablations: Readonly<Record<string, string>> = {
  momentum: "momentum-teacher=0,0.9,0.98,0.996",
  "multi-crop": "local-crops-number=0,2,6,10",
  prototypes: "out-dim=64,256,1024,4096",
  batch: "batch=8,16,32,64",
  temperature: "teacher-temp=0.02,0.04,0.06,0.08",
};

/** Parses `setting=value,value,...` or the name of an ablation. Throws for anything else, and for invalid values. */
export function parseAxis(word: string): Axis {
  const [flag = "", values] = (ablations[word] ?? word).split("=", 2);
  const setting = settingNames.find((name) => flagOf(name) === `--${flag}`);
  if (setting === undefined || values === undefined || values === "") {
    const known = Object.keys(ablations).join(", ");
    throw new Error(`${word}: expected SETTING=VALUE,VALUE,... with a setting of dino train, or one of ${known}`);
  }
  const fixed: readonly SettingName[] = ["data", "out", "preset", "seed", "heldOut"];
  if (fixed.includes(setting)) throw new Error(`${word}: ${flagOf(setting)} is the same for all runs of a sweep`);
  const words = [...new Set(values.split(","))];
  for (const value of words) parseSetting(setting, [value]);
  return { setting, words };
}

/** The results of one combination of values. */
export interface SweepRow {
  readonly name: string;
  /** Values by flag, as on the command line. */
  readonly values: Readonly<Record<string, string>>;
  /** k-NN top-1 on the held-out images for each seed, in percent, and the mean. */
  readonly top1: readonly number[];
  readonly meanTop1: number;
  /** Loss and entropy in the last line of the log, averaged over the seeds. */
  readonly loss: number;
  readonly teacherEntropy: number;
}

export interface Sweep {
  readonly k: number;
  readonly seeds: readonly number[];
  /** In the order of the axes; the baseline first, unless the sweep is a grid. */
  readonly rows: readonly SweepRow[];
  readonly svg: string;
  readonly png: string;
}

export interface SweepOptions {
  readonly device: Device;
  readonly splits: Splits;
  /** Settings of all runs. */
  readonly flags: PartialConfig;
  readonly out: string;
  readonly axes: readonly Axis[];
  readonly seeds: readonly number[];
  /** Trains all combinations of values, instead of varying one axis at a time from the baseline. */
  readonly grid: boolean;
  readonly overwrite: boolean;
  readonly log: (line: string) => void;
}

/**
 * Trains and evaluates all combinations; writes sweep.json, sweep.svg and sweep.png. Throws before training if values
 * contradict each other.
 */
export async function sweep(options: SweepOptions): Promise<Sweep> {
  const { device, splits, axes, seeds, out, flags } = options;
  const baseline = resolveConfig(flags);
  const { knnK: k } = baseline;
  const combinations = combine(options, baseline);
  const runs = combinations.flatMap((combination) =>
    seeds.map((seed) => ({ combination, run: runOf(options, baseline, { combination, seed }) })),
  );
  const finished = await runAll({ ...options, runs: runs.map(({ run }) => run) });
  const top1: number[] = [];
  for (const { name, checkpoint } of finished) {
    using model = await loadModel(device, checkpoint);
    const view = viewOf(model.config);
    const { results } = await evaluateKnn({
      splits,
      ks: [k],
      device,
      extract: ({ images, indices }) => extractFeatures(model, images, { view, indices }),
    });
    top1.push(results[0]!.top1);
    options.log(`${name}   k-NN ${results[0]!.top1.toFixed(2)} %`);
  }
  const rows = combinations.map((combination): SweepRow => {
    const ownRuns = runs.flatMap((run, i) => (run.combination === combination ? [i] : []));
    const last = ownRuns.map((i) => finished[i]!.log.steps.at(-1)!);
    return {
      name: nameOf(combination),
      values: Object.fromEntries(combination.map(({ setting, word }) => [flagOf(setting).slice(2), word])),
      top1: ownRuns.map((i) => top1[i]!),
      meanTop1: mean(ownRuns.map((i) => top1[i]!)),
      loss: mean(last.map(({ loss }) => loss)),
      teacherEntropy: mean(last.map(({ teacherEntropy }) => teacherEntropy)),
    };
  });
  const title = `k-NN top-1 on held-out images, k ${k}${seeds.length > 1 ? `, ${seeds.length} seeds` : ""}`;
  const panels = axes.map((axis) => panelOf(axis, { axes, baseline, rows }));
  const paths = await writeChart(join(out, "sweep"), { title, panels });
  const found = { k, seeds, rows, ...paths };
  await writeJson(join(out, "sweep.json"), found);
  return found;
}

/** Values that differ from the baseline, at most one per axis. */
type Combination = readonly { readonly setting: SettingName; readonly word: string }[];

function combine({ axes, grid }: SweepOptions, baseline: Config): readonly Combination[] {
  const each = axes.map(({ setting, words }) => words.map((word) => ({ setting, word })));
  if (grid)
    return each.reduce<Combination[]>((all, one) => all.flatMap((before) => one.map((x) => [...before, x])), [[]]);
  const others = each.flat().filter(({ setting, word }) => !isBaseline(baseline, setting, word));
  return [[], ...others.map((one) => [one])];
}

function isBaseline(baseline: Config, setting: SettingName, word: string): boolean {
  return JSON.stringify(parseSetting(setting, [word])) === JSON.stringify(baseline[setting]);
}

function nameOf(combination: Combination): string {
  if (combination.length === 0) return "baseline";
  return combination
    .map(({ setting, word }) => `${flagOf(setting).slice(2)}-${word.replaceAll(/[/\\]/g, "-")}`)
    .join("_");
}

/**
 * Returns the run of a combination. A constant teacher temperature stays constant: its warm-up starts at the varied
 * value, unless the start is varied too.
 */
function runOf(
  { flags, out }: Pick<SweepOptions, "flags" | "out">,
  baseline: Config,
  { combination, seed }: { readonly combination: Combination; readonly seed: number },
): TrainingRun {
  const varied: PartialConfig = Object.fromEntries(
    combination.map(({ setting, word }) => [setting, parseSetting(setting, [word])]),
  );
  const { teacherTemp } = varied;
  const isSteady = baseline.warmupTeacherTemp === baseline.teacherTemp && teacherTemp !== undefined;
  const steady = isSteady ? { warmupTeacherTemp: teacherTemp } : {};
  const name = `${nameOf(combination)}_seed-${seed}`;
  return { name, config: resolveConfig({ ...flags, ...steady, ...varied, seed, out: join(out, name) }) };
}

/** Draws top-1 along one axis, with equally spaced values: one line per combination of the other axes' values. */
function panelOf(
  { setting, words }: Axis,
  {
    rows,
    baseline,
    axes,
  }: { readonly rows: readonly SweepRow[]; readonly baseline: Config; readonly axes: readonly Axis[] },
): Panel {
  const flag = flagOf(setting).slice(2);
  const others = axes.map((axis) => flagOf(axis.setting).slice(2)).filter((other) => other !== flag);
  const numeric = words.every((word) => Number.isFinite(Number(word)));
  const lines = new Map<string, [string, number][]>();
  for (const { values, meanTop1 } of rows) {
    const rest = others.flatMap((other) => (other in values ? [`${other} ${values[other]!}`] : []));
    const own =
      values[flag] ?? (rest.length === 0 ? words.find((word) => isBaseline(baseline, setting, word)) : undefined);
    if (own === undefined) continue;
    const name = rest.length === 0 ? "one setting at a time" : rest.join(", ");
    lines.set(name, [...(lines.get(name) ?? []), [own, meanTop1]]);
  }
  const series: Series[] = [...lines].map(([name, points]) => ({
    name,
    points: numeric ? points.sort(([a], [b]) => Number(a) - Number(b)) : points,
  }));
  return { title: flag, x: flag, y: "percent", series, points: true };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
