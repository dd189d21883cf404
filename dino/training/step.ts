import {
  adamw,
  add,
  type Centering,
  type Device,
  distillation,
  type Gradients,
  input,
  type Input,
  lars,
  type Optimizer,
  parameterGradients,
  record,
  scale,
  sgd,
  type Tensor,
  updateCenter,
} from "../../engine/index.js";
import { GLOBAL_CROPS } from "../batches/crop-layout.js";
import type { DropSource } from "../model/block.js";
import { type DinoHeads, forward, type ForwardOptions } from "../model/network.js";
import { allGather, allReduce } from "./collectives.js";
import { coherence, direction, koleoOf, partOf } from "./step-features.js";
import {
  type CommonStepOptions,
  type StepInputs,
  stepInputs,
  type TrainingStep,
  updateNetworks,
} from "./step-inputs.js";

export interface StepOptions extends CommonStepOptions<DinoHeads> {
  readonly optimizer: "adamw" | "sgd" | "lars";
  /**
   * Weight of the KoLeo loss, which spreads the features of the global crops, for each of the two views: 0 if left out.
   */
  readonly koleoWeight?: number;
  /** Maximum gradient norm of each parameter; 0 for none. */
  readonly clip: number;
}

/** A step of DINO. */
export interface DinoStep extends TrainingStep {
  readonly centers: { readonly center: Input };
}

/**
 * Records the step of DINO, algorithm 1 (https://arxiv.org/abs/2104.14294): teacher on the global crops, student on all,
 * loss, gradients, update of the student, then of the teacher and the center.
 */
export async function createStep(device: Device, options: StepOptions): Promise<DinoStep> {
  const { vit, heads, precision } = options.student.config;
  const inputs = stepInputs(device, options, { channels: vit.channels, precision });
  const center = inputs.own(input(device, [1, heads.head.out], { label: "center" }));
  const optimizer = inputs.own(createOptimizer(options));
  const program = inputs.own(await record(device, () => forwardAndUpdate({ ...inputs, center, optimizer }, options)));
  return { ...inputs, orders: [], masks: [], centers: { center }, optimizer, program };
}

interface Inputs extends StepInputs {
  readonly center: Input;
  readonly optimizer: Optimizer;
}

/** Runs both networks, the loss and the backward, and updates student, teacher and center; returns the outputs of the step. */
function forwardAndUpdate(inputs: Inputs, options: StepOptions) {
  const { globals, locals, hyperparameters, center, optimizer, lossScale: scaling, drop } = inputs;
  const { student, accumulate = 1, peers } = options;
  const { teacherTemperature } = hyperparameters;
  const { sinkhorn } = options;
  const gather = peers && { gather: (x: Tensor) => allGather(peers, x) };
  const centering = sinkhorn ? { ...sinkhorn, ...gather } : center;
  const updates: (() => void)[] = [];
  const batchNorm = {
    ...(peers && { across: { devices: peers.size, sum: (x: Tensor) => allReduce(peers, x) } }),
    updateLater: (update: () => void) => void updates.push(update),
  };
  let gradients: Gradients | undefined;
  const parts = Array.from({ length: accumulate }, (_, part) => {
    const groups = (locals ? [globals, locals] : [globals]).map((view) => partOf(view, part, accumulate));
    const distilled = distill(groups, { ...options, centering, teacherTemperature, drop, batchNorm });
    const scaled = scaling && { scale: scaling.scale };
    gradients = parameterGradients(distilled.objective, student.params, { ...scaled, earlier: gradients });
    return distilled;
  });
  const found = { parts, names: meansOf(options), gradients: gradients! };
  const { means: whole, norms } = updateNetworks(found, inputs, { ...options, optimizer });
  if (!sinkhorn) updateCenter(center, whole.teacherMean, options.centerMomentum);
  for (const update of updates) update();
  return {
    loss: whole.loss,
    teacherEntropy: whole.teacherEntropy,
    meanTargets: whole.meanTargets,
    studentCoherence: coherence(whole.studentDirection),
    teacherCoherence: coherence(whole.teacherDirection),
    norms,
    ...(options.koleoWeight && { koleo: whole.koleo }),
  };
}

