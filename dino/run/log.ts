/** A run's log.jsonl: a line per log interval, per epoch, and per evaluation between epochs. */
import { appendFile, readFile } from "node:fs/promises";
import { z } from "zod";
import type { KnnAccuracy, LinearAccuracy } from "../evaluation/online-evaluation.js";
import { writeFileAtomically } from "../files/files.js";
import { printable } from "../files/text.js";

/** A line about an interval of steps. Durations in milliseconds, entropies in nats. */
export interface StepLine {
  readonly step: number;
  readonly epoch: number;
  /** Mean over the steps since the last line. */
  readonly loss: number;
  /** With --method dinov2, cross-entropies in the last step: of CLS tokens, and of masked patches in the crops that have some. */
  readonly clsLoss?: number;
  readonly patchLoss?: number;
  /**
   * KoLeo loss of the last step: the mean of -log(distance) between neighbors, see `koleo` of a step; only with
   * --koleo.
   */
  readonly koleo?: number;
  readonly teacherEntropy: number;
  /** Cross-entropy of CLS tokens - teacherEntropy, of the last step: the KL divergence of the student from the targets. */
  readonly klDivergence: number;
  /** Entropy of the targets' average over the batch. */
  readonly meanTargetEntropy: number;
  /** 1 - |mean of the unit features|^2: 0 when all images have one feature. */
  readonly studentSpread: number;
  readonly teacherSpread: number;
  /** Norm of the whole gradient before clipping; null in the file if it overflowed f16. */
  readonly gradientNorm: number;
  readonly lr: number;
  readonly weightDecay: number;
  readonly momentum: number;
  readonly teacherTemperature: number;
  /** Loss scale of the next step; only in f16. */
  readonly lossScale?: number;
  readonly imagesPerSecond: number;
  /** Total time waiting for batches. */
  readonly dataWaitMs: number;
  /** Mean number of ready batches when the next one was requested. Missing in logs of earlier versions. */
  readonly batchesReady?: number;
  /** Total time the device was idle, waiting for the exchange with other ranks; only with several ranks. */
  readonly peersWaitMs?: number;
}

/** Accuracies of the teacher's features, in percent. */
export interface Accuracies {
  readonly knn?: KnnAccuracy;
  readonly linear?: LinearAccuracy;
}

/** A line about an epoch, with accuracies if an evaluation was due. */
export interface EpochLine extends Accuracies {
  readonly type: "epoch";
  readonly step: number;
  readonly epoch: number;
  /** Means over the epoch, or over its part within the run. */
  readonly loss: number;
  readonly lr: number;
  readonly weightDecay: number;
}

/** A line with accuracies before the first step or between the ends of two epochs. */
export interface EvaluationLine extends Accuracies {
  readonly type: "evaluation";
  readonly step: number;
  readonly epoch: number;
}

export type LogLine = StepLine | EpochLine | EvaluationLine;

/** A parsed log. */
export interface Log {
  readonly steps: readonly StepLine[];
  readonly epochs: readonly EpochLine[];
  /** Lines with accuracies: of epochs and of separate evaluations. */
  readonly evaluations: readonly (EpochLine | EvaluationLine)[];
}

export async function appendLine(path: string, line: LogLine): Promise<void> {
  await appendFile(path, `${JSON.stringify(line)}\n`);
}

/** A number; null in JSON stands for NaN. */
const number = z
  .number()
  .nullable()
  .transform((value) => value ?? NaN);
const moment = { step: z.int().nonnegative(), epoch: z.int().nonnegative() };
const place = { ...moment, loss: number };
const accuracies = {
  knn: z.looseObject({ k: number, top1: number, top5: number }).optional(),
  linear: z.looseObject({ lr: number, top1: number, top5: number }).optional(),
};
/** Required fields of a line; all other fields of a step are numbers, some missing in logs of earlier versions. */
const lineSchema = z.union([
  z.looseObject({ type: z.literal("epoch"), ...place, ...accuracies }),
  z.looseObject({ type: z.literal("evaluation"), ...moment, ...accuracies }),
  z.object({ ...place, type: z.undefined().optional(), teacherEntropy: number }).catchall(number),
]);

/** Reads a log, except a last line that is still being written. Throws, naming the line, if it is damaged. */
export async function readLog(path: string): Promise<Log> {
  const lines = (await linesOf(path)).map((text, i): LogLine => {
    try {
      return lineSchema.parse(JSON.parse(text)) as unknown as LogLine;
    } catch (error) {
      const message = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
      throw new Error(`${path}:${i + 1}: expected a line of a log: ${printable(message)}`, { cause: error });
    }
  });
  return {
    steps: lines.filter((line): line is StepLine => !("type" in line)),
    epochs: lines.filter((line): line is EpochLine => "type" in line && line.type === "epoch"),
    evaluations: lines.filter(
      (line): line is EpochLine | EvaluationLine => "type" in line && (line.knn ?? line.linear) !== undefined,
    ),
  };
}

/** Drops lines after `step`, which a resumed run writes again, and incomplete lines; creates a missing log. */
export async function truncateLog(path: string, step: number): Promise<void> {
  const lines = step === 0 ? [] : await linesOf(path).catch(() => []);
  const kept = lines.filter((line) => stepOf(line) <= step);
  await writeFileAtomically(path, kept.map((line) => `${line}\n`).join(""));
}

/** Returns the step of a line; Infinity for an invalid line. */
function stepOf(line: string): number {
  try {
    return (JSON.parse(line) as LogLine).step;
  } catch {
    return Infinity;
  }
}

/** Reads the complete lines. */
async function linesOf(path: string): Promise<readonly string[]> {
  const text = await readFile(path, "utf8");
  return text
    .split("\n")
    .slice(0, -1)
    .filter((line) => line !== "");
}
