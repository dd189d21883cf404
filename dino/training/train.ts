/** The training loop: steps, and logging, evaluation, pictures and checkpoints between them. */
import { DeviceLostError, isCausedBy } from "../../engine/index.js";
import type { KnnAccuracy } from "../evaluation/online-evaluation.js";
import type { Accuracies, EpochLine, EvaluationLine } from "../run/log.js";
import { runFiles } from "../run/run-folder.js";
import { evaluateDue, isDue } from "./evaluations.js";
import { dumpNotFinite, isStopRequested, openRun, type Run, type TrainOptions } from "./run.js";
import { verifyStates } from "./shared-state.js";
import type { Progress, StepResult } from "./trainer.js";

export interface TrainSummary {
  readonly checkpoint: string;
  /** Steps of the whole run. */
  readonly steps: number;
  /** Completed steps: fewer than `steps` if the run was stopped. */
  readonly done: number;
  /** Loss of the last step; undefined if the run was already complete. */
  readonly loss: number | undefined;
  /** k-NN accuracy of the last evaluation, if any. */
  readonly knn: KnnAccuracy | undefined;
  readonly warnings: readonly string[];
}

/** Profile the tenth step, when all pipelines are compiled and warm. */
const PROFILED_STEP = 10;

/**
 * Trains a student and its teacher (DINO, algorithm 1) by `config` in the folder `config.out`: config.json, log.jsonl
 * and log.txt, checkpoint.safetensors and numbered checkpoints, pictures and profile.json if requested. The same seed
 * on the same adapter gives the same bytes, also when a run is resumed. Throws on a non-finite loss, naming the first
 * bad kernel; in f16 only if a smaller loss scale does not help.
 */
export async function train(options: TrainOptions): Promise<TrainSummary> {
  let loss: number | undefined;
  const onProgress = (progress: Progress): void => {
    ({ loss } = progress);
    options.onProgress?.(progress);
  };
  await using run = await openRun({ ...options, onProgress });
  const knn = await runSteps(run, options).catch((error: unknown) => dumpNotFinite(run, error));
  const { config, trainer, warnings } = run;
  const { steps, done } = trainer;
  return { checkpoint: runFiles(config.out).checkpoint, steps, done, loss, knn, warnings };
}

/** Runs the steps that are left, and the work between them; returns the last k-NN accuracy. */
async function runSteps(run: Run, options: TrainOptions): Promise<KnnAccuracy | undefined> {
  const { config, trainer, output, reporter, world } = run;
  const profiledStep = config.picturesEvery > 0 ? trainer.done + PROFILED_STEP : undefined;
  let knn = await trainer.runAside(() => beforeFirstStep(run, options));
  while (trainer.done < trainer.steps && !(await isStopRequested(world, options.stop))) {
    // A batch of crops; teacher and student forward, loss, gradients; update of student, teacher and center.
    const profiles = trainer.done + 1 === profiledStep;
    const result = await reporter.measure(() => trainer.runStep({ profiles }));
    if (result.profile) await output.writeProfile(result.profile);
    if (result.line) await output.log(result.line);
    const visited = await visit(run, result, options);
    if (result.line) (await reporter.report()).forEach(run.warn);
    if (isVerificationDue(run, result)) await verifyStates(world, await trainer.state());
    const { epochLine } = result;
    const evaluated =
      epochLine && (await trainer.runAside(() => endEpoch(run, { ...result, epochLine }, visited, options)));
    knn = evaluated ?? visited?.knn ?? knn;
    await save(run, result);
  }
  await saveCheckpoint(run); // if the run was stopped
  return knn;
}

function isVisitDue({ step, steps }: StepResult, { visit: visits }: TrainOptions): boolean {
  const visitsBy = (done: number): number => Math.floor((done * (visits?.times ?? 0)) / steps);
  return visitsBy(step) > visitsBy(step - 1);
}

