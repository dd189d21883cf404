import type { Device } from "../core/device.js";
import { grid, kernel } from "../core/kernel.js";
import { input, type Input } from "../core/memory.js";
import { createParams, type Layout, layoutOf, type Params, type ParamSpec } from "../core/params.js";
import { transient } from "../core/recording.js";
import { ALIGNMENT, BYTES_PER_ELEMENT, expectShape, type Tensor } from "../core/tensor.js";
import type { Gradients } from "../gradients/gradients.js";
import { type LossScale, settle } from "./loss-scale.js";

const segmentSquares = kernel("segment-squares", {
  reads: ["segments", "gradient"],
  writes: [],
  updates: ["squares"],
  constants: [],
});
const segmentProducts = kernel("segment-products", {
  reads: ["segments", "gradient", "parameter"],
  writes: [],
  updates: ["products"],
  constants: [],
});
const adamwControl = kernel("adamw-control", {
  reads: ["tensors", "squares", "lr", "weightDecay", "frozen"],
  writes: ["norms", "control"],
  updates: ["steps"],
  constants: ["CLIP", "SCALED", "LOG_BETA1", "LOG_BETA2"],
});
const adamwUpdate = kernel("adamw", {
  reads: ["segments", "control", "gradient"],
  writes: [],
  updates: ["parameter", "m", "v"],
  constants: ["BETA1", "REST1", "BETA2", "REST2", "EPSILON"],
});
const momentumControl = kernel("momentum-control", {
  reads: ["tensors", "products", "lr", "weightDecay", "frozen"],
  writes: ["norms", "control"],
  constants: ["CLIP", "SCALED", "ETA"],
});
const momentumUpdate = kernel("momentum", {
  reads: ["segments", "control", "gradient"],
  writes: [],
  updates: ["parameter", "v"],
  constants: ["MOMENTUM"],
});
const averaging = kernel("ema", { reads: ["student", "momentum"], writes: [], updates: ["teacher"], constants: [] });

/** Updates all trainable tensors of one `Params` in place; owns its state. */
export interface Optimizer extends Disposable {
  /** The trained tensors, in the order of `norms`. */
  readonly names: readonly string[];
  /** State for resuming, besides the parameters, under torch's names: "exp_avg", "exp_avg_sq", "step", "momentum_buffer", "mu". */
  readonly state: Readonly<Record<string, Params>>;
  /** Records one update; norms [names] are the norms of the gradients before clipping. */
  step(gradients: Gradients, settings: StepSettings): { readonly norms: Tensor };
}

/** Scheduled values of an optimizer step. */
export interface StepSettings {
  /** Scalar tensors, which may change on every run. */
  readonly lr: Tensor;
  readonly weightDecay: Tensor;
  /** 1 while the tensors selected by `freezes` or `halts` stay as they are. */
  readonly frozen?: Tensor;
  /**
   * Maximum norm of each tensor's gradient, as `clip_gradients` of DINO, or of the gradients that `clipsWith` puts together; default
   * 0, no clipping.
   */
  readonly clip?: number;
  /** Scale of the loss; a step with a gradient that is not finite then changes only the scale. */
  readonly lossScale?: LossScale | undefined;
}

/** Options of all optimizers. */
export interface OptimizerOptions {
  /** Selects the tensors with weight decay; by default all but vectors and names that end in `.bias`. */
  readonly decays?: (parameter: ParamSpec) => boolean;
  /** Selects the tensors that are skipped while `frozen` is 1: no decay, no moments, no step count; by default none. */
  readonly freezes?: (parameter: ParamSpec) => boolean;
  /** Selects the tensors whose learning rate is 0 while `frozen` is 1; moments and step count go on. By default none. */
  readonly halts?: (parameter: ParamSpec) => boolean;
  /** Returns the factor of a tensor's learning rate; by default 1. */
  readonly rateOf?: (parameter: ParamSpec) => number;
  /**
   * Returns the part of the network with whose other tensors the gradient of a tensor is clipped, by the norm of them all; by default
   * each is clipped by itself. The tensors of a part must follow each other.
   */
  readonly clipsWith?: (parameter: ParamSpec) => string;
  /** Maximum bytes of one binding; by default the device's limit. */
  readonly bindingBytes?: number;
}

