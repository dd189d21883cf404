/** log.jsonl of a run: a line for every interval of steps, one for every epoch, and one for every evaluation in between. */
import { appendFile, readFile } from "node:fs/promises";
import { z } from "zod";
import type { KnnAccuracy, LinearAccuracy } from "../evaluation/online-evaluation.js";
import { writeFileAtomically } from "../files/files.js";
import { printable } from "../files/text.js";

/** Of an interval of steps. Lengths of time in milliseconds, entropies in nats. */
export interface StepLine {
  readonly step: number;
  readonly epoch: number;
  /** Mean over the steps since the last line. */
  readonly loss: number;
  /** Of the last step: the mean of -log(distance) between neighbours, see `koleo` of a step; with --koleo only. */
  readonly koleo?: number;
  readonly teacherEntropy: number;
  /** Of the last step, as are the entropies: loss - teacherEntropy, the KL divergence of the student from the targets. */
  readonly klDivergence: number;
  /** Entropy of the targets' average over the batch. */
  readonly meanTargetEntropy: number;
  /** 1 - |mean of the unit features|^2: 0 when all images have one feature. */
  readonly studentSpread: number;
  readonly teacherSpread: number;
  /** Length of the whole gradient before clipping; null in the file where it overflowed f16. */
  readonly gradientNorm: number;
  readonly lr: number;
  readonly weightDecay: number;
  readonly momentum: number;
  readonly teacherTemperature: number;
  /** Of the next step; in f16 only. */
  readonly lossScale?: number;
  readonly imagesPerSecond: number;
  /** Waiting for batches, in all. */
  readonly dataWaitMs: number;
  /** Batches that were ready when the next one was asked for: the mean over the interval. Runs of earlier versions lack it. */
  readonly batchesReady?: number;
  /** In which the device had nothing to do but wait for the exchange with the other ranks, in all; with several ranks only. */
  readonly peersWaitMs?: number;
}

/** What the teacher's features are worth, in percent. */
export interface Accuracies {
  readonly knn?: KnnAccuracy;
  readonly linear?: LinearAccuracy;
}

/** Of an epoch, with accuracies where an evaluation was due. */
export interface EpochLine extends Accuracies {
  readonly type: "epoch";
  readonly step: number;
  readonly epoch: number;
  /** Means over the epoch, or what of it the run had. */
  readonly loss: number;
  readonly lr: number;
  readonly weightDecay: number;
}

/** Accuracies before the first step or between the ends of two epochs. */
export interface EvaluationLine extends Accuracies {
  readonly type: "evaluation";
  readonly step: number;
  readonly epoch: number;
}

export type LogLine = StepLine | EpochLine | EvaluationLine;

/** A log as it was written. */
export interface Log {
  readonly steps: readonly StepLine[];
  readonly epochs: readonly EpochLine[];
  /** The lines that have accuracies: those of epochs, and those of their own. */
  readonly evaluations: readonly (EpochLine | EvaluationLine)[];
}

export async function appendLine(path: string, line: LogLine): Promise<void> {
  await appendFile(path, `${JSON.stringify(line)}\n`);
}

/** JSON has no word for a number that is not finite, and the log has null there. */
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
/** What a line must have; all else of a step is numbers, some of which runs of earlier versions lack. */
const lineSchema = z.union([
  z.looseObject({ type: z.literal("epoch"), ...place, ...accuracies }),
  z.looseObject({ type: z.literal("evaluation"), ...moment, ...accuracies }),
  z.object({ ...place, type: z.undefined().optional(), teacherEntropy: number }).catchall(number),
]);

/** Reads a log, but for a last line that is still being written. Throws, naming the line, where it is damaged. */
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

/**
 * Drops the lines after `step`, which a resumed run writes again, and what a stopped machine left of others; a missing log
 * becomes an empty one.
 */
export async function truncateLog(path: string, step: number): Promise<void> {
  const lines = step === 0 ? [] : await linesOf(path).catch(() => []);
  const kept = lines.filter((line) => stepOf(line) <= step);
  await writeFileAtomically(path, kept.map((line) => `${line}\n`).join(""));
}

/** The step of a line; Infinity where it is none. */
function stepOf(line: string): number {
  try {
    return (JSON.parse(line) as LogLine).step;
  } catch {
    return Infinity;
  }
}

/** The lines that are whole. */
async function linesOf(path: string): Promise<readonly string[]> {
  const text = await readFile(path, "utf8");
  return text
    .split("\n")
    .slice(0, -1)
    .filter((line) => line !== "");
}
