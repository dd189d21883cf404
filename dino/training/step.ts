import {
  adamw,
  add,
  type Centering,
  type Device,
  distillation,
  ema,
  type Gradients,
  input,
  type Input,
  koleo,
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
  scale,
  type Scalars,
  scalars,
  sgd,
  type Sinkhorn,
  slice,
  stopGradient,
  sum,
  type Tensor,
  updateCenter,
} from "../../engine/index.js";
import { checkEqualParts, GLOBAL_CROPS } from "../batches/crop-layout.js";
import type { Size } from "../images/pixels.js";
import { forward, type ForwardOptions, type Network } from "../model/network.js";
import type { DropSource } from "../model/vit.js";
import {
  allGather,
  type Peers,
  allGatherRows,
  allReduceGradients,
  allReduce,
  allReduceTogether,
} from "./collectives.js";

/** What changes on every step. */
export type Hyperparameter = "lr" | "weightDecay" | "momentum" | "teacherTemperature" | "frozen";

/**
 * What a step reports. Scalars: the loss, the mean entropy of the teacher's targets, and how far the features of all crops
 * point one way (|mean of unit vectors|^2: 1 when all are the same). Vectors: `meanTargets` [prototypes], the targets'
 * average; `norms` [trained tensors], the lengths of the gradients before clipping. With a `koleoWeight` the scalar `koleo`,
 * which `loss` leaves out: the mean of -log(distance) of each global crop's feature to the nearest one of its view.
 */
export type StepOutput =
  "loss" | "koleo" | "teacherEntropy" | "meanTargets" | "studentCoherence" | "teacherCoherence" | "norms";

export interface StepOptions {
  readonly student: Network;
  readonly teacher: Network;
  /** Images of a step, on this device. */
  readonly batch: number;
  readonly globalSize: Size;
  readonly localSize: Size;
  /** Local crops of an image; 0 for none. */
  readonly localCrops: number;
  readonly optimizer: "adamw" | "sgd" | "lars";
  readonly studentTemperature: number;
  readonly centerMomentum: number;
  /** Centers the teacher by Sinkhorn-Knopp over its rows of a part of the batch, instead of by the moving center. */
  readonly sinkhorn?: Sinkhorn | undefined;
  /** Of the loss that spreads the features of the global crops, for each of the two views: 0 if left out. */
  readonly koleoWeight?: number;
  /** Greatest length of each parameter's gradient; 0 for any. */
  readonly clip: number;
  /** Equal parts of the batch that go through the network one after another, which takes less memory: 1 if left out. */
  readonly accumulate?: number;
  /** Computes what lies inside the student's blocks twice, which takes less memory and changes no number. */
  readonly recompute?: boolean;
  /**
   * Devices that have as many images of the step each: gradients, center and all that is taken over the batch are those of the
   * images of all, as if one device had them, and each changes its networks alike.
   */
  readonly peers?: Peers | undefined;
  /** Sends peers gradients of half the size, rounded as f16 are. */
  readonly compress?: boolean;
}

/** One training step on the GPU with all that it reads and changes. */
export interface TrainingStep {
  /** Global crops [2 * batch, 3, rows, cols], each where `cropPosition` says. */
  readonly globals: Input;
  /** Local crops [localCrops * batch, 3, rows, cols], each where `cropPosition` says; undefined where there are none. */
  readonly locals: Input | undefined;
  readonly hyperparameters: Scalars<Hyperparameter>;
  /** Uniform numbers [rows] that decide what drop path drops, one tensor a use; to be filled before each run. */
  readonly drops: readonly Input[];
  /** [1, prototypes]; with `sinkhorn` it stays as it is. */
  readonly center: Input;
  readonly optimizer: Optimizer;
  /** Where the networks compute in f16. */
  readonly lossScale: LossScale | undefined;
  readonly program: Program<StepOutput>;
  [Symbol.dispose](): void;
}

