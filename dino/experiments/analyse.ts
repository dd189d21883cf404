/** The paper's analyses of training, repeated: the two ways to collapse (figure 7), and the teacher beside its student (figure 6). */
import { join } from "node:path";
import type { Device } from "../../engine/index.js";
import { builtinPreset } from "../config/presets.js";
import { resolveConfig } from "../config/resolve.js";
import type { Config, PartialConfig } from "../config/settings.js";
import { featuresOf, knnOf } from "../evaluation/online-evaluation.js";
import { writeJson } from "../files/files.js";
import type { Splits } from "../images/split.js";
import { type Series, writeChart } from "../pictures/charts.js";
import type { Log } from "../run/log.js";
import { checkpointsIn } from "../run/run-folder.js";
import { trainWithProgress } from "../training/supervised.js";
import { runAll } from "./training-runs.js";

/** The corners of figure 7: teachers with and without centering, with and without sharpening. */
export const corners = ["both", "sharpening only", "centering only", "neither"] as const;
export type Corner = (typeof corners)[number];

/**
 * The settings of a corner. Without centering the center stays at its start, 0; without sharpening the teacher has the
 * student's temperature. The head has no batch norm, which would center by itself.
 */
export function cornerSettings(corner: Corner, { studentTemp }: Pick<Config, "studentTemp">): PartialConfig {
  const unsharpened = { teacherTemp: studentTemp, warmupTeacherTemp: studentTemp };
  const uncentered = { centerMomentum: 1 };
  const settings: Record<Corner, PartialConfig> = {
    both: {},
    "sharpening only": uncentered,
    "centering only": unsharpened,
    neither: { ...uncentered, ...unsharpened },
  };
  return { useBnInHead: false, ...settings[corner] };
}

/** Where a corner ended, as means over the last quarter of its log, in nats. */
export interface CornerResult {
  readonly corner: Corner;
  /** Entropy of the targets. */
  readonly entropy: number;
  /** KL divergence of the student from the targets; 0 where the output has become constant. */
  readonly klDivergence: number;
  /** What the paper says of this corner, and whether it came so. */
  readonly expected: string;
  readonly asExpected: boolean;
}

/** Within this part of ln K a quantity counts as 0, or as ln K. */
const TOLERANCE = 0.02;

/** Section 5.3: without centering the entropy goes to 0, without sharpening to ln K; in both the KL divergence goes to 0. */
export function assessCorner(corner: Corner, log: Log, prototypes: number): CornerResult {
  const last = log.steps.slice(-Math.max(1, Math.floor(log.steps.length / 4)));
  const mean = (of: (line: Log["steps"][number]) => number) =>
    last.reduce((sum, line) => sum + of(line), 0) / last.length;
  const entropy = mean(({ teacherEntropy }) => teacherEntropy);
  const klDivergence = mean((line) => line.klDivergence);
  const lnK = Math.log(prototypes);
  const constant = klDivergence < TOLERANCE * lnK;
  const flat = entropy > (1 - TOLERANCE) * lnK;
  const single = entropy < TOLERANCE * lnK;
  const expectations: Record<Corner, readonly [string, boolean]> = {
    both: ["KL above 0, entropy between 0 and ln K", !constant && !flat && !single],
    "sharpening only": ["KL 0, entropy 0", constant && single],
    "centering only": ["KL 0, entropy ln K", constant && flat],
    neither: ["KL 0", constant],
  };
  const [expected, asExpected] = expectations[corner];
  return { corner, entropy, klDivergence, expected, asExpected };
}

export interface AnalysisOptions {
  readonly device: Device;
  readonly splits: Splits;
  /** What is trained; `out` is the folder of the analysis. */
  readonly config: Config;
  readonly overwrite: boolean;
  readonly log: (line: string) => void;
}

/** What an analysis found, and the files that show it. */
export interface CollapseAnalysis {
  readonly prototypes: number;
  readonly lnK: number;
  readonly corners: readonly CornerResult[];
  readonly svg: string;
  readonly png: string;
}

