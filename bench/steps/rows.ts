import { rng } from "../../dino/math/random.js";
import type { Device } from "../../engine/core/device.js";
import { formatShape } from "../../engine/core/tensor.js";
import {
  attention,
  cast,
  constant,
  createParams,
  crossEntropy,
  distillation,
  fill,
  gelu,
  gradients,
  koleo,
  layernorm,
  layoutOf,
  linear,
  type Logits,
  matmul,
  type Precision,
  type Shape,
  sizeOf,
  softmax,
  type Tensor,
} from "../../engine/index.js";
import { adamw, ema } from "../../engine/optimizers/optimizer.js";
import * as reference from "../../reference/operations.js";
import type { Values } from "../../reference/operations.js";

/** Numbers on the host as the GPU gets and gives them. */
export interface Host {
  readonly shape: Shape;
  readonly data: Float32Array;
}

/** One line of the bench: what is built, on which shapes, and what it should give. */
export interface BenchRow {
  readonly name: string;
  readonly inputs: readonly Shape[];
  /** What to print of its size where the inputs do not say it. */
  readonly shape?: string;
  /** What is computed; the first tensor is checked, the others are only kept from being pruned. */
  readonly build: (...inputs: Tensor[]) => readonly [Tensor, ...Tensor[]];
  /** Kernels whose time counts; all that `build` needs where it is left out. */
  readonly kernels?: RegExp;
  readonly flops?: number;
  /** What has to be read and written once. */
  readonly bytes?: number;
  /** Largest deviation from the float64 reference, over the largest expected value. */
  readonly check: (inputs: readonly Host[], result: Host) => number;
  /** Of `check`; 1e-5 where it is left out. */
  readonly tolerance?: number;
  /** Computes in f16, which not every device has. */
  readonly half?: true;
}

/** A row with memory of its own. */
export interface OwningRow {
  readonly name: string;
  make(device: Device): BenchRow & Disposable;
}

type Reference = (...inputs: Values[]) => Values;

/** Lines of a large result that are compared with the reference. */
const SAMPLES = 4;

/** Width and heads of ViT-S on a GPU, of ViT-Ti in software. */
const VIT = { gpu: { dim: 384, heads: 6, hidden: 1536 }, software: { dim: 192, heads: 3, hidden: 768 } };

/** K of the paper. */
const PROTOTYPES = 65536;

const TOKENS = { global: 1 + 14 ** 2, local: 1 + 6 ** 2 }; // of a 224 and a 96 pixel crop, with patches of 16
const CROPS = { global: 2, local: 8 };

/**
 * The rows for a step on `batch` images: 2 crops of 224 pixels and 8 of 96 of each, through a ViT with patches of 16; on a GPU
 * a large product and attention over many tokens besides.
 */
