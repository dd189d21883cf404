import {
  adamw,
  add,
  type Centering,
  type Device,
  distillation,
  type Gradients,
  input,
  type Input,
  maskedDistillation,
  type Optimizer,
  parameterGradients,
  record,
  scale,
  slice,
  sum,
  type Tensor,
  updateCenter,
} from "../../engine/index.js";
import { GLOBAL_CROPS } from "../batches/crop-layout.js";
import type { DropSources } from "../model/block.js";
import { dinov2Forward } from "../model/dinov2-network.js";
import type { Dinov2Heads } from "../model/network.js";
import { allGather } from "./collectives.js";
import { type PartMasks, partMasks } from "./dinov2-masks.js";
import { decays, rateFactor, subnetworkOf } from "./parameter-groups.js";
import { coherence, direction, koleoOf, partOf } from "./step-features.js";
import {
  type CommonStepOptions,
  type StepInputs,
  stepInputs,
  type TrainingStep,
  updateNetworks,
} from "./step-inputs.js";

export interface Dinov2StepOptions extends CommonStepOptions<Dinov2Heads> {
  /** Maximum number of masked patches in a part of the batch; see `mostMasked`. */
  readonly mostMasked: number;
  /** Weights of the losses; 0.1 for KoLeo of each view and 1 for masked patches in DINOv2. */
  readonly koleoWeight: number;
  readonly ibotWeight: number;
  /** Maximum norm of the gradients of the backbone, and of each head; 0 for none. */
  readonly clip: number;
  /** Factor of the learning rate from one layer to the one below it, and that of the patch embedding. */
  readonly layerDecay: number;
  readonly patchEmbedFactor: number;
}

/** A step of DINOv2. */
export interface Dinov2Step extends TrainingStep {
  /** Centers of CLS tokens and of masked patches. */
  readonly centers: { readonly center: Input; readonly ibot_center: Input };
}

/**
 * Records the step of DINOv2 (https://arxiv.org/abs/2304.07193): teacher on the global crops, student on the masked global crops and
 * the local ones, losses of CLS tokens, masked patches and KoLeo, gradients, update of the student, then of the teacher and the
 * centers.
 */
export async function createDinov2Step(device: Device, options: Dinov2StepOptions): Promise<Dinov2Step> {
  const { student, batch, accumulate = 1 } = options;
  const { vit, heads, precision } = student.config;
  const { dino_head: dinoHead, ibot_head: ibotHead = dinoHead } = heads;
  const common = stepInputs(device, options, { channels: vit.channels, precision });
  const { own, drop } = common;
  const masks = Array.from({ length: accumulate }, () =>
    own(partMasks(device, vit, { crops: (GLOBAL_CROPS * batch) / accumulate, ...options })),
  );
  const center = (prototypes: number, label: string) => own(input(device, [1, prototypes], { label }));
  const centers = { center: center(dinoHead.out, "center"), ibot_center: center(ibotHead.out, "center of patches") };
  const optimizer = own(createOptimizer(options));
  const orders: Input[] = [];
  const order = (rows: number): Tensor => {
    const permutation = own(input(device, [rows], { dtype: "u32", label: "order of the batch" }));
    orders.push(permutation);
    return permutation;
  };
  const dropsParts = vit.dropPathRate > (vit.batchPartAbove ?? Infinity);
  const sources = { drop, ...(dropsParts && { order }) };
  const inputs = { ...common, masks, centers, optimizer };
  const program = own(await record(device, () => forwardAndUpdate(inputs, options, sources)));
  return { ...inputs, orders, program };
}

/** Creates AdamW with the official parameter groups. */
function createOptimizer({ student: { config, params }, layerDecay, patchEmbedFactor }: Dinov2StepOptions): Optimizer {
  const rates = { depth: config.vit.depth, layerDecay, patchEmbedFactor };
  return adamw(params, {
    decays,
    rateOf: ({ name }) => rateFactor(rates, name),
    clipsWith: subnetworkOf,
    halts: ({ name }) => name.includes("last_layer"),
  });
}

type Inputs = StepInputs & Pick<Dinov2Step, "masks" | "centers" | "optimizer">;