/** Options of `adamw`. */
export interface AdamWOptions extends OptimizerOptions {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
}

/**
 * Adam with decoupled weight decay, and bias correction by a step count per tensor, as torch.optim.AdamW.
 * Loshchilov & Hutter 2019 (https://arxiv.org/abs/1711.05101).
 */
export function adamw(params: Params, options: AdamWOptions = {}): Optimizer {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 } = options;
  const moments = trainableLayout(params.layout);
  const counts = layoutOf(moments.entries.map(({ name }) => ({ name, shape: [], trainable: false })));
  const m = createParams(params.device, moments, "exp_avg");
  const v = createParams(params.device, moments, "exp_avg_sq");
  const steps = createParams(params.device, counts, "step");
  const state = { exp_avg: m, exp_avg_sq: v, step: steps };
  const constants = { BETA1: beta1, REST1: 1 - beta1, BETA2: beta2, REST2: 1 - beta2, EPSILON: epsilon };
  const MIN_BETA = 1e-30; // a beta of 0 has no logarithm
  const logs = { LOG_BETA1: Math.log(Math.max(beta1, MIN_BETA)), LOG_BETA2: Math.log(Math.max(beta2, MIN_BETA)) };
  return optimizer(params, state, options, (tables, gradients, { lr, weightDecay, frozen, clip, lossScale }) => {
    const { tensors, parts } = tables;
    const squares = transient([tables.segments]);
    for (const part of parts) {
      const { segments, groups } = part;
      segmentSquares({ segments, gradient: part.viewOf(gradients.flat), squares }, {}, groups);
    }
    const verdict = lossScale ? settle(lossScale, squares, frozen) : frozen;
    const norms = transient([tables.names.length]);
    const control = transient([tables.names.length, 4]);
    adamwControl(
      { tensors, squares, lr, weightDecay, frozen: verdict, norms, control, steps: steps.flat },
      { CLIP: clip, SCALED: lossScale ? 1 : 0, ...logs },
      grid(tables.names.length),
    );
    for (const part of parts) {
      const [gradient, parameter] = [part.viewOf(gradients.flat), part.viewOf(params.flat)];
      const averages = { m: part.viewOf(m.flat), v: part.viewOf(v.flat) };
      adamwUpdate({ segments: part.segments, control, gradient, parameter, ...averages }, constants, part.groups);
    }
    return { norms };
  });
}

/** Options of `sgd`. */
export interface SgdOptions extends OptimizerOptions {
  readonly momentum?: number;
}

/** Stochastic gradient descent with momentum; weight decay is added to the gradient, as in torch.optim.SGD. */
export function sgd(params: Params, options: SgdOptions = {}): Optimizer {
  return withMomentum(params, options, { memory: "momentum_buffer", momentum: options.momentum ?? 0.9 });
}

/** Options of `lars`. */
export interface LarsOptions extends SgdOptions {
  /** Norm of a step relative to the norm of the tensor, before lr. */
  readonly eta?: number;
}

/**
 * SGD with momentum, whose steps are scaled to the norm of each tensor that is not a vector, as `LARS` of DINO's utils.py.
 * You et al. 2017 (https://arxiv.org/abs/1708.03888).
 */
export function lars(params: Params, options: LarsOptions = {}): Optimizer {
  return withMomentum(params, options, {
    memory: "mu",
    momentum: options.momentum ?? 0.9,
    eta: options.eta ?? 0.001,
  });
}