export function rows(batch: number, kind: keyof typeof VIT): readonly (BenchRow | OwningRow)[] {
  const { dim, heads, hidden } = VIT[kind];
  const tokens = batch * (CROPS.global * TOKENS.global + CROPS.local * TOKENS.local);
  return [
    product("matmul qkv", tokens, 3 * dim, dim),
    product("matmul mlp, up", tokens, hidden, dim),
    product("matmul mlp, down", tokens, dim, hidden),
    product("matmul prototypes", 10 * batch, PROTOTYPES, 256),
    {
      name: "matmul mlp, input gradient",
      inputs: [
        [tokens, hidden],
        [hidden, dim],
      ],
      build: (dy, weight) => [matmul(dy, weight)],
      ...costOfProduct(tokens, dim, hidden),
      check: rowwise(reference.matmul()),
    },
    {
      name: "matmul mlp, weight gradient",
      inputs: [
        [tokens, hidden],
        [tokens, dim],
      ],
      build: (dy, x) => [matmul(dy, x, { a: true })],
      ...costOfProduct(hidden, dim, tokens),
      check: ([dy, x], result) => {
        const at = sample(hidden);
        return deviation(take(result, at), reference.matmul({ a: true })(columns(dy!, at), whole(x!)));
      },
    },
    ...[
      product("matmul qkv", tokens, 3 * dim, dim),
      product("matmul mlp, up", tokens, hidden, dim),
      product("matmul mlp, down", tokens, dim, hidden),
    ].map(inHalves(/^matmul/)),
    {
      name: "gelu",
      inputs: [[tokens, hidden]],
      build: (x) => [gelu(x)],
      bytes: 4 * 2 * tokens * hidden,
      check: rowwise(reference.gelu),
    },
    {
      name: "softmax",
      inputs: [[tokens, TOKENS.global]],
      build: (x) => [softmax(x)],
      bytes: 4 * 2 * tokens * TOKENS.global,
      check: rowwise(reference.softmax),
    },
    ofLabels(),
    {
      name: "layernorm",
      inputs: [[tokens, dim], [dim], [dim]],
      build: (x, gain, bias) => [layernorm(x, gain, bias)],
      bytes: 4 * 2 * tokens * dim,
      check: rowwise(reference.layernorm(1e-6)),
    },
    {
      name: "layernorm backward",
      inputs: [[tokens, dim], [dim], [dim], [tokens, dim]],
      build: (x, gain, bias, dy) => gradientsOf(layernorm(x, gain, bias), dy, [x, gain, bias]),
      kernels: /^layernorm.*-backward|^sum-rows/,
      bytes: 4 * 5 * tokens * dim, // x and dy for dx, dx, and both again for gain and bias
      check: gradientRowwise(reference.layernorm(1e-6)),
      tolerance: 1e-4,
    },
    ...(kind === "gpu" ? [product("matmul 4096", 4096, 4096, 4096)] : []).flatMap((row) => [
      row,
      inHalves(/^matmul/)(row),
    ]),
    ...[
      { sequences: batch * CROPS.global, n: TOKENS.global },
      { sequences: batch * CROPS.local, n: TOKENS.local },
      ...(kind === "gpu" ? [{ sequences: batch, n: 1 + 28 ** 2 }] : []), // patches of 8
    ].flatMap(({ sequences, n }) => {
      const flops = 4 * sequences * n * n * dim; // q kᵀ and p v
      const qkv = [sequences, n, 3 * dim];
      const check = rowwise(reference.attention(heads), 1);
      const checkGradient = gradientRowwise(reference.attention(heads), 1);
      const forward = {
        name: `attention, ${n} tokens`,
        inputs: [qkv],
        build: (x) => [attention(x, heads)],
        flops,
        check,
      } satisfies BenchRow;
      const backward = {
        name: `attention backward, ${n} tokens`,
        inputs: [qkv, [sequences, n, dim]],
        build: (x, dy) => gradientsOf(attention(x, heads), dy, [x]),
        kernels: /^attention.*-(backward|delta)/,
        flops: 2.5 * flops, // five products, of which one is the forward's again
        check: checkGradient,
        tolerance: 1e-4,
      } satisfies BenchRow;
      return [forward, inHalves(/^attention/)(forward), backward, inHalves(backward.kernels)(backward)];
    }),
    ...distilledCrossEntropy(Math.min(batch, 8)), // the reference takes seconds for more
    ...prototypes(batch, "f32"),
    ...prototypes(batch, "f16"),
    ...spreading(CROPS.global * Math.max(batch, 2), dim), // one image has no neighbour
    { name: "adamw", make: adamwRow },
    { name: "ema", make: emaRow },
  ];
}

/** Temperatures of student and teacher. */
const TEMPERATURES = { student: 0.1, teacher: 0.04 };
type Temperatures = typeof TEMPERATURES;
const SINKHORN = { iterations: 3 };

const distil = (student: Logits, teacher: Logits, center: Tensor, temperatures: Temperatures): Tensor =>
  distillation(student, teacher, center, {
    studentTemperature: temperatures.student,
    teacherTemperature: fill([], temperatures.teacher),
  }).loss;

