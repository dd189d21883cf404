/** Analyses of the paper: the two kinds of collapse (figure 7), and teacher and student during training (figure 6). */
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

/** The four runs of figure 7: with and without centering and sharpening of the teacher. */
export const corners = ["both", "sharpening only", "centering only", "neither"] as const;
export type Corner = (typeof corners)[number];

/**
 * Returns the settings of a run of figure 7. Without centering, the center stays at its initial value 0; without
 * sharpening, the teacher has the student's temperature.
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
  return settings[corner];
}

/** The end of a run of figure 7, as means over the last quarter of its log, in nats. */
export interface CornerResult {
  readonly corner: Corner;
  /** Entropy of the targets. */
  readonly entropy: number;
  /** KL divergence of the student from the targets; 0 for a constant output. */
  readonly klDivergence: number;
  /** The outcome in the paper, and whether the run agrees. */
  readonly expected: string;
  readonly asExpected: boolean;
}

/** A quantity within this fraction of ln K of 0 or of ln K counts as equal. */
const TOLERANCE = 0.02;

/**
 * Compares a run with section 5.3: without centering the entropy goes to 0, without sharpening to ln K; in both cases
 * the KL divergence goes to 0.
 */
export function assessCorner(corner: Corner, log: Log, prototypes: number): CornerResult {
  const last = log.steps.slice(-Math.max(1, Math.floor(log.steps.length / 4)));
  const mean = (of: (line: Log["steps"][number]) => number) =>
    last.reduce((sum, line) => sum + of(line), 0) / last.length;
  const entropy = mean(({ teacherEntropy }) => teacherEntropy);
  const klDivergence = mean((line) => line.klDivergence);
  const lnK = Math.log(prototypes);
  const isConstant = klDivergence < TOLERANCE * lnK;
  const isUniform = entropy > (1 - TOLERANCE) * lnK;
  const isOneHot = entropy < TOLERANCE * lnK;
  const expectations: Record<Corner, readonly [string, boolean]> = {
    both: ["KL above 0, entropy between 0 and ln K", !isConstant && !isUniform && !isOneHot],
    "sharpening only": ["KL 0, entropy 0", isConstant && isOneHot],
    "centering only": ["KL 0, entropy ln K", isConstant && isUniform],
    neither: ["KL 0", isConstant],
  };
  const [expected, asExpected] = expectations[corner];
  return { corner, entropy, klDivergence, expected, asExpected };
}

export interface AnalysisOptions {
  readonly device: Device;
  readonly splits: Splits;
  /** Training settings; `out` is the folder of the analysis. */
  readonly config: Config;
  readonly overwrite: boolean;
  readonly log: (line: string) => void;
}

/** Results of the collapse analysis, and its charts. */
export interface CollapseAnalysis {
  readonly prototypes: number;
  readonly lnK: number;
  readonly corners: readonly CornerResult[];
  readonly svg: string;
  readonly png: string;
}

/** Runs the four trainings and draws entropy and KL divergence over time; writes collapse.json, .svg and .png. */
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

/** k-NN accuracy of both networks after some steps, in percent. */
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

/** Evaluations during a run. */
const EVALUATIONS = 8;

/**
 * Trains once and draws the accuracy of teacher and student over time; writes teacher.json, .svg and .png. Throws if
 * the folder holds a run and `overwrite` is not set.
 */
export async function analyseTeacher({ config, device, splits, overwrite }: AnalysisOptions): Promise<TeacherAnalysis> {
  const { out, knnK: k } = config;
  const run = { ...config, out: join(out, "run") };
  if (!overwrite && (await checkpointsIn(run.out)).length > 0) {
    throw new Error(`${run.out} already holds a run; --overwrite replaces it, or use another --out`);
  }
  const points: TeacherPoint[] = [];
  await trainWithProgress({
    device,
    config: run,
    splits,
    explicit: new Set(),
    resume: false,
    visit: {
      times: EVALUATIONS,
      look: async ({ step, student, teacher }) => {
        const evaluation = { device, config, splits };
        const measure = async (network: typeof student) => knnOf(await featuresOf(network, evaluation), evaluation);
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

/** Returns the settings of an analysis: the demo's recipe, overridden by the user's settings. */
export function analysisConfig(flags: PartialConfig, out: string): Config {
  return resolveConfig({ preset: builtinPreset, logEvery: 5, saveckpFreq: 0, knnEvery: 0, ...flags, out });
}