/**
 * Records the step of DINO, algorithm 1 (https://arxiv.org/abs/2104.14294): teacher on the global crops, student on all,
 * loss, gradients, update of the student, then of the teacher and the center.
 */
export async function createStep(device: Device, options: StepOptions): Promise<TrainingStep> {
  const { student, teacher, batch, globalSize, localSize, localCrops, accumulate = 1, peers } = options;
  checkEqualParts(batch, accumulate);
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
  const hyperparameters = own(scalars(device, "lr", "weightDecay", "momentum", "teacherTemperature", "frozen"));
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
      const total = (name: Mean) => parts.map((part) => part[name]!).reduce((before, x) => add(before, x));
      const means = Object.fromEntries(meansOf(options).map((name) => [name, total(name)] as const)) as Record<
        Mean,
        Tensor
      >;
      const whole = peers ? allReduceTogether(peers, means) : means;
      if (peers) allReduceGradients(peers, gradients!, { compress: options.compress ?? false });
      const { norms } = optimizer.step(gradients!, {
        lr: hyperparameters.lr,
        weightDecay: hyperparameters.weightDecay,
        frozen: hyperparameters.frozen,
        clip: options.clip,
        lossScale: scaling,
      });
      ema(teacher.params, student.params, hyperparameters.momentum);
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
    }),
  );
  return {
    globals,
    locals,
    hyperparameters,
    drops,
    center,
    optimizer,
    program,
    lossScale: scaling,
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

/** One part of the crops of a batch: [rows, ...] -> [rows / parts, ...]. */
function partOf(crops: Tensor, part: number, parts: number): Tensor {
  const rows = crops.shape[0]! / parts;
  return parts === 1 ? crops : slice(crops, 0, part * rows, rows);
}

/** A part's shares of what is a mean over the whole batch: those of all parts, on all devices, add up to it. */
interface Distilled {
  /** What is made small: the cross-entropy `loss`, and the weight times the KoLeo loss of each view, as DINOv2 adds them up. */
  readonly objective: Tensor;
  readonly loss: Tensor;
  readonly koleo?: Tensor;
  readonly teacherEntropy: Tensor;
  /** Of the targets and of the teacher's logits: [prototypes]. */
  readonly meanTargets: Tensor;
  readonly teacherMean: Tensor;
  /** Of the features' unit vectors: [dim]. */
  readonly studentDirection: Tensor;
  readonly teacherDirection: Tensor;
}

type Mean = Exclude<keyof Distilled, "objective">;

/** Those of a step with these options. */
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
 * Teacher on the global crops, student on all, and the loss between them; `groups` are the global crops
 * [2 * images, 3, rows, cols] and the local ones, where there are any, both crop-major.
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

/**
 * The KoLeo loss of the first rows, the global crops, each among those of its view: features [crops * images, dim] -> []. With
 * peers it is that of the rows of all, which each of them computes.
 */
function koleoOf(features: Tensor, globalCrops: number, peers: Peers | undefined): Tensor {
  if (!peers) return koleo(l2Normalize(slice(features, 0, 0, globalCrops)), GLOBAL_CROPS);
  const images = globalCrops / GLOBAL_CROPS;
  const views = Array.from({ length: GLOBAL_CROPS }, (_, view) =>
    koleo(allGatherRows(peers, l2Normalize(slice(features, 0, view * images, images)))),
  );
  return scale(
    views.reduce((before, x) => add(before, x)),
    1 / GLOBAL_CROPS,
  );
}

/** Mean of the unit vectors along the rows, of which no gradient is taken: [rows, dim] -> [dim]. */
function direction(features: Tensor): Tensor {
  return meanLeading(l2Normalize(stopGradient(features)), features.shape.slice(1));
}

/** |mean of unit vectors|^2: [dim] -> [], 1 where all point one way. */
function coherence(mean: Tensor): Tensor {
  return sum(mul(mean, mean));
}
