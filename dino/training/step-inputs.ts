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
  type Scalars,
  scalars,
  type Tensor,
} from "../../engine/index.js";
import { checkEqualParts, GLOBAL_CROPS } from "../batches/crop-layout.js";
import type { Size } from "../images/pixels.js";
import type { DropSource } from "../model/block.js";
import { allReduceGradients, allReduceTogether, type Peers } from "./collectives.js";

/** Values that change with every step. */
export type Hyperparameter = "lr" | "weightDecay" | "momentum" | "teacherTemperature" | "frozen";

interface Batch {
  readonly batch: number;
  readonly globalSize: Size;
  readonly localSize: Size;
  readonly localCrops: number;
  readonly accumulate?: number;
}

/** Inputs of a training step. */
export interface StepInputs extends Disposable {
  readonly globals: Input;
  readonly locals: Input | undefined;
  readonly hyperparameters: Scalars<Hyperparameter>;
  readonly lossScale: LossScale | undefined;
  /** Inputs that `drop` has made. */
  readonly drops: readonly Input[];
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