function isVerificationDue({ config: { verifyRanks }, world }: Run, { step }: StepResult): boolean {
  return verifyRanks > 0 && step % verifyRanks === 0 && world.size > 1;
}

function isCheckpointDue({ config: { checkpointEvery }, trainer }: Run, { step, steps }: StepResult): boolean {
  return step === steps || step % (checkpointEvery > 0 ? checkpointEvery : trainer.iterationsPerEpoch) === 0;
}

/** Evaluates and draws pictures before the first step; returns the k-NN accuracy. */
async function beforeFirstStep(run: Run, options: TrainOptions): Promise<KnnAccuracy | undefined> {
  const { config, trainer, output } = run;
  const { done: step, student, teacher } = trainer;
  const accuracies = await options.visit?.look({ step, student, teacher }, run.onEvaluating);
  const knn = accuracies && (await logAccuracies(run, { type: "evaluation", step, epoch: 0, ...accuracies }, options));
  if (config.picturesEvery > 0 && step === 0) await output.draw();
  return knn;
}

/** Calls `visit.look` if it is due; logs the accuracies unless an epoch line will. */
async function visit(run: Run, result: StepResult, options: TrainOptions): Promise<Accuracies | undefined> {
  const { step, epoch, epochLine } = result;
  if (!options.visit || !isVisitDue(result, options)) return undefined;
  const { look } = options.visit;
  const { trainer, onEvaluating } = run;
  const { student, teacher } = trainer;
  const accuracies = await trainer.runAside(() => look({ step, student, teacher }, onEvaluating));
  if (accuracies && !epochLine) await logAccuracies(run, { type: "evaluation", step, epoch, ...accuracies }, options);
  return accuracies;
}

/** Runs evaluations and draws pictures that are due at the end of an epoch or of the run; returns the k-NN accuracy. */
async function endEpoch(
  run: Run,
  { step, steps, epoch, epochLine }: StepResult & { readonly epochLine: EpochLine },
  visited: Accuracies | undefined,
  options: TrainOptions,
): Promise<KnnAccuracy | undefined> {
  const { config, splits, trainer, output, world, onEvaluating, warn } = run;
  const moment = { epochsDone: epoch + 1, ends: step === steps };
  const { device, teacher } = trainer;
  const trainedOn = steps * config.batch;
  const evaluating = { ...moment, device, config, splits, world, trainedOn, onEvaluating, onWarning: warn };
  const accuracies = visited ?? (await evaluateDue(teacher, evaluating).catch(keepEpoch));
  const knn = await logAccuracies(run, { ...epochLine, ...accuracies }, options);
  if (isDue(config.picturesEvery, moment)) await output.draw();
  return knn;

  /** Keeps the epoch whose evaluation failed, for --resume. Throws the error. */
  async function keepEpoch(error: unknown): Promise<never> {
    if (isCausedBy(error, DeviceLostError)) throw error; // it took the state along
    await output.log(epochLine);
    await saveCheckpoint(run);
    throw error;
  }
}

async function logAccuracies(
  { output }: Run,
  line: EpochLine | EvaluationLine,
  { onEvaluated }: TrainOptions,
): Promise<KnnAccuracy | undefined> {
  await output.log(line);
  if (line.knn ?? line.linear) onEvaluated?.(line);
  return line.knn;
}

/** Writes the checkpoint. All ranks settle, also those that write nothing, so that a non-finite loss ends them together. */
async function saveCheckpoint({ trainer, output }: Run): Promise<void> {
  await trainer.settle();
  await output.save();
}

/** Writes the checkpoints that are due. */
async function save(run: Run, result: StepResult): Promise<void> {
  const { config, trainer, output } = run;
  if (isCheckpointDue(run, result)) await saveCheckpoint(run);
  const epochsDone = result.epoch + 1;
  if (result.step % trainer.iterationsPerEpoch === 0 && config.saveckpFreq > 0 && epochsDone % config.saveckpFreq === 0)
    await output.saveNumbered(epochsDone);
}
