import {
  adamw,
  type Device,
  distillation,
  ema,
  input,
  type Input,
  l2Normalize,
  lars,
  type LossScale,
  lossScale,
  meanLeading,
  mul,
  type Optimizer,
  parameterGradients,
  type Program,
  record,
  type Scalars,
  scalars,
  sgd,
  stopGradient,
  sum,
  type Tensor,
  updateCenter,
} from "../engine/index.js";
import { forward, type Network } from "./network.js";
import type { Size } from "./pixels.js";

/** What changes on every step. */
export type Knob = "lr" | "weightDecay" | "momentum" | "teacherTemperature" | "frozen";

/**
 * What a step reports. Scalars: the loss, the mean entropy of the teacher's targets, and how far the features of all crops
 * point one way (|mean of unit vectors|^2: 1 when all are the same). Vectors: `meanTargets` [prototypes], the targets'
 * average; `norms` [trained tensors], the lengths of the gradients before clipping.
 */
export type StepOutput = "loss" | "teacherEntropy" | "meanTargets" | "studentCoherence" | "teacherCoherence" | "norms";

export interface StepOptions {
  readonly student: Network;
  readonly teacher: Network;
  /** Images of a step. */
  readonly batch: number;
  readonly globalSize: Size;
  readonly localSize: Size;
  /** Local crops of an image; 0 for none. */
  readonly localCrops: number;
  readonly optimizer: "adamw" | "sgd" | "lars";
  readonly studentTemperature: number;
  readonly centerMomentum: number;
  /** Greatest length of each parameter's gradient; 0 for any. */
  readonly clip: number;
  /** Computes what lies inside the student's blocks twice, which takes less memory and changes no number. */
  readonly recompute?: boolean;
}

/** One training step on the GPU with all that it reads and changes. */
export interface TrainingStep {
  /** Global crops [2 * batch, 3, rows, cols], crop-major. */
  readonly globals: Input;
  /** Local crops [localCrops * batch, 3, rows, cols], crop-major; undefined where there are none. */
  readonly locals: Input | undefined;
  readonly knobs: Scalars<Knob>;
  /** Uniform numbers [rows] that decide what drop path drops, one tensor a use; to be filled before each run. */
  readonly drops: readonly Input[];
  /** [1, prototypes] */
  readonly center: Input;
  readonly optimizer: Optimizer;
  /** Where the networks compute in f16. */
  readonly lossScale: LossScale | undefined;
  readonly program: Program<StepOutput>;
  [Symbol.dispose](): void;
}

/** Global crops of an image: the teacher sees these, the student sees all crops. */
export const GLOBAL_CROPS = 2;

/**
 * Records the step of DINO, algorithm 1 (https://arxiv.org/abs/2104.14294): teacher on the global crops, student on all,
 * loss, gradients, update of the student, then of the teacher and the center.
 */
export async function createStep(device: Device, options: StepOptions): Promise<TrainingStep> {
  const { student, teacher, batch, globalSize, localSize, localCrops, recompute = false } = options;
  const prototypes = student.config.head.out;
  const owned: { [Symbol.dispose](): void }[] = [];
  const own = <T extends { [Symbol.dispose](): void }>(x: T): T => {
    owned.push(x);
    return x;
  };
  const crops = (count: number, { rows, cols }: Size, label: string) =>
    own(input(device, [count * batch, student.config.vit.channels, rows, cols], { label }));
  const globals = crops(GLOBAL_CROPS, globalSize, "global crops");
  const locals = localCrops > 0 ? crops(localCrops, localSize, "local crops") : undefined;
  const knobs = own(scalars(device, "lr", "weightDecay", "momentum", "teacherTemperature", "frozen"));
  const center = own(input(device, [1, prototypes], { label: "center" }));
  const optimizer = own(createOptimizer(options));
  const scaling = student.config.precision === "f16" ? own(lossScale(device)) : undefined;
  const drops: Input[] = [];
  const drop = (rows: number): Tensor => {
    const uniform = own(input(device, [rows], { label: "drop path" }));
    drops.push(uniform);
    return uniform;
  };

  const program = own(
    await record(device, () => {
      const seen = forward(teacher, [globals]);
      const { features, logits } = forward(student, locals ? [globals, locals] : [globals], { drop, recompute }); // [crops * batch, ...]
      const { loss, teacherEntropy, meanTargets, teacherMean } = distillation(logits, seen.logits, center, {
        studentTemperature: options.studentTemperature,
        teacherTemperature: knobs.teacherTemperature,
      });
      const gradients = parameterGradients(loss, student.params, scaling && { scale: scaling.scale });
      const { norms } = optimizer.step(gradients, {
        lr: knobs.lr,
        weightDecay: knobs.weightDecay,
        frozen: knobs.frozen,
        clip: options.clip,
        lossScale: scaling,
      });
      ema(teacher.params, student.params, knobs.momentum);
      updateCenter(center, teacherMean, options.centerMomentum);
      return {
        loss,
        teacherEntropy,
        meanTargets,
        studentCoherence: coherence(stopGradient(features)),
        teacherCoherence: coherence(stopGradient(seen.features)),
        norms,
      };
    }),
  );
  return {
    ...{ globals, locals, knobs, drops, center, optimizer, program, lossScale: scaling },
    [Symbol.dispose]() {
      for (const x of owned.reverse()) x[Symbol.dispose]();
    },
  };
}

/** The official parameter groups: vectors and biases are not decayed, the last layer is what freezes. */
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

/** |mean of the unit vectors along the rows|^2: [rows, dim] -> [], 1 where all rows point one way. */
function coherence(features: Tensor): Tensor {
  const direction = meanLeading(l2Normalize(features), features.shape.slice(1));
  return sum(mul(direction, direction));
}