function withMomentum(
  params: Params,
  options: OptimizerOptions,
  { memory, momentum, eta }: { readonly memory: string; readonly momentum: number; readonly eta?: number },
): Optimizer {
  const v = createParams(params.device, trainableLayout(params.layout), memory);
  const adapts = ({ shape }: ParamSpec) => eta !== undefined && shape.length !== 1;
  return optimizer(
    params,
    { [memory]: v },
    { ...options, adapts },
    (tables, gradients, { lr, weightDecay, frozen, clip, lossScale }) => {
      const { tensors, parts } = tables;
      const products = transient([tables.segments, 4]);
      for (const part of parts) {
        const [gradient, parameter] = [part.viewOf(gradients.flat), part.viewOf(params.flat)];
        segmentProducts({ segments: part.segments, gradient, parameter, products }, {}, part.groups);
      }
      const verdict = lossScale ? settle(lossScale, products, frozen) : frozen;
      const norms = transient([tables.names.length]);
      const control = transient([tables.names.length, 4]);
      momentumControl(
        { tensors, products, lr, weightDecay, frozen: verdict, norms, control },
        { CLIP: clip, SCALED: lossScale ? 1 : 0, ETA: eta ?? 0 },
        grid(tables.names.length),
      );
      for (const part of parts) {
        const [gradient, parameter] = [part.viewOf(gradients.flat), part.viewOf(params.flat)];
        momentumUpdate(
          { segments: part.segments, control, gradient, parameter, v: part.viewOf(v.flat) },
          { MOMENTUM: momentum },
          part.groups,
        );
      }
      return { norms };
    },
  );
}

/**
 * In place, teacher = momentum * teacher + (1 - momentum) * student over every parameter, trainable or not;
 * momentum is a scalar. Throws if their layouts differ.
 */
export function ema(
  teacher: Params,
  student: Params,
  momentum: Tensor,
  { bindingBytes = teacher.device.limits.maxStorageBufferBindingSize }: { readonly bindingBytes?: number } = {},
): void {
  expectShape("ema momentum", momentum, []);
  expectSameLayout("ema", teacher.layout, student.layout);
  const { size } = teacher.layout;
  const maxElements = Math.floor(bindingBytes / BYTES_PER_ELEMENT / ALIGNMENT) * ALIGNMENT;
  for (let start = 0; start < size; start += maxElements) {
    const elements = Math.min(maxElements, size - start);
    const [to, from] = [range(teacher.flat, start, elements), range(student.flat, start, elements)];
    averaging({ student: from, momentum, teacher: to }, {}, grid(Math.ceil(elements / SEGMENT)));
  }
}

/** Elements of a segment, the work of one workgroup; segments do not cross tensor boundaries. */
const SEGMENT = 4096;

/** Bits of the flags in `optimizer.wgsl`. */
const FLAGS = { decayed: 1, freezes: 2, adapted: 4, halts: 8 };

/** A run of segments that fits one binding. */
interface Part {
  /** [segments, 4]: first element in the part, elements, tensor, segment among all. */
  readonly segments: Input;
  readonly groups: ReturnType<typeof grid>;
  /** Returns the part's elements of a flat tensor. */
  viewOf(flat: Tensor): Tensor;
}

interface Tables {
  readonly names: readonly string[];
  /**
   * [names, 8]: first segment, segments, flags, offset of the step count; first segment and segments of the tensors that it is
   * clipped with, bits of the factor of its learning rate, unused.
   */
  readonly tensors: Input;
  /** Total number of segments. */
  readonly segments: number;
  readonly parts: readonly Part[];
}

type Step = (tables: Tables, gradients: Gradients, settings: Required<StepSettings>) => ReturnType<Optimizer["step"]>;

function optimizer(
  params: Params,
  state: Readonly<Record<string, Params>>,
  options: OptimizerOptions & { readonly adapts?: (parameter: ParamSpec) => boolean },
  step: Step,
): Optimizer {
  const { device, layout } = params;
  const tables = createTables(device, layout, state["step"]?.layout, options);
  const notFrozen = input(device, [], { label: "frozen" });
  return {
    names: tables.names,
    state,
    step(gradients, { lr, weightDecay, frozen = notFrozen, clip = 0, lossScale }) {
      expectSameLayout("optimizer step", gradients.layout, layout);
      for (const [name, x] of Object.entries({ lr, weightDecay, frozen })) expectShape(`optimizer ${name}`, x, []);
      return step(tables, gradients, { lr, weightDecay, frozen, clip, lossScale });
    },
    [Symbol.dispose]() {
      const owned = [
        ...Object.values(state),
        notFrozen,
        tables.tensors,
        ...tables.parts.map(({ segments }) => segments),
      ];
      for (const tensor of owned) tensor[Symbol.dispose]();
    },
  };
}