/** The same in float64. */
function distilled(student: Values, teacher: Values, center: Host, temperatures: Temperatures): number {
  const teacherTemperature = reference.values([], () => Math.fround(temperatures.teacher));
  return reference.distillation(temperatures.student)(student, teacher, whole(center), teacherTemperature).data[0]!;
}

/** Rows of an image's crops among those of all images. */
const cropsOf = (image: number, images: number, crops: number) =>
  Array.from({ length: crops }, (_, crop) => crop * images + image);

const meanOver = (images: number, of: (image: number) => number): Values =>
  reference.values([], () => Array.from({ length: images }, (_, i) => of(i)).reduce((sum, v) => sum + v / images, 0));

/** The loss over all prototypes and its gradient, of which one image's is checked. */
function distilledCrossEntropy(images: number): BenchRow[] {
  const crops = CROPS.global + CROPS.local;
  const shapes = [[crops * images, PROTOTYPES], [CROPS.global * images, PROTOTYPES], [PROTOTYPES]];
  const rowsOf = (image: number) => cropsOf(image, images, crops);
  const teacherOf = (teacher: Host, image: number) => take(teacher, cropsOf(image, images, CROPS.global));
  const elements = (crops + CROPS.global) * images * PROTOTYPES;
  return [
    {
      name: "cross-entropy",
      inputs: shapes,
      build: (student, teacher, center) => [distil(student, teacher, center, TEMPERATURES)],
      kernels: /^distillation-(?!backward)/,
      bytes: 4 * (elements + CROPS.global * images * PROTOTYPES), // the targets are written too
      check: ([student, teacher, center], result) => {
        const expected = meanOver(images, (i) =>
          distilled(take(student!, rowsOf(i)), teacherOf(teacher!, i), center!, TEMPERATURES),
        );
        return deviation(whole(result), expected);
      },
    },
    {
      name: "cross-entropy by Sinkhorn-Knopp",
      inputs: shapes.slice(0, 2),
      build: (student, teacher) => [
        distillation(student, teacher, SINKHORN, {
          studentTemperature: TEMPERATURES.student,
          teacherTemperature: fill([], TEMPERATURES.teacher),
        }).loss,
      ],
      kernels: /^sinkhorn|^distillation-(?!backward)/,
      check: ([student, teacher], result) => {
        const ref = reference.sinkhornDistillation(TEMPERATURES.student, SINKHORN.iterations);
        const temperature = reference.values([], () => Math.fround(TEMPERATURES.teacher));
        return deviation(whole(result), ref(whole(student!), whole(teacher!), temperature));
      },
    },
    {
      name: "cross-entropy backward",
      inputs: shapes,
      build: (student, teacher, center) =>
        gradientsOf(distil(student, teacher, center, TEMPERATURES), fill([], 1), [student]),
      kernels: /^distillation-backward/,
      bytes: 4 * (elements + crops * images * PROTOTYPES),
      check: ([student, teacher, center], result) => {
        const objective = (moved: Values) => distilled(moved, teacherOf(teacher!, 0), center!, TEMPERATURES) / images;
        return gradientDeviation(take(result, rowsOf(0)), take(student!, rowsOf(0)), objective);
      },
      tolerance: 1e-4,
    },
  ];
}

/** Width of the official bottleneck. */
const BOTTLENECK = 256;

/**
 * The last layer and the loss over all prototypes together, and with the gradients of bottleneck and weights, of which one
 * image's bottleneck is checked. Rows and weights are as long as the root of their width instead of 1, so the temperatures grow.
 */