/**
 * Creates the optimizer with the official parameter groups: no weight decay of vectors and biases, the last layer can
 * be frozen.
 */
function createOptimizer({ optimizer, student: { params } }: StepOptions): Optimizer {
  const options = { freezes: ({ name }: { readonly name: string }) => name.includes("last_layer") };
  switch (optimizer) {
    case "adamw":
      return adamw(params, options);
    case "sgd":
      return sgd(params, options);
    case "lars":
      return lars(params, options);
    default:
      return optimizer satisfies never;
  }
}

/** Contributions of one part to means over the whole batch; those of all parts on all devices add up to them. */
interface Distilled {
  /** The objective: the cross-entropy `loss`, plus the weighted KoLeo loss of each view, as in DINOv2. */
  readonly objective: Tensor;
  readonly loss: Tensor;
  readonly koleo?: Tensor;
  readonly teacherEntropy: Tensor;
  /** Means of the targets and of the teacher's logits: [prototypes]. */
  readonly meanTargets: Tensor;
  readonly teacherMean: Tensor;
  /** Means of the features' unit vectors: [dim]. */
  readonly studentDirection: Tensor;
  readonly teacherDirection: Tensor;
}

type Mean = Exclude<keyof Distilled, "objective">;

/** Returns the names of the means that a step with these options computes. */
function meansOf({ koleoWeight, sinkhorn }: StepOptions): readonly Mean[] {
  const always = ["loss", "teacherEntropy", "meanTargets", "studentDirection", "teacherDirection"] as const;
  return [...always, ...(sinkhorn ? [] : ["teacherMean" as const]), ...(koleoWeight ? ["koleo" as const] : [])];
}

type DistillOptions = Pick<
  StepOptions,
  "student" | "teacher" | "studentTemperature" | "koleoWeight" | "accumulate" | "recompute" | "peers"
> & {
  readonly centering: Centering;
  readonly teacherTemperature: Tensor;
  readonly drop: DropSource;
  readonly batchNorm: NonNullable<ForwardOptions["batchNorm"]>;
};

/**
 * Runs the teacher on the global crops and the student on all crops, and computes the loss; `groups` are the global
 * crops [2 * images, 3, rows, cols] and the local ones, if any, both crop-major.
 */
function distill(groups: readonly Tensor[], options: DistillOptions): Distilled {
  const { student, teacher, centering, studentTemperature, teacherTemperature, drop } = options;
  const { koleoWeight = 0, accumulate = 1, recompute = false, peers, batchNorm } = options;
  const seen = forward(teacher, groups.slice(0, 1), { batchNorm });
  const { features, logits } = forward(student, groups, { drop, recompute, batchNorm }); // [crops * images, ...]
  const found = distillation(logits, seen.logits, centering, { studentTemperature, teacherTemperature });
  const parts = accumulate * (peers?.size ?? 1);
  const share = (x: Tensor, of = parts) => (of === 1 ? x : scale(x, 1 / of));
  const loss = share(found.loss);
  const koleoLoss = koleoWeight > 0 ? koleoOf(features, seen.features.shape[0]!, peers) : undefined;
  return {
    objective: koleoLoss ? add(loss, scale(share(koleoLoss, accumulate), GLOBAL_CROPS * koleoWeight)) : loss,
    loss,
    ...(koleoLoss && { koleo: share(koleoLoss) }),
    teacherEntropy: share(found.teacherEntropy),
    meanTargets: share(found.meanTargets),
    teacherMean: share(found.teacherMean),
    studentDirection: share(direction(features)),
    teacherDirection: share(direction(seen.features)),
  };
}
