/** What the steps of DINO and DINOv2 read, and how both update the networks. */
import {
  add,
  type Device,
  ema,
  type Gradients,
  input,
  type Input,
  type LossScale,
  lossScale,
  type Optimizer,
  type Params,
  type Precision,
  type Program,
  type Scalars,
  scalars,
  type Sinkhorn,
  type Tensor,
} from "../../engine/index.js";
import { checkEqualParts, GLOBAL_CROPS } from "../batches/crop-layout.js";
import type { Size } from "../images/pixels.js";
import type { DropSource } from "../model/block.js";
import type { Heads, Network } from "../model/network.js";
import { allReduceGradients, allReduceTogether, type Peers } from "./collectives.js";
import type { PartMasks } from "./dinov2-masks.js";

/** Values that change with every step. */
export type Hyperparameter = "lr" | "weightDecay" | "momentum" | "teacherTemperature" | "frozen";

/** Options of a step that both methods have. */
export interface CommonStepOptions<H extends Heads> {
  readonly student: Network<H>;
  readonly teacher: Network<H>;
  /** Images per step on this device. */
  readonly batch: number;
  readonly globalSize: Size;
  readonly localSize: Size;
  /** Local crops per image; 0 for none. */
  readonly localCrops: number;
  readonly studentTemperature: number;
  readonly centerMomentum: number;
  /** Centers the teacher by Sinkhorn-Knopp over its rows of a part of the batch, instead of the moving centers. */
  readonly sinkhorn?: Sinkhorn | undefined;
  /** Number of equal parts of the batch, processed one after another to save memory: 1 if left out. */
  readonly accumulate?: number;
  /** Recomputes activations of the student's blocks in the backward; saves memory and changes no number. */
  readonly recompute?: boolean;
  /**
   * Devices that each process as many images of the step. Gradients, centers and all batch statistics are those of all
   * images, as if one device had them, and each device updates its networks identically.
   */
  readonly peers?: Peers | undefined;
  /** Halves the bytes of exchanged gradients by rounding them to f16. */
  readonly compress?: boolean;
}

type Batch = Pick<CommonStepOptions<Heads>, "batch" | "globalSize" | "localSize" | "localCrops" | "accumulate">;

/**
 * Outputs of a step. Scalars: `loss`; `teacherEntropy`, the mean entropy of the teacher's targets for CLS tokens; the coherence of the
 * features of all crops (|mean of unit vectors|^2: 1 if all are the same); with a weight of KoLeo, `koleo`, the mean over both views of
 * -log(distance) of each global crop's feature to the nearest one of its view. Vectors: `meanTargets` [prototypes], the mean target;
 * `norms` [trained tensors], the gradient norms before clipping. DINO's `loss` is without KoLeo. DINOv2's is the total; its parts are
 * the cross-entropies `localLoss` and `globalLoss` of CLS tokens of local and global crops, `ibot` of masked patches, and `koleo`, the
 * last two without their weights.
 */
export type StepOutput =
  | "loss"
  | "localLoss"
  | "globalLoss"
  | "ibot"
  | "koleo"
  | "teacherEntropy"
  | "meanTargets"
  | "studentCoherence"
  | "teacherCoherence"
  | "norms";

/** A training step on the GPU, with its inputs and state. */
export interface TrainingStep extends Disposable {
  /** Global crops [2 * batch, 3, rows, cols], at the positions of `cropPosition`. */
  readonly globals: Input;
  /** Local crops [localCrops * batch, 3, rows, cols], at the positions of `cropPosition`; undefined if there are none. */
  readonly locals: Input | undefined;
  readonly hyperparameters: Scalars<Hyperparameter>;
  /** Uniform random numbers [rows] of drop path, one tensor per use; to be filled before each run. */
  readonly drops: readonly Input[];
  /** Permutations [rows] u32 of the samples of branches that DINOv2 computes for some of them; to be filled before each run. */
  readonly orders: readonly Input[];
  /** Masks of the global crops of each part of the batch, in DINOv2; to be filled by `writeMasks` before each run. */
  readonly masks: readonly PartMasks[];
  /** Moving centers [1, prototypes] by their names in a checkpoint; unused with Sinkhorn-Knopp. */
  readonly centers: Readonly<Record<string, Input>>;
  readonly optimizer: Optimizer;
  /** Loss scale; only in f16. */
  readonly lossScale: LossScale | undefined;
  readonly program: Program<StepOutput>;
}

/** Inputs of a training step that both methods have. */
export interface StepInputs
  extends Pick<TrainingStep, "globals" | "locals" | "hyperparameters" | "lossScale" | "drops">, Disposable {
  readonly drop: DropSource;
  /** Lets the inputs own another thing, which is disposed of with them, and returns it. */
  readonly own: <T extends Disposable>(x: T) => T;
}

/** Creates the inputs of a step for networks with images of `channels`. Throws for a batch without equal parts. */
export function stepInputs(
  device: Device,
  { batch, globalSize, localSize, localCrops, accumulate = 1 }: Batch,
  { channels, precision }: { readonly channels: number; readonly precision: Precision | undefined },
): StepInputs {
  checkEqualParts(batch, accumulate);
  const owned: Disposable[] = [];
  const own = <T extends Disposable>(x: T): T => {
    owned.push(x);
    return x;
  };
  const crops = (count: number, { rows, cols }: Size, label: string) =>
    own(input(device, [count * batch, channels, rows, cols], { label }));
  const drops: Input[] = [];
  return {
    globals: crops(GLOBAL_CROPS, globalSize, "global crops"),
    locals: localCrops > 0 ? crops(localCrops, localSize, "local crops") : undefined,
    hyperparameters: own(scalars(device, "lr", "weightDecay", "momentum", "teacherTemperature", "frozen")),
    lossScale: precision === "f16" ? own(lossScale(device)) : undefined,
    drops,
    drop(rows) {
      const uniform = own(input(device, [rows], { label: "drop path" }));
      drops.push(uniform);
      return uniform;
    },
    own,
    [Symbol.dispose]() {
      for (const x of owned.reverse()) x[Symbol.dispose]();
    },
  };
}

interface Update {
  readonly optimizer: Optimizer;
  readonly student: { readonly params: Params };
  readonly teacher: { readonly params: Params };
  readonly clip: number;
  readonly peers?: Peers | undefined;
  readonly compress?: boolean;
}

/**
 * Adds up the means `names` over the parts of the batch, and means and gradients over all devices; updates the student by the gradients,
 * and the teacher. Returns the means and the gradient norms before clipping.
 */
export function updateNetworks<Mean extends string>(
  {
    parts,
    names,
    gradients,
  }: {
    readonly parts: readonly Partial<Record<Mean, Tensor>>[];
    readonly names: readonly Mean[];
    readonly gradients: Gradients;
  },
  { hyperparameters, lossScale: scaling }: Pick<StepInputs, "hyperparameters" | "lossScale">,
  { optimizer, student, teacher, clip, peers, compress = false }: Update,
): { readonly means: Record<Mean, Tensor>; readonly norms: Tensor } {
  const total = (name: Mean) => parts.map((part) => part[name]!).reduce((before, x) => add(before, x));
  const own = Object.fromEntries(names.map((name) => [name, total(name)] as const)) as Record<Mean, Tensor>;
  const means = peers ? allReduceTogether(peers, own) : own;
  if (peers) allReduceGradients(peers, gradients, { compress });
  const { lr, weightDecay, frozen, momentum } = hyperparameters;
  const { norms } = optimizer.step(gradients, { lr, weightDecay, frozen, clip, lossScale: scaling });
  ema(teacher.params, student.params, momentum);
  return { means, norms };
}