function prototypes(batch: number, precision: Precision): BenchRow[] {
  const crops = CROPS.global + CROPS.local;
  const temperatures = { student: BOTTLENECK * TEMPERATURES.student, teacher: BOTTLENECK * TEMPERATURES.teacher };
  const few = Math.min(batch, 8); // the reference takes seconds for more
  const weights = [PROTOTYPES, BOTTLENECK];
  const shapes = (images: number) => [
    ...[[crops * images, BOTTLENECK], weights, [CROPS.global * images, BOTTLENECK], weights],
    [PROTOTYPES],
  ];
  const loss = (x: Tensor, weight: Tensor, teacherX: Tensor, teacherWeight: Tensor, center: Tensor) =>
    distil({ x, weight, precision }, { x: teacherX, weight: teacherWeight, precision }, center, temperatures);
  const inHalf = precision === "f16";
  const suffix = inHalf ? ", f16" : "";
  const half = inHalf && ({ half: true } as const);
  const lossScale = inHalf ? 65536 * BOTTLENECK : 1; // as of a step whose temperatures have not grown
  /** The loss of one image, which `x` may move. */
  const expected = ([, weight, teacherX, teacherWeight, center]: readonly Host[], images: number) => {
    const [w, teacherW] = [whole(weight!), whole(teacherWeight!)];
    return (x: Values, image: number) => {
      const teacher = reference.linear(take(teacherX!, cropsOf(image, images, CROPS.global)), teacherW);
      return distilled(reference.linear(x, w), teacher, center!, temperatures);
    };
  };
  const productFlops = (count: number) => 2 * count * PROTOTYPES * BOTTLENECK;
  return [
    {
      name: `prototypes and loss${suffix}`,
      ...half,
      inputs: shapes(few),
      build: (x, weight, teacherX, teacherWeight, center) => [loss(x, weight, teacherX, teacherWeight, center)],
      flops: productFlops((crops + CROPS.global) * few),
      tolerance: inHalf ? 1e-3 : 1e-5,
      check: (inputs, result) => {
        const of = expected(inputs, few);
        return deviation(
          whole(result),
          meanOver(few, (i) => of(take(inputs[0]!, cropsOf(i, few, crops)), i)),
        );
      },
    },
    {
      name: `prototypes and loss, gradients${suffix}`,
      ...half,
      inputs: shapes(batch),
      build: (x, weight, teacherX, teacherWeight, center) =>
        gradientsOf(loss(x, weight, teacherX, teacherWeight, center), fill([], lossScale), [x, weight]),
      flops: productFlops((3 * crops + CROPS.global) * batch), // what is made again is not counted
      check: (inputs, result) => {
        const of = expected(inputs, batch);
        const joined = cropsOf(0, batch, crops);
        const scaled = (moved: Values) => (lossScale / batch) * of(moved, 0);
        return gradientDeviation(take(result, joined), take(inputs[0]!, joined), scaled);
      },
      tolerance: inHalf ? 1e-2 : 1e-4,
    },
  ];
}

/** The KoLeo loss of the features of global crops. */
function spreading(crops: number, dim: number): BenchRow[] {
  const ref = reference.koleo(CROPS.global);
  const inputs = [[crops, dim]];
  return [
    {
      name: "koleo",
      inputs,
      flops: (3 * crops * crops * dim) / CROPS.global, // difference, square and sum
      build: (x) => [koleo(x, CROPS.global)],
      check: ([x], result) => deviation(whole(result), ref(whole(x!))),
    },
    {
      name: "koleo backward",
      inputs,
      build: (x) => gradientsOf(koleo(x, CROPS.global), fill([], 1), [x]),
      kernels: /^koleo-backward/,
      check: ([x], result) => gradientDeviation(whole(result), whole(x!), (moved) => ref(moved).data[0]!),
      tolerance: 1e-4,
    },
  ];
}

/** As many parameters as ViT-Ti has. */
const PARAMETERS = [28672, 192] as const;
const layout = layoutOf([{ name: "weight", shape: PARAMETERS, trainable: true }]);

