/** Handling of non-finite losses, and of the loss scale that keeps f16 gradients from overflowing. */
import { download, type LossScale, type NonFinite } from "../../engine/index.js";
import type { Network } from "../model/network.js";
import type { Checkpoint } from "../weights/checkpoint-bytes.js";
import type { Hyperparameter, TrainingStep } from "./step-inputs.js";
import { batchOf } from "./training-state.js";

/** Error for a non-finite loss. */
export class NotFiniteError extends Error {
  constructor(
    message: string,
    /** State after the last submitted step, with its batch and schedule values. */
    readonly dump: Checkpoint,
    /** Whether the message names the first non-finite tensor. */
    readonly isNamed: boolean,
  ) {
    super(message);
  }
}

/** Losses of a step that tell whether it was finite. */
export interface StepLosses {
  readonly loss: number;
  readonly teacherEntropy: number;
}

/** Reads the losses of the last submitted step. */
export function readLosses({ program }: TrainingStep): Promise<StepLosses> {
  const reading = Promise.all([program.readScalar("loss"), program.readScalar("teacherEntropy")]);
  const losses = reading.then(([loss, teacherEntropy]) => ({ loss, teacherEntropy }));
  losses.catch(() => undefined); // thrown where it is awaited, which may be a step later
  return losses;
}

/** Creates the error for a non-finite loss: runs the last step again, kernel by kernel, to find its origin. */
export async function notFinite(
  step: TrainingStep,
  state: Checkpoint,
  {
    loss,
    at,
    values,
  }: {
    readonly loss: number;
    /** Number of the step with this loss: the last one, or the one before. */
    readonly at: number;
    /** Schedule values of the last step. */
    readonly values: Readonly<Record<Hyperparameter, number>>;
  },
): Promise<NotFiniteError> {
  const tensors = new Map([...state.tensors, ...(await batchOf(step, values))]);
  const finding = await step.program.check();
  return new NotFiniteError(
    `train: loss is ${loss} at step ${at}; ${culpritOf(finding)}. Lower --lr or --clip-grad; the last checkpoint is intact`,
    { ...state, tensors },
    finding !== undefined,
  );
}

function culpritOf(finding: NonFinite | undefined): string {
  if (!finding) return "it does not recur";
  return `the first tensor that is not finite is ${finding.where} [${finding.shape.join(", ")}]`;
}

/** Below 1, overflow is not caused by loss scaling. */
const LEAST_LOSS_SCALE = 1;

/** Reads the loss scale. Throws if it is too small for training. */
export async function readLossScale({ state }: LossScale, step: number): Promise<number> {
  const scale = (await download(state))[0]!;
  if (scale >= LEAST_LOSS_SCALE) return scale;
  throw new Error(
    `train: the loss scale fell to ${scale} by step ${step}: the gradients overflow f16 at any scale. ` +
      "Lower --lr, or take --precision f32; the last checkpoint is intact",
  );
}

/**
 * Returns whether a non-finite loss is harmless: only the student overflowed f16, so the optimizer skipped the step,
 * and there are no running statistics.
 */
export async function wasSkipped(
  { lossScale }: TrainingStep,
  { buffers }: Network,
  { teacherEntropy }: StepLosses,
): Promise<boolean> {
  if (!lossScale || buffers) return false;
  const scale = (await download(lossScale.state))[0]!;
  return scale >= LEAST_LOSS_SCALE && Number.isFinite(teacherEntropy);
}
