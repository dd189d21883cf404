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

/** Changes all trainable tensors of one `Params` in place; owns what it remembers between runs. */
export interface Optimizer extends Disposable {
  /** The trained tensors, in the order of `norms`. */
  readonly names: readonly string[];
  /** What resuming needs besides the parameters, under torch's names: "exp_avg", "exp_avg_sq", "step", "momentum_buffer", "mu". */
  readonly state: Readonly<Record<string, Params>>;
  /** Notes one update in the running recording; norms [names] are the lengths of the gradients before clipping. */
  step(gradients: Gradients, settings: StepSettings): { readonly norms: Tensor };
}

/** What the schedules of a training give an optimizer. */
export interface StepSettings {
  /** Scalars, so that they may change on every run. */
  readonly lr: Tensor;
  readonly weightDecay: Tensor;
  /** 1 while the tensors that `freezes` chose are skipped altogether: no decay, no moments, no step count. */
  readonly frozen?: Tensor;
  /** Greatest length of each tensor's gradient, as `clip_gradients` of DINO; 0, as where it is left out, clips nothing. */
  readonly clip?: number;
  /** What the loss was multiplied by; a step whose gradients are not finite then changes nothing but this. */
  readonly lossScale?: LossScale | undefined;
}

/** What all optimizers have in common. */
export interface OptimizerOptions {
  /** Does weight decay apply to it? To all but vectors and names that end in `.bias` where it is left out. */
  readonly decays?: (parameter: ParamSpec) => boolean;
  /** Is it skipped while `frozen` is 1? None is where it is left out. */
  readonly freezes?: (parameter: ParamSpec) => boolean;
  /** Most bytes in one binding; the device's limit where it is left out. */
  readonly bindingBytes?: number;
}

/** Of `adamw`. */
export interface AdamWOptions extends OptimizerOptions {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
}

/**
 * Adam with decoupled weight decay, and bias correction by a step count of each tensor, as torch.optim.AdamW.
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
      segmentSquares({ segments, gradient: part.of(gradients.flat), squares }, {}, groups);
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
      const [gradient, parameter] = [part.of(gradients.flat), part.of(params.flat)];
      const averages = { m: part.of(m.flat), v: part.of(v.flat) };
      adamwUpdate({ segments: part.segments, control, gradient, parameter, ...averages }, constants, part.groups);
    }
    return { norms };
  });
}

/** Of `sgd`. */
export interface SgdOptions extends OptimizerOptions {
  readonly momentum?: number;
}

/** Stochastic gradient descent with momentum; weight decay joins the gradient, as in torch.optim.SGD. */
export function sgd(params: Params, options: SgdOptions = {}): Optimizer {
  return withMomentum(params, options, { memory: "momentum_buffer", momentum: options.momentum ?? 0.9 });
}

/** Of `lars`. */
export interface LarsOptions extends SgdOptions {
  /** Length of a step relative to the length of the tensor, before lr. */
  readonly eta?: number;
}

/**
 * SGD with momentum whose steps keep to the length of each tensor that is not a vector, as `LARS` of DINO's utils.py.
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
        const [gradient, parameter] = [part.of(gradients.flat), part.of(params.flat)];
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
        const [gradient, parameter] = [part.of(gradients.flat), part.of(params.flat)];
        momentumUpdate(
          { segments: part.segments, control, gradient, parameter, v: part.of(v.flat) },
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
 * momentum is a scalar. Throws where the two are laid out differently.
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
  const most = Math.floor(bindingBytes / BYTES_PER_ELEMENT / ALIGNMENT) * ALIGNMENT;
  for (let start = 0; start < size; start += most) {
    const elements = Math.min(most, size - start);
    const [to, from] = [range(teacher.flat, start, elements), range(student.flat, start, elements)];
    averaging({ student: from, momentum, teacher: to }, {}, grid(Math.ceil(elements / SEGMENT)));
  }
}

/** Elements that one workgroup takes; none of them crosses from one tensor to the next. */
const SEGMENT = 4096;

/** Bits of the flags in `optimizer.wgsl`. */
const FLAGS = { decayed: 1, freezes: 2, adapted: 4 };

/** A run of segments that fits one binding. */
interface Part {
  /** [segments, 4]: first element in the part, elements, tensor, segment among all. */
  readonly segments: Input;
  readonly groups: ReturnType<typeof grid>;
  /** The part's elements of a flat tensor. */
  of(flat: Tensor): Tensor;
}

interface Tables {
  readonly names: readonly string[];
  /** [names, 4]: first segment, segments, flags, place of the step count. */
  readonly tensors: Input;
  /** Number of segments of all parts. */
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

/** The places of the trainable parameters alone, in a buffer that is laid out like the whole. */
function trainableLayout(layout: Layout): Layout {
  return { ...layout, entries: layout.entries.filter(({ trainable }) => trainable) };
}

function createTables(
  device: Device,
  layout: Layout,
  counts: Layout | undefined,
  {
    decays = ({ name, shape }) => !(name.endsWith(".bias") || shape.length === 1),
    freezes = () => false,
    adapts = () => false,
    bindingBytes = device.limits.maxStorageBufferBindingSize,
  }: OptimizerOptions & { readonly adapts?: (parameter: ParamSpec) => boolean },
): Tables {
  const most = bindingBytes / BYTES_PER_ELEMENT;
  const { entries } = trainableLayout(layout);
  const tensorRows: number[] = [];
  const parts: { readonly start: number; end: number; readonly rows: number[] }[] = [];
  let segments = 0;
  entries.forEach((entry, tensor) => {
    const flags =
      (decays(entry) ? FLAGS.decayed : 0) | (freezes(entry) ? FLAGS.freezes : 0) | (adapts(entry) ? FLAGS.adapted : 0);
    const segmentCount = Math.ceil(entry.size / SEGMENT);
    tensorRows.push(segments, segmentCount, flags, counts?.entries[tensor]!.offset ?? 0);
    for (let piece = 0; piece < segmentCount; piece++) {
      const start = entry.offset + piece * SEGMENT;
      const end = Math.min(start + SEGMENT, entry.offset + entry.size);
      let part = parts.at(-1);
      if (!part || end - part.start > most) parts.push((part = { start, end, rows: [] }));
      part.rows.push(start - part.start, end - start, tensor, segments++);
      part.end = end;
    }
  });
  return {
    names: entries.map(({ name }) => name),
    tensors: table(device, "tensors", tensorRows),
    segments,
    parts: parts.map(({ start, end, rows }) => ({
      segments: table(device, "segments", rows),
      groups: grid(rows.length / 4),
      of: (flat) => range(flat, start, Math.ceil((end - start) / 4) * 4), // kernels take whole fours, and a gap follows
    })),
  };
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
  const places = ({ entries }: Layout) => entries.map(({ name, offset, size }) => `${name} ${offset} ${size}`).join();
  if (places(a) !== places(b)) throw new Error(`${what}: the two are laid out differently`);
}