/** The first step of AdamW, in which both moments are the gradient's own. */
function adamwRow(device: Device): BenchRow & Disposable {
  const params = createParams(device, layout, "params");
  const start = numbers(PARAMETERS, 1);
  params.write(new Map([["weight", start.data]]));
  const optimizer = adamw(params);
  const [lr, decay] = [1e-2, 0.04];
  return {
    name: "adamw",
    inputs: [[layout.size]],
    build: (flat) => {
      optimizer.step({ layout, flat }, { lr: fill([], lr), weightDecay: fill([], decay) });
      return [params.get("weight")];
    },
    kernels: /^adamw|^segment-squares/,
    bytes: 4 * 8 * layout.size, // the gradient twice; parameters and moments read and written
    check: ([gradient], result) => {
      const step = (g: number) => g / (Math.abs(g) + 1e-8);
      const expected = (i: number) => start.data[i]! * (1 - lr * decay) - lr * step(gradient!.data[i]!);
      return deviation(whole(result), reference.values(result.shape, expected));
    },
    [Symbol.dispose]() {
      optimizer[Symbol.dispose]();
      params[Symbol.dispose]();
    },
  };
}

function emaRow(device: Device): BenchRow & Disposable {
  const [teacher, student] = [createParams(device, layout, "teacher"), createParams(device, layout, "student")];
  const [old, fresh] = [numbers(PARAMETERS, 1), numbers(PARAMETERS, 2)];
  teacher.write(new Map([["weight", old.data]]));
  student.write(new Map([["weight", fresh.data]]));
  const momentum = 0.9;
  return {
    name: "ema",
    inputs: [],
    shape: formatShape([layout.size]),
    build: () => {
      ema(teacher, student, fill([], momentum));
      return [teacher.get("weight")];
    },
    kernels: /^ema/,
    bytes: 4 * 3 * layout.size,
    check: (_, result) => {
      const expected = (i: number) => momentum * old.data[i]! + (1 - momentum) * fresh.data[i]!;
      return deviation(whole(result), reference.values(result.shape, expected));
    },
    [Symbol.dispose]() {
      teacher[Symbol.dispose]();
      student[Symbol.dispose]();
    },
  };
}

/** A linear layer's product x Wᵀ: [m, k] x [n, k] -> [m, n]. */
function product(name: string, m: number, n: number, k: number): BenchRow {
  return {
    name,
    inputs: [
      [m, k],
      [n, k],
    ],
    build: (x, weight) => [linear(x, weight)],
    ...costOfProduct(m, n, k),
    check: rowwise(reference.linear),
  };
}

/** The loss of eight linear layers, trained together to tell 1000 classes of 128 images apart. */
function ofLabels(): BenchRow {
  const [images, layers, classes] = [128, 8, 1000];
  const labels = Array.from({ length: images }, (_, i) => (7 * i) % classes);
  return {
    name: "cross-entropy of labels",
    inputs: [[images, layers, classes]],
    build: (x) => [crossEntropy(x, constant([images], labels, { dtype: "u32" }))],
    bytes: 4 * images * layers * classes,
    check: ([x], result) => deviation(whole(result), reference.crossEntropy(labels)(whole(x!))),
  };
}

/** The same row in f16, of inputs that are rounded outside the kernels that count. */
function inHalves(kernels: RegExp): (row: BenchRow) => BenchRow {
  return ({ bytes, ...row }) => ({
    ...row,
    name: `${row.name}, f16`,
    build: (...inputs) => [cast(row.build(...inputs.map((x) => cast(x, "f16")))[0], "f32")],
    kernels,
    ...(bytes !== undefined && { bytes: bytes / 2 }),
    tolerance: 2e-3, // both operands and the result are rounded to 2^-11 of themselves
    half: true,
  });
}

function costOfProduct(m: number, n: number, k: number): { readonly flops: number; readonly bytes: number } {
  return { flops: 2 * m * n * k, bytes: 4 * (m * k + n * k + m * n) };
}

function gradientsOf(y: Tensor, dy: Tensor, wrt: readonly [Tensor, ...Tensor[]]): readonly [Tensor, ...Tensor[]] {
  return gradients(y, dy, wrt).map((g) => g!) as [Tensor, ...Tensor[]];
}