/** Returns the layout without entries that are not trainable; offsets and total size stay. */
function trainableLayout(layout: Layout): Layout {
  return { ...layout, entries: layout.entries.filter(({ trainable }) => trainable) };
}

function createTables(
  device: Device,
  layout: Layout,
  counts: Layout | undefined,
  options: OptimizerOptions & { readonly adapts?: (parameter: ParamSpec) => boolean },
): Tables {
  const { bindingBytes = device.limits.maxStorageBufferBindingSize } = options;
  const { rateOf = () => 1, clipsWith = ({ name }: ParamSpec) => name } = options;
  const maxElements = bindingBytes / BYTES_PER_ELEMENT;
  const { entries } = trainableLayout(layout);
  const firsts: number[] = [];
  const parts: { readonly start: number; end: number; readonly rows: number[] }[] = [];
  let segments = 0;
  entries.forEach((entry, tensor) => {
    firsts.push(segments);
    for (let first = 0; first < entry.size; first += SEGMENT) {
      const start = entry.offset + first;
      const end = Math.min(start + SEGMENT, entry.offset + entry.size);
      let part = parts.at(-1);
      if (!part || end - part.start > maxElements) parts.push((part = { start, end, rows: [] }));
      part.rows.push(start - part.start, end - start, tensor, segments++);
      part.end = end;
    }
  });
  firsts.push(segments);
  const clipped = rangesOf(entries.map(clipsWith));
  const rates = new Uint32Array(Float32Array.from(entries, rateOf).buffer);
  const tensorRows = entries.flatMap((entry, tensor) => {
    const [first, clippedFirst] = [firsts[tensor]!, firsts[clipped[tensor]!.first]!];
    const clippedSegments = firsts[clipped[tensor]!.end]! - clippedFirst;
    const own = [first, firsts[tensor + 1]! - first, flagsOf(entry, options), counts?.entries[tensor]!.offset ?? 0];
    return [...own, clippedFirst, clippedSegments, rates[tensor]!, 0];
  });
  return {
    names: entries.map(({ name }) => name),
    tensors: table(device, "tensors", tensorRows),
    segments,
    parts: parts.map(({ start, end, rows }) => ({
      segments: table(device, "segments", rows),
      groups: grid(rows.length / 4),
      viewOf: (flat) => range(flat, start, Math.ceil((end - start) / 4) * 4), // kernels read multiples of four; a gap follows
    })),
  };
}

function flagsOf(
  entry: ParamSpec,
  {
    decays = ({ name, shape }) => !(name.endsWith(".bias") || shape.length === 1),
    freezes = () => false,
    adapts = () => false,
    halts = () => false,
  }: OptimizerOptions & { readonly adapts?: (parameter: ParamSpec) => boolean },
): number {
  const flag = (bits: number, isSet: boolean) => (isSet ? bits : 0);
  return (
    flag(FLAGS.decayed, decays(entry)) |
    flag(FLAGS.freezes, freezes(entry)) |
    flag(FLAGS.adapted, adapts(entry)) |
    flag(FLAGS.halts, halts(entry))
  );
}

/** Returns the range of positions with the same key, for each position. Throws if equal keys do not follow each other. */
function rangesOf(keys: readonly string[]): readonly { readonly first: number; readonly end: number }[] {
  return keys.map((key) => {
    const [first, end] = [keys.indexOf(key), keys.lastIndexOf(key) + 1];
    if (keys.slice(first, end).some((other) => other !== key))
      throw new Error(`optimizer clipsWith: the tensors of "${key}" do not follow each other`);
    return { first, end };
  });
}

function table(device: Device, label: string, rows: readonly number[]): Input {
  const tensor = input(device, [rows.length / 4, 4], { dtype: "u32", label });
  tensor.write(rows);
  return tensor;
}

function range(flat: Tensor, start: number, elements: number): Tensor {
  return { ...flat, shape: [elements], offset: flat.offset + start * BYTES_PER_ELEMENT };
}

function expectSameLayout(what: string, a: Layout, b: Layout): void {
  if (a === b) return;
  const positions = ({ entries }: Layout) =>
    entries.map(({ name, offset, size }) => `${name} ${offset} ${size}`).join();
  if (positions(a) !== positions(b)) throw new Error(`${what}: the two layouts differ`);
}