/** Trains the four corners and draws entropy and KL divergence over time; writes collapse.json, .svg and .png. */
export async function analyseCollapse({ config, ...options }: AnalysisOptions): Promise<CollapseAnalysis> {
  const { out, outDim: prototypes } = config;
  const lnK = Math.log(prototypes);
  const runs = corners.map((corner) => {
    const name = corner.replace(" ", "-");
    return { name, config: { ...config, ...cornerSettings(corner, config), out: join(out, name) } };
  });
  const finished = await runAll({ ...options, runs });
  const ends = finished.map(({ log }, i) => assessCorner(corners[i]!, log, prototypes));
  const lines = (of: (line: Log["steps"][number]) => number): Series[] =>
    finished.map(({ log }, i) => ({
      name: corners[i]!,
      points: log.steps.map((line) => [line.step, of(line)] as const),
    }));
  const paths = await writeChart(join(out, "collapse"), {
    title: "Collapse without centering or without sharpening",
    panels: [
      {
        title: "Entropy of the teacher's targets",
        x: "step",
        y: "nats",
        series: lines(({ teacherEntropy }) => teacherEntropy),
        marks: [{ y: lnK, label: `ln K = ${lnK.toFixed(2)}` }],
      },
      {
        title: "KL divergence of the student from the targets",
        x: "step",
        y: "nats",
        series: lines(({ klDivergence }) => klDivergence),
      },
    ],
  });
  const analysis = { prototypes, lnK, corners: ends, ...paths };
  await writeJson(join(out, "collapse.json"), analysis);
  return analysis;
}

/** k-NN accuracy of both networks after so many steps, in percent. */
export interface TeacherPoint {
  readonly step: number;
  readonly teacher: number;
  readonly student: number;
}

export interface TeacherAnalysis {
  readonly k: number;
  readonly points: readonly TeacherPoint[];
  readonly svg: string;
  readonly png: string;
}

/** Times over a run that its networks are evaluated. */
const EVALUATIONS = 8;

/** Trains once and draws the accuracy of teacher and student over time; writes teacher.json, .svg and .png. Throws where it did before. */
export async function analyseTeacher({ config, device, splits, overwrite }: AnalysisOptions): Promise<TeacherAnalysis> {
  const { out, knnK: k } = config;
  const run = { ...config, out: join(out, "run") };
  if (!overwrite && (await checkpointsIn(run.out)).length > 0) {
    throw new Error(`${run.out} already holds a run; --overwrite replaces it, or name another --out`);
  }
  const points: TeacherPoint[] = [];
  await trainWithProgress({
    device,
    config: run,
    splits,
    given: new Set(),
    resume: false,
    visit: {
      times: EVALUATIONS,
      look: async ({ step, student, teacher }) => {
        const here = { device, config, splits };
        const measure = async (network: typeof student) => knnOf(await featuresOf(network, here), here);
        const knn = await measure(teacher);
        points.push({ step, teacher: knn.top1, student: (await measure(student)).top1 });
        return { knn };
      },
    },
  });
  const line = (name: "teacher" | "student"): Series => ({
    name,
    points: points.map((point) => [point.step, point[name]] as const),
  });
  const paths = await writeChart(join(out, "teacher"), {
    title: "The teacher beside its student",
    panels: [
      {
        title: `k-NN top-1 on held-out images, k ${k}`,
        x: "step",
        y: "percent",
        points: true,
        series: [line("teacher"), line("student")],
      },
    ],
  });
  const analysis = { k, points, ...paths };
  await writeJson(join(out, "teacher.json"), analysis);
  return analysis;
}

/** The recipe of an analysis: what the user set, on the demo's. */
export function analysisConfig(flags: PartialConfig, out: string): Config {
  return resolveConfig({ preset: builtinPreset, logEvery: 5, saveckpFreq: 0, knnEvery: 0, ...flags, out });
}