/** Runs both networks, the losses and the backward, and updates student, teacher and centers; returns the outputs of the step. */
function forwardAndUpdate(inputs: Inputs, options: Dinov2StepOptions, sources: DropSources) {
  const { globals, locals, masks, hyperparameters, centers, optimizer, lossScale: scaling } = inputs;
  const { student, accumulate = 1, peers, sinkhorn, koleoWeight, ibotWeight, centerMomentum } = options;
  const gather = peers && { gather: (x: Tensor) => allGather(peers, x) };
  const centerings = sinkhorn
    ? { dino: { ...sinkhorn, ...gather }, ibot: { ...sinkhorn, ...gather } }
    : { dino: centers.center, ibot: centers.ibot_center };
  const { teacherTemperature } = hyperparameters;
  let gradients: Gradients | undefined;
  const parts = masks.map((part, i) => {
    const views = (locals ? [globals, locals] : [globals]).map((view) => partOf(view, i, accumulate));
    const distilled = distill(views, part, { ...options, ...sources, centerings, teacherTemperature });
    const scaled = scaling && { scale: scaling.scale };
    gradients = parameterGradients(distilled.objective, student.params, { ...scaled, earlier: gradients });
    return distilled.means;
  });
  const names = Object.keys(parts[0]!) as Mean[];
  const found = { parts, names, gradients: gradients! };
  const { means: whole, norms } = updateNetworks(found, inputs, { ...options, optimizer });
  if (!sinkhorn) {
    updateCenter(centers.center, whole.dinoMean, centerMomentum);
    updateCenter(centers.ibot_center, whole.ibotMean, centerMomentum);
  }
  const { localLoss, globalLoss, ibot, koleo } = whole;
  const losses = [globalLoss, ...(locals ? [localLoss] : []), scale(ibot, ibotWeight)];
  if (koleoWeight > 0) losses.push(scale(koleo, GLOBAL_CROPS * koleoWeight));
  return {
    loss: losses.reduce((before, x) => add(before, x)),
    globalLoss,
    ...(locals && { localLoss }),
    ibot,
    ...(koleoWeight > 0 && { koleo }),
    teacherEntropy: whole.teacherEntropy,
    meanTargets: whole.meanTargets,
    studentCoherence: coherence(whole.studentDirection),
    teacherCoherence: coherence(whole.teacherDirection),
    norms,
  };
}

/** Contributions of one part to means over the whole batch; those of all parts on all devices add up to them. */
type Mean =
  | "localLoss"
  | "globalLoss"
  | "ibot"
  | "koleo"
  | "teacherEntropy"
  | "meanTargets"
  | "dinoMean"
  | "ibotMean"
  | "studentDirection"
  | "teacherDirection";

type DistillOptions = Dinov2StepOptions &
  DropSources & {
    readonly centerings: { readonly dino: Centering; readonly ibot: Centering };
    readonly teacherTemperature: Tensor;
  };

/**
 * Runs the teacher on the global crops and the student on all crops, and computes the losses; `views` are the global crops
 * [2 * images, 3, rows, cols] and the local ones, if any, both crop-major.
 */
function distill(
  views: readonly Tensor[],
  { mask, wanted, weights, shares }: PartMasks,
  options: DistillOptions,
): { readonly objective: Tensor; readonly means: Partial<Record<Mean, Tensor>> } {
  const { student, teacher, centerings, teacherTemperature, studentTemperature } = options;
  const { koleoWeight, ibotWeight, sinkhorn, accumulate = 1, peers } = options;
  const [globals, locals] = views as readonly [Tensor, Tensor?];
  const groups = [{ images: globals, mask }, ...(locals ? [{ images: locals, localCrops: true }] : [])];
  const seen = dinov2Forward(teacher, [{ images: globals }], wanted);
  const own = dinov2Forward(student, groups, wanted, options); // [crops * images, ...]
  const temperatures = { studentTemperature, teacherTemperature };
  const dino = distillation(own.logits, seen.logits, centerings.dino, temperatures);
  const rows = { weights, shares };
  const ibot = maskedDistillation(own.patchLogits, seen.patchLogits, centerings.ibot, rows, temperatures);
  const globalRows = globals.shape[0]!;
  const localRows = dino.losses.shape[0]! - globalRows;
  const divided = accumulate * (peers?.size ?? 1);
  const share = (x: Tensor, of = divided) => (of === 1 ? x : scale(x, 1 / of));
  const ibotLoss = share(scale(ibot.loss, 1 / globalRows));
  const koleoLoss = koleoWeight > 0 ? koleoOf(own.features, globalRows, peers) : undefined;
  const both = add(share(dino.loss), scale(ibotLoss, ibotWeight));
  return {
    objective: koleoLoss ? add(both, scale(share(koleoLoss, accumulate), GLOBAL_CROPS * koleoWeight)) : both,
    means: {
      globalLoss: share(sum(slice(dino.losses, 0, 0, globalRows))),
      ...(localRows > 0 && { localLoss: share(sum(slice(dino.losses, 0, globalRows, localRows))) }),
      ibot: ibotLoss,
      ...(koleoLoss && { koleo: share(koleoLoss) }),
      teacherEntropy: share(dino.teacherEntropy),
      meanTargets: share(dino.meanTargets),
      ...(!sinkhorn && { dinoMean: share(dino.teacherMean), ibotMean: ibot.teacherMean }),
      studentDirection: share(direction(own.features)),
      teacherDirection: share(direction(seen.features)),
    },
  };
}