/** Standard normal numbers; they repeat after a prime number of them, since drawing is slower than the GPU. */
export function numbers(shape: Shape, seed: number): Host {
  const random = rng({ seed, purpose: "bench" });
  const period = 65537;
  const drawn = Float32Array.from({ length: Math.min(sizeOf(shape), period) }, () => random.normal());
  const data = new Float32Array(sizeOf(shape));
  for (let start = 0; start < data.length; start += period) {
    data.set(drawn.subarray(0, Math.min(period, data.length - start)), start);
  }
  return { shape, data };
}

/** Compares some entries of the first axis, where an entry of the result depends on that entry of the first input alone. */
export function rowwise(ref: Reference, samples = SAMPLES): BenchRow["check"] {
  return ([x, ...others], result) => {
    const at = sample(x!.shape[0]!, samples);
    return deviation(take(result, at), ref(take(x!, at), ...others.map(whole)));
  };
}

/**
 * The same for a gradient: result is that of sum(y * dy) with respect to the first input, dy the last input. Compared
 * with central differences of the reference at one coordinate and along a random direction.
 */
function gradientRowwise(ref: Reference, samples = SAMPLES): BenchRow["check"] {
  return (inputs, result) => {
    const [x, ...rest] = inputs;
    const at = sample(x!.shape[0]!, samples);
    const others = rest.slice(0, -1).map(whole);
    const dy = take(rest.at(-1)!, at);
    return gradientDeviation(take(result, at), take(x!, at), (moved) => dot(ref(moved, ...others).data, dy.data));
  };
}

/** Of central differences. */
const STEP = 1e-5;

function gradientDeviation(found: Values, at: Values, objective: (x: Values) => number): number {
  const along = (direction: Float64Array) => {
    const moved = (sign: number) => ({ ...at, data: at.data.map((v, i) => v + sign * STEP * direction[i]!) });
    return (objective(moved(1)) - objective(moved(-1))) / (2 * STEP);
  };
  const steepest = found.data.reduce((best, v, i) => (Math.abs(v) > Math.abs(found.data[best]!) ? i : best), 0);
  const axis = found.data.map((_, i) => (i === steepest ? 1 : 0));
  const signs = found.data.map((_, i) => (i % 3 === 0 ? 1 : -1));
  const everywhere = found.data.reduce((total, v) => total + Math.abs(v), 1e-12);
  const worst = Math.max(
    Math.abs(along(axis) / found.data[steepest]! - 1),
    Math.abs(along(signs) - dot(signs, found.data)) / everywhere,
  );
  return Number.isFinite(worst) ? worst : Infinity;
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((total, v, i) => total + v * b[i]!, 0);
}

/** Entries of an axis from first to last, evenly. */
function sample(size: number, samples = SAMPLES): number[] {
  const count = Math.min(size, samples);
  return Array.from({ length: count }, (_, i) => (count === 1 ? size - 1 : Math.round((i * (size - 1)) / (count - 1))));
}

function whole({ shape, data }: Host): Values {
  return { shape, data: Float64Array.from(data) };
}

/** Entries of the first axis. */
function take({ shape, data }: Host, at: readonly number[]): Values {
  const inner = sizeOf(shape.slice(1));
  const taken = new Float64Array(at.length * inner);
  at.forEach((row, i) => taken.set(data.subarray(row * inner, (row + 1) * inner), i * inner));
  return { shape: [at.length, ...shape.slice(1)], data: taken };
}

/** Entries of the last axis. */
function columns({ shape, data }: Host, at: readonly number[]): Values {
  const cols = shape.at(-1)!;
  return reference.values([...shape.slice(0, -1), at.length], (i) => {
    return data[Math.floor(i / at.length) * cols + at[i % at.length]!]!;
  });
}

/** Largest difference over the largest expected value; infinite where a number is not finite. */
function deviation(found: Values, expected: Values): number {
  const largest = expected.data.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-12);
  let worst = 0;
  expected.data.forEach((v, i) => {
    const d = Math.abs(found.data[i]! - v) / largest;
    worst = Number.isFinite(d) ? Math.max(worst, d) : Infinity;
  });
  return worst;
}
