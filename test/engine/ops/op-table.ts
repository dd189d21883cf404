import type { Rng } from "../../../dino/math/random.js";
import * as gpu from "../../../engine/index.js";
import type { Tensor } from "../../../engine/index.js";
import * as blocks from "../../../reference/block-operations.js";
import * as maskedReference from "../../../reference/masked-operations.js";
import * as reference from "../../../reference/operations.js";
import { type Values, values } from "../../../reference/operations.js";
import type { OpRow } from "./check-op.js";

const positive: OpRow["draw"] = (rng) => 0.5 + rng.uniform();

/** Normal numbers that f16 holds exactly: multiples of 2^-8 below 8. */
const halves = (rng: Rng) => Math.round(256 * rng.normal()) / 256;

/** In f16, from f32 inputs to an f32 result. */
const inHalves =
  (op: (...inputs: gpu.Tensor[]) => gpu.Tensor): OpRow["gpu"] =>
  (...inputs) =>
    gpu.cast(op(...inputs.map((x) => gpu.cast(x, "f16"))), "f32");

/**
 * Rounding the result to f16 costs 2^-11 of it, 5e-4; a gradient is rounded twice, as that of the output and as that of the
 * input, and where it goes through another product in between, three times.
 */
const HALF: OpRow["tolerance"] = [6e-4, 1.5e-3];

/** Sequences of two lengths: the first ten of sixteen rows, and the other six. */
const groups = [
  { batch: 2, tokens: 5 },
  { batch: 3, tokens: 2 },
];

const firstTokens = (x: Values) => reference.slice(1, 0, 1)(x);

/** Running statistics that only one run sees. */
const unusedStatistics = (cols: number): gpu.RunningStatistics => ({
  runningMean: gpu.fill([cols], 0),
  runningVariance: gpu.fill([cols], 1),
});

interface ProductSizes {
  readonly crops: number;
  readonly batch: number;
  readonly cols: number;
  readonly chunkCols?: number;
  readonly views?: number;
  /** Standard deviation of the factors; the logits are sqrt(dim) times its square. */
  readonly spread?: number;
  /** Iterations of Sinkhorn-Knopp, instead of the given center. */
  readonly sinkhorn?: number;
  /** Columns of the factors; 6 if left out. */
  readonly dim?: number;
  readonly precision?: gpu.Precision;
}

/** Something of the distillation of logits that are products. */
function ofProducts(
  { crops, batch, cols, chunkCols, views = 2, spread = 0.7, sinkhorn, dim = 6, precision = "f32" }: ProductSizes,
  pick: (found: gpu.Distillation) => Tensor,
  ref: (student: Values, teacher: Values, center: Values, temperature: Values) => Values,
): Omit<OpRow, "op"> {
  return {
    gpu: (x, weight, teacherX, teacherWeight, center, teacherTemperature) => {
      const options = { views, studentTemperature: 0.1, teacherTemperature, ...(chunkCols && { chunkCols }) };
      const centering = sinkhorn === undefined ? center : { iterations: sinkhorn };
      const teacher = { x: teacherX, weight: teacherWeight, precision };
      return pick(gpu.distillation({ x, weight, precision }, teacher, centering, options));
    },
    ref: (x, weight, teacherX, teacherWeight, center, temperature) =>
      ref(reference.linear(x, weight), reference.linear(teacherX, teacherWeight), center, temperature),
    inputs: [[crops * batch, dim], [cols, dim], [views * batch, dim], [cols, dim], [cols], []],
    draw: (rng, input) => (input === 5 ? 0.04 : spread * (precision === "f16" ? halves(rng) : rng.normal())),
  };
}

interface MaskedSizes extends Omit<ProductSizes, "crops" | "batch" | "views"> {
  readonly rows: number;
  /** Rows with a weight, the first ones. */
  readonly masked: number;
}

/** The loss on masked patches of logits that are products, with rows that are none behind them. */
function maskedProducts(name: string, sizes: MaskedSizes): OpRow {
  const { rows: count, masked, cols, chunkCols, dim = 6, spread = 0.7, sinkhorn, precision = "f32" } = sizes;
  const [studentTemperature, iterations] = [0.1, sinkhorn ?? 0];
  const weightOf = (row: number) => (row < masked ? 1 / (2 + (row % 3)) : 0);
  const rowWeights = values([count], weightOf);
  const weightTensor = () => gpu.constant([count], [...rowWeights.data]);
  return {
    op: `maskedDistillation${name}`,
    gpu: (x, weight, teacherX, teacherWeight, center, teacherTemperature) => {
      const options = { studentTemperature, teacherTemperature, ...(chunkCols && { chunkCols }) };
      const centering = sinkhorn === undefined ? center : { iterations };
      const teacher = { x: teacherX, weight: teacherWeight, precision };
      const maskedRows = { weights: weightTensor(), shares: weightTensor() };
      return gpu.maskedDistillation({ x, weight, precision }, teacher, centering, maskedRows, options).loss;
    },
    ref: (x, weight, teacherX, teacherWeight, center, temperature) => {
      const [student, teacher] = [reference.linear(x, weight), reference.linear(teacherX, teacherWeight)];
      return sinkhorn === undefined
        ? maskedReference.maskedDistillation(studentTemperature)(student, teacher, center, temperature, rowWeights)
        : maskedReference.maskedSinkhornDistillation(studentTemperature, iterations)(
            student,
            teacher,
            temperature,
            rowWeights,
          );
    },
    inputs: [[count, dim], [cols, dim], [count, dim], [cols, dim], [cols], []],
    fixed: [2, 3, 4, 5],
    draw: (rng, input) => (input === 5 ? 0.04 : spread * (precision === "f16" ? halves(rng) : rng.normal())),
  };
}

/** The mean of the teacher's rows of masked patches. */
function maskedMean(name: string, ofProduct: boolean): OpRow {
  const [count, masked, cols, dim] = [9, 7, 130, 6];
  const rowWeights = values([count], (row) => (row < masked ? 1 / masked : 0));
  return {
    op: `maskedDistillation, mean of the teacher${name}`,
    gpu: (x, weight) => {
      const teacher = ofProduct ? { x, weight } : gpu.linear(x, weight);
      const shares = gpu.constant([count], [...rowWeights.data]);
      const options = { studentTemperature: 1, teacherTemperature: gpu.fill([], 1) };
      const center = gpu.fill([cols], 0);
      return gpu.maskedDistillation(gpu.fill([count, cols], 0), teacher, center, { weights: shares, shares }, options)
        .teacherMean;
    },
    ref: (x, weight) => maskedReference.meanOfMasked(reference.linear(x, weight), rowWeights),
    inputs: [
      [count, dim],
      [cols, dim],
    ],
    fixed: [0, 1],
  };
}

/** Cross-entropy and rank of labels that go through the classes, one for each entry of the first axis. */
function labelled(what: string, shape: readonly number[], draw?: OpRow["draw"]): readonly OpRow[] {
  const classes = shape.at(-1)!;
  const labels = Array.from({ length: shape[0]! }, (_, i) => (7 * i + 2) % classes);
  const given = () => gpu.constant([labels.length], labels, { dtype: "u32" });
  const inputs = { inputs: [shape], ...(draw && { draw }) };
  return [
    {
      op: `crossEntropy${what}`,
      gpu: (x) => gpu.crossEntropy(x, given()),
      ref: reference.crossEntropy(labels),
      ...inputs,
    },
    {
      op: `labelRank${what}`,
      gpu: (x) => gpu.labelRank(x, given()),
      ref: reference.labelRank(labels),
      ...inputs,
      fixed: [0],
    },
  ];
}

/** The k largest of each row, whose columns come in tiles and rise from one to the next. */
function largestOf(k: number, count: number, tiles: readonly number[], rise = 0): Omit<OpRow, "op"> {
  const starts = tiles.map((_, i) => tiles.slice(0, i).reduce((sum, cols) => sum + cols, 0));
  const slope = (tile: number) => values([tiles[tile]!], (c) => rise * (starts[tile]! + c));
  return {
    gpu: (...inputs) => {
      let found: gpu.TopK | undefined;
      for (const [tile, x] of inputs.entries()) {
        const { shape, data } = slope(tile);
        found = gpu.topK(rise === 0 ? x : gpu.add(x, gpu.constant(shape, data)), k, found);
      }
      return found!.values;
    },
    ref: (...inputs) => {
      const risen = inputs.map((x, tile) => reference.add(x, slope(tile)));
      return reference.topK(k)(reference.concat(1)(...risen));
    },
    inputs: tiles.map((cols) => [count, cols]),
    fixed: [...tiles.keys()],
  };
}

/** A branch with a bias that joins the residual stream, which is normalised and goes on: x [..., cols], cols -> [..., cols]. */
function residual(shape: readonly number[], precision: gpu.Precision = "f32"): Omit<OpRow, "op"> {
  const cols = shape.at(-1)!;
  return {
    gpu: (x, z, weight, shift, gain, bias) => {
      const branch = gpu.linear(gpu.cast(z, precision), weight, shift);
      const { sum, normed } = gpu.addLayernorm(x, branch, gain, bias, { precision });
      return gpu.add(gpu.scale(sum, 0.5), gpu.cast(normed, "f32"));
    },
    ref: (x, z, weight, shift, gain, bias) => {
      const sum = reference.add(x, reference.linear(z, weight, shift));
      return reference.add(reference.scale(0.5)(sum), reference.layernorm(1e-6)(sum, gain, bias));
    },
    inputs: [shape, [...shape.slice(0, -1), 4], [cols, 4], [cols], [cols], [cols]],
  };
}

const anglesOf = (patches: number, pairs: number) => values([patches, pairs], (i) => i);

function rotationBy({ shape, data }: Values): gpu.Rotation {
  const table = (of: (angle: number) => number) => gpu.constant(shape, data.map(of));
  return { cosines: table(Math.cos), sines: table(Math.sin) };
}

/** Queries and keys of the last `patches` tokens, turned by the angles 0, 1, 2 and so on: qkv of the shape. */
function rotated(shape: readonly number[], heads: number, patches: number): Omit<OpRow, "op"> {
  const angles = anglesOf(patches, shape.at(-1)! / 6 / heads);
  return {
    gpu: (qkv) => gpu.rotate(qkv, heads, rotationBy(angles)),
    ref: blocks.rotate(heads, angles),
    inputs: [shape],
  };
}

/** The same for the patches of `groups`, all tokens but the first. */
function rotatedGroups(width: number, heads: number): Omit<OpRow, "op"> {
  const angles = groups.map(({ tokens }) => anglesOf(tokens - 1, width / 6 / heads));
  return {
    gpu: (qkv) =>
      gpu.rotate(
        qkv,
        heads,
        groups.map((group, i) => ({ ...group, rotation: rotationBy(angles[i]!) })),
      ),
    ref: reference.perGroup(groups, (qkv, i) => blocks.rotate(heads, angles[i]!)(qkv)),
    inputs: [[16, width]],
  };
}

function rotatedHalves(...given: Parameters<typeof rotated>): Omit<OpRow, "op"> {
  const row = rotated(...given);
  return { ...row, gpu: inHalves(row.gpu) };
}

/** Samples of a batch of `batch`, the first `count` of them in an order that is neither theirs nor its reverse. */
function ordered(batch: number, count: number) {
  const order = Array.from({ length: batch }, (_, i) => (i % 2 === 0 ? i / 2 : batch - (i + 1) / 2));
  return { kept: order.slice(0, count), order: () => gpu.constant([batch], order, { dtype: "u32" }) };
}

/** Samples of a shape that are taken, and a branch for them that is added. */
function samples(what: string, [batch, ...sample]: readonly [number, ...number[]], count: number): readonly OpRow[] {
  const { kept, order } = ordered(batch, count);
  const whole = [batch, ...sample];
  return [
    {
      op: `takeSamples${what}`,
      gpu: (x) => gpu.takeSamples(x, order(), count),
      ref: blocks.takeSamples(kept),
      inputs: [whole],
    },
    {
      op: `takeSamples${what}, which are used twice`,
      gpu: (x) => gpu.add(gpu.takeSamples(x, order(), count), gpu.takeSamples(gpu.scale(x, 2), order(), count)),
      ref: (x) => reference.scale(3)(blocks.takeSamples(kept)(x)),
      inputs: [whole],
    },
    {
      op: `addToSamples${what}`,
      gpu: (x, branch) => gpu.addToSamples(x, branch, order(), 1.25),
      ref: blocks.addToSamples(kept, 1.25),
      inputs: [whole, [count, ...sample]],
    },
    {
      op: `addToSamples${what}, a branch of the samples`,
      gpu: (x) => gpu.addToSamples(x, gpu.gelu(gpu.takeSamples(x, order(), count)), order(), 1.25),
      ref: (x) => blocks.addToSamples(kept, 1.25)(x, reference.gelu(blocks.takeSamples(kept)(x))),
      inputs: [whole],
    },
  ];
}

/** A grid of `dim` channels, resampled. */
function resized(from: readonly [number, number], to: readonly [number, number], dim: number, antialias: boolean) {
  const size = ([gridRows, gridCols]: readonly [number, number]) => ({ rows: gridRows, cols: gridCols });
  return {
    gpu: (x) => gpu.resizeGrid(x, size(from), size(to), { antialias }),
    ref: blocks.resizeGrid(from, to, antialias),
    inputs: [[from[0] * from[1], dim]],
  } satisfies Omit<OpRow, "op">;
}

/** SwiGLU of the halves of the columns. */
const packedSwiglu: OpRow["ref"] = (x) => {
  const [axis, hidden] = [x.shape.length - 1, x.shape.at(-1)! / 2];
  return blocks.swiglu(reference.slice(axis, 0, hidden)(x), reference.slice(axis, hidden, hidden)(x));
};

/** Every operation and shape in f32. */
export const rows: readonly OpRow[] = [
  {
    op: "add",
    gpu: gpu.add,
    ref: reference.add,
    inputs: [
      [3, 10],
      [3, 10],
    ],
  },
  { op: "add, b repeats", gpu: gpu.add, ref: reference.add, inputs: [[5, 3, 70], [70]] },
  { op: "add, one element", gpu: gpu.add, ref: reference.add, inputs: [[1], [1]] },
  { op: "add, scalar b", gpu: gpu.add, ref: reference.add, inputs: [[40, 130], []] },
  { op: "add, more workgroups than a grid axis", gpu: gpu.add, ref: reference.add, inputs: [[65600, 65], [65]] },
  {
    op: "mul",
    gpu: gpu.mul,
    ref: reference.mul,
    inputs: [
      [3, 10],
      [3, 10],
    ],
  },
  { op: "mul, b repeats", gpu: gpu.mul, ref: reference.mul, inputs: [[33, 5], [5]] },
  { op: "scale", gpu: (x) => gpu.scale(x, -2.5), ref: reference.scale(-2.5), inputs: [[3, 67]] },
  { op: "reshape", gpu: (x) => gpu.reshape(x, [6, 2]), ref: reference.reshape([6, 2]), inputs: [[3, 4]] },
  { op: "repeat", gpu: (x) => gpu.repeat(x, [40, 7]), ref: reference.repeat([40, 7]), inputs: [[7]] },
  { op: "sum", gpu: gpu.sum, ref: reference.sum, inputs: [[3, 10]] },
  { op: "sum, two passes", gpu: gpu.sum, ref: reference.sum, inputs: [[5, 1000]], draw: positive },
  { op: "meanLeading", gpu: (x) => gpu.meanLeading(x, [70]), ref: reference.meanOfRows, inputs: [[33, 70]] },
  { op: "mean", gpu: gpu.mean, ref: reference.mean, inputs: [[131]], draw: positive },
  { op: "sumLeading", gpu: (x) => gpu.sumLeading(x, [70]), ref: reference.sumLeading([70]), inputs: [[5, 2, 70]] },
  {
    op: "sumLeading, many rows",
    gpu: (x) => gpu.sumLeading(x, [3]),
    ref: reference.sumLeading([3]),
    inputs: [[70000, 3]],
    draw: positive,
  },
  {
    op: "sumLeading, one column",
    gpu: (x) => gpu.sumLeading(x, [1]),
    ref: reference.sumLeading([1]),
    inputs: [[100, 1]],
    draw: positive,
  },
  {
    op: "sumLeading, whole fours, more than a workgroup",
    gpu: (x) => gpu.sumLeading(x, [520]),
    ref: reference.sumLeading([520]),
    inputs: [[303, 520]],
  },
  {
    op: "sumLeading, whole fours, many rows",
    gpu: (x) => gpu.sumLeading(x, [12]),
    ref: reference.sumLeading([12]),
    inputs: [[1003, 12]],
  },
  { op: "gelu", gpu: gpu.gelu, ref: reference.gelu, inputs: [[17, 13]], draw: (rng) => 3 * rng.normal() },
  {
    op: "gelu, whole fours",
    gpu: gpu.gelu,
    ref: reference.gelu,
    inputs: [[303, 520]],
    draw: (rng) => 3 * rng.normal(),
  },
  {
    op: "gelu of a layer with a bias",
    gpu: (x, w, b) => gpu.gelu(gpu.linear(x, w, b)),
    ref: (x, w, b) => reference.gelu(reference.linear(x, w, b)),
    inputs: [[303, 4], [12, 4], [12]],
  },
  { op: "gem", gpu: (x) => gpu.gem(x, { power: 4 }), ref: reference.gem(4), inputs: [[2, 9, 5]] },
  { op: "gem, one token", gpu: (x) => gpu.gem(x, { power: 3 }), ref: reference.gem(3), inputs: [[3, 1, 70]] },
  {
    op: "gem, of power 1 the mean of what is above epsilon",
    gpu: (x) => gpu.gem(x, { power: 1, epsilon: 0.5 }),
    ref: reference.gem(1, 0.5),
    inputs: [[2, 30, 3]],
  },
  {
    op: "gem, nothing above epsilon",
    gpu: (x) => gpu.gem(x, { power: 4 }),
    ref: reference.gem(4),
    inputs: [[1, 4, 3]],
    draw: (rng) => -1 - rng.uniform(),
  },
  { op: "largest", gpu: gpu.max, ref: reference.largest, inputs: [[3, 10]], fixed: [0] },
  { op: "largest, one column", gpu: gpu.max, ref: reference.largest, inputs: [[2, 5, 1]], fixed: [0] },
  { op: "topK", ...largestOf(3, 3, [10]) },
  { op: "topK, one column", ...largestOf(1, 4, [1]) },
  { op: "topK, all columns", ...largestOf(60, 3, [60]) },
  { op: "topK, fewer columns than asked for", ...largestOf(7, 2, [4]) },
  { op: "topK, several chunks", ...largestOf(5, 3, [1501]) },
  { op: "topK, as many as fit", ...largestOf(512, 2, [1501]) },
  { op: "topK, equal numbers", ...largestOf(40, 3, [1501]), draw: (rng) => rng.integer(4) },
  { op: "topK, more candidates than fit", ...largestOf(20, 3, [1421], 0.1) },
  { op: "topK, tiles", ...largestOf(12, 3, [5, 3, 90]) },
  { op: "topK, more candidates than fit in the second tile", ...largestOf(20, 3, [1421, 901], 0.1) },
  { op: "topK, more rows than a grid axis", ...largestOf(2, 65600, [3]) },
  { op: "softmax", gpu: gpu.softmax, ref: reference.softmax, inputs: [[3, 10]] },
  { op: "softmax, whole fours", gpu: gpu.softmax, ref: reference.softmax, inputs: [[5, 1156]] },
  { op: "softmax, one column", gpu: gpu.softmax, ref: reference.softmax, inputs: [[4, 1]] },
  { op: "softmax, wider than a workgroup", gpu: gpu.softmax, ref: reference.softmax, inputs: [[2, 131]] },
  { op: "softmax, more rows than a grid axis", gpu: gpu.softmax, ref: reference.softmax, inputs: [[65537, 2]] },
  {
    op: "softmax, large logits",
    gpu: gpu.softmax,
    ref: reference.softmax,
    inputs: [[5, 33]],
    draw: (rng) => 30 * rng.normal(),
  },
  { op: "logSoftmax", gpu: gpu.logSoftmax, ref: reference.logSoftmax, inputs: [[3, 10]] },
  { op: "logSoftmax, wider than a workgroup", gpu: gpu.logSoftmax, ref: reference.logSoftmax, inputs: [[2, 131]] },
  ...labelled("", [5, 10]),
  ...labelled(", one class", [3, 1]),
  ...labelled(", wider than a workgroup, three rows a label", [4, 3, 131]),
  ...labelled(", more rows than a grid axis", [13, 5042, 2]),
  ...labelled(", large scores", [6, 33], (rng) => 30 * rng.normal()),
  ...labelled(", equal scores", [6, 33], (rng) => rng.integer(4)),
  {
    op: "layernorm",
    gpu: (x, g, b) => gpu.layernorm(x, g, b),
    ref: reference.layernorm(1e-6),
    inputs: [[3, 10], [10], [10]],
  },
  { op: "addLayernorm", ...residual([3, 5, 12]) },
  { op: "addLayernorm, width of no whole fours", ...residual([3, 10]) },
  { op: "addLayernorm, tokens of ViT-S", ...residual([1, 37, 384]) },
  { op: "addLayernorm, as wide as registers hold", ...residual([3, 1024]) },
  { op: "addLayernorm, wider than registers hold", ...residual([3, 1028]) },
  { op: "addLayernorm, more rows than workgroups", ...residual([4103, 8]) },
  { op: "addLayernorm, more rows than a grid axis", ...residual([65600, 4]) },
  {
    op: "layernorm, tokens of ViT-Ti",
    gpu: (x, g, b) => gpu.layernorm(x, g, b),
    ref: reference.layernorm(1e-6),
    inputs: [[2, 37, 192], [192], [192]],
  },
  {
    op: "layernorm, more rows than a grid axis",
    gpu: (x, g, b) => gpu.layernorm(x, g, b),
    ref: reference.layernorm(1e-6),
    inputs: [[65540, 6], [6], [6]],
  },
  { op: "l2Normalize", gpu: (x) => gpu.l2Normalize(x), ref: reference.l2Normalize, inputs: [[5, 130]] },
  { op: "koleo", gpu: (x) => gpu.koleo(x), ref: reference.koleo(1), inputs: [[7, 5]] },
  { op: "koleo, two groups of a pair", gpu: (x) => gpu.koleo(x, 2), ref: reference.koleo(2), inputs: [[4, 3]] },
  { op: "koleo, one column", gpu: (x) => gpu.koleo(x), ref: reference.koleo(1), inputs: [[9, 1]] },
  {
    op: "koleo, more rows than a workgroup",
    gpu: (x) => gpu.koleo(x, 2),
    ref: reference.koleo(2),
    inputs: [[142, 70]],
  },
  {
    op: "koleo, unit features of ViT-Ti",
    gpu: (x) => gpu.koleo(gpu.l2Normalize(x), 2),
    ref: (x) => reference.koleo(2)(reference.l2Normalize(x)),
    inputs: [[32, 192]],
  },
  {
    op: "koleo, more groups than a grid axis",
    gpu: (x) => gpu.koleo(x, 33000),
    ref: reference.koleo(33000),
    inputs: [[66000, 2]],
  },
  { op: "scaleRows", gpu: gpu.scaleRows, ref: reference.scaleRows, inputs: [[5, 3, 7], [5]] },
  {
    op: "weightNorm",
    gpu: gpu.weightNorm,
    ref: reference.weightNorm,
    inputs: [
      [9, 6],
      [9, 1],
    ],
  },
  { op: "rotate", ...rotated([2, 7, 48], 2, 5) },
  { op: "rotate, two lengths", ...rotatedGroups(192, 2) },
  { op: "rotate, pairs of no whole fours", ...rotated([2, 7, 72], 2, 5) },
  { op: "rotate, patches alone, one head of one pair", ...rotated([3, 5, 6], 1, 5) },
  { op: "rotate, tokens of DINOv3 ViT-S", ...rotated([1, 201, 1152], 6, 196) },
  {
    op: "swiglu",
    gpu: gpu.swiglu,
    ref: blocks.swiglu,
    inputs: [
      [5, 7, 12],
      [5, 7, 12],
    ],
    draw: (rng) => 3 * rng.normal(),
  },
  {
    op: "swiglu, far from zero",
    gpu: gpu.swiglu,
    ref: blocks.swiglu,
    inputs: [
      [33, 4],
      [33, 4],
    ],
    draw: (rng) => 100 * rng.normal(),
  },
  { op: "packedSwiglu", gpu: gpu.packedSwiglu, ref: packedSwiglu, inputs: [[5, 7, 24]] },
  { op: "packedSwiglu, tokens of ViT-S", gpu: gpu.packedSwiglu, ref: packedSwiglu, inputs: [[2, 37, 2048]] },
  { op: "scaleColumns", gpu: gpu.scaleColumns, ref: reference.mul, inputs: [[3, 5, 12], [12]] },
  { op: "scaleColumns, one row", gpu: gpu.scaleColumns, ref: reference.mul, inputs: [[1, 4], [4]] },
  { op: "scaleColumns, width of no whole fours", gpu: gpu.scaleColumns, ref: reference.mul, inputs: [[7, 10], [10]] },
  { op: "scaleColumns, tokens of ViT-S", gpu: gpu.scaleColumns, ref: reference.mul, inputs: [[2, 197, 384], [384]] },
  { op: "scaleColumns, many rows", gpu: gpu.scaleColumns, ref: reference.mul, inputs: [[4103, 8], [8]] },
  {
    op: "scaleColumns, of a product with a bias",
    gpu: (x, weight, bias, factors) => gpu.scaleColumns(gpu.linear(x, weight, bias), factors),
    ref: (x, weight, bias, factors) => reference.mul(reference.linear(x, weight, bias), factors),
    inputs: [[3, 67, 5], [12, 5], [12], [12]],
  },
  {
    op: "replaceRows",
    gpu: gpu.replaceRows,
    ref: blocks.replaceRows,
    inputs: [[3, 67, 5], [3, 67], [5]],
    fixed: [1],
    draw: (rng, input) => (input === 1 ? rng.integer(2) : rng.normal()),
  },
  {
    op: "replaceRows, more workgroups than a grid axis",
    gpu: gpu.replaceRows,
    ref: blocks.replaceRows,
    inputs: [[65600, 65], [65600], [65]],
    fixed: [1],
    draw: (rng, input) => (input === 1 ? rng.integer(2) : rng.normal()),
  },
  {
    op: "replaceRows, one row that stays",
    gpu: gpu.replaceRows,
    ref: blocks.replaceRows,
    inputs: [[1, 8], [1], [8]],
    fixed: [1],
    draw: (rng, input) => (input === 1 ? 0 : rng.normal()),
  },
  { op: "resizeGrid, larger and smaller", ...resized([4, 7], [6, 3], 3, false) },
  { op: "resizeGrid, larger and smaller, antialiased", ...resized([4, 7], [6, 3], 3, true) },
  { op: "resizeGrid, to one cell, antialiased", ...resized([5, 3], [1, 1], 2, true) },
  { op: "resizeGrid, the same size, antialiased", ...resized([3, 4], [3, 4], 2, true) },
  ...samples("", [5, 3, 8], 3),
  ...samples(", of no whole fours", [6, 7, 3], 2),
  ...samples(", all", [4, 12], 4),
  ...samples(", one", [1, 2, 2], 1),
  {
    op: "dropPath",
    gpu: (x, u) => gpu.dropPath(x, [{ uniform: u, rows: x.shape[0]! }], 0.3),
    ref: reference.dropPath(0.3),
    inputs: [[6, 3, 5], [6]],
    fixed: [1],
    draw: (rng) => rng.uniform(),
  },
  {
    op: "dropPath, two lengths",
    gpu: (x, u, v) =>
      gpu.dropPath(
        x,
        [u, v].map((uniform, i) => ({ uniform, rows: groups[i]!.batch * groups[i]!.tokens })),
        0.3,
      ),
    ref: (x, u, v) => reference.perGroup(groups, (y, i) => reference.dropPath(0.3)(y, [u, v][i]!))(x),
    inputs: [[16, 64], [2], [3]],
    fixed: [1, 2],
    draw: (rng) => rng.uniform(),
  },
  {
    op: "matmul",
    gpu: (a, b) => gpu.matmul(a, b),
    ref: reference.matmul(),
    inputs: [
      [3, 5],
      [5, 4],
    ],
  },
  {
    op: "matmul, one element",
    gpu: (a, b) => gpu.matmul(a, b),
    ref: reference.matmul(),
    inputs: [
      [1, 1],
      [1, 1],
    ],
  },
  {
    op: "matmul, ragged tiles",
    gpu: (a, b) => gpu.matmul(a, b),
    ref: reference.matmul(),
    inputs: [
      [13, 71],
      [71, 67],
    ],
  },
  {
    op: "matmul, a transposed",
    gpu: (a, b) => gpu.matmul(a, b, { a: true }),
    ref: reference.matmul({ a: true }),
    inputs: [
      [9, 12],
      [9, 66],
    ],
  },
  {
    op: "matmul, b transposed",
    gpu: (a, b) => gpu.matmul(a, b, { b: true }),
    ref: reference.matmul({ b: true }),
    inputs: [
      [12, 9],
      [66, 9],
    ],
  },
  {
    op: "matmul, both transposed",
    gpu: (a, b) => gpu.matmul(a, b, { a: true, b: true }),
    ref: reference.matmul({ a: true, b: true }),
    inputs: [
      [9, 12],
      [66, 9],
    ],
  },
  {
    op: "matmul, batched",
    gpu: (a, b) => gpu.matmul(a, b),
    ref: reference.matmul(),
    inputs: [
      [3, 5, 7],
      [3, 7, 4],
    ],
  },
  {
    op: "matmul, whole fours, more than a tile",
    gpu: (a, b) => gpu.matmul(a, b),
    ref: reference.matmul(),
    inputs: [
      [130, 36],
      [36, 132],
    ],
  },
  {
    op: "matmul, whole fours, both transposed",
    gpu: (a, b) => gpu.matmul(a, b, { a: true, b: true }),
    ref: reference.matmul({ a: true, b: true }),
    inputs: [
      [20, 12],
      [68, 20],
    ],
  },
  {
    op: "matmul, batched, b transposed",
    gpu: (a, b) => gpu.matmul(a, b, { b: true }),
    ref: reference.matmul({ b: true }),
    inputs: [
      [3, 5, 7],
      [3, 4, 7],
    ],
  },
  {
    op: "matmul, many rows",
    gpu: (a, b) => gpu.matmul(a, b),
    ref: reference.matmul(),
    inputs: [
      [65537, 2],
      [2, 3],
    ],
  },
  {
    op: "matmul, k in parts on a GPU",
    gpu: (a, b) => gpu.matmul(a, b),
    ref: reference.matmul(),
    inputs: [
      [70, 1030],
      [1030, 9],
    ],
  },
  {
    op: "linear, k in parts on a GPU",
    gpu: (x, w, b) => gpu.linear(x, w, b),
    ref: reference.linear,
    inputs: [[5, 600], [3, 600], [3]],
  },
  {
    op: "matmul, many large tiles",
    gpu: (a, b) => gpu.matmul(a, b, { b: true }),
    ref: reference.matmul({ b: true }),
    inputs: [
      [8200, 3],
      [130, 3],
    ],
  },
  { op: "linear", gpu: (x, w, b) => gpu.linear(x, w, b), ref: reference.linear, inputs: [[2, 3, 10], [6, 10], [6]] },
  {
    op: "linear without bias",
    gpu: (x, w) => gpu.linear(x, w),
    ref: reference.linear,
    inputs: [
      [7, 10],
      [6, 10],
    ],
  },
  {
    op: "linear, qkv of ViT-Ti",
    gpu: (x, w, b) => gpu.linear(x, w, b),
    ref: reference.linear,
    inputs: [[5, 192], [576, 192], [576]],
  },
  { op: "slice", gpu: (x) => gpu.slice(x, 1, 2, 3), ref: reference.slice(1, 2, 3), inputs: [[4, 7, 5]] },
  { op: "slice, last axis", gpu: (x) => gpu.slice(x, 1, 0, 1), ref: reference.slice(1, 0, 1), inputs: [[4, 7]] },
  { op: "slice, a view", gpu: (x) => gpu.slice(x, 0, 1, 2), ref: reference.slice(0, 1, 2), inputs: [[4, 64]] },
  {
    op: "firstTokens",
    gpu: (x) => gpu.firstTokens(x, groups),
    ref: reference.perGroup(groups, firstTokens),
    inputs: [[16, 64]],
  },
  {
    op: "concat",
    gpu: (...x) => gpu.concat(x, 1),
    ref: reference.concat(1),
    inputs: [
      [3, 1, 5],
      [3, 6, 5],
    ],
  },
  {
    op: "concat, first axis",
    gpu: (...x) => gpu.concat(x, 0),
    ref: reference.concat(0),
    inputs: [
      [3, 5],
      [1, 5],
      [70, 5],
    ],
  },
  {
    op: "concat, written in place",
    gpu: (...x) => gpu.concat(x.map(gpu.gelu), 0),
    ref: (...x) => reference.concat(0)(...x.map(reference.gelu)),
    inputs: [
      [2, 64],
      [3, 64],
    ],
  },
  {
    op: "concat, of one tensor twice",
    gpu: (x) => ((y) => gpu.concat([y, y], 0))(gpu.gelu(x)),
    ref: (x) => ((y) => reference.concat(0)(y, y))(reference.gelu(x)),
    inputs: [[2, 64]],
  },
  { op: "patches", gpu: (x) => gpu.patches(x, 4), ref: reference.patches(4), inputs: [[2, 3, 8, 12]] },
  { op: "patches, ragged border", gpu: (x) => gpu.patches(x, 3), ref: reference.patches(3), inputs: [[2, 3, 7, 11]] },
  { op: "attention", gpu: (x) => gpu.attention(x, 2), ref: reference.attention(2), inputs: [[2, 5, 24]] },
  { op: "attention, one token", gpu: (x) => gpu.attention(x, 1), ref: reference.attention(1), inputs: [[3, 1, 6]] },
  {
    op: "attention, two lengths",
    gpu: (x) => gpu.attention(x, 2, groups),
    ref: reference.perGroup(groups, reference.attention(2)),
    inputs: [[16, 192]],
  },
  {
    op: "attention, widest head",
    gpu: (x) => gpu.attention(x, 1),
    ref: reference.attention(1),
    inputs: [[1, 27, 384]],
  },
  {
    op: "attention, ViT-Ti on 96 px",
    gpu: (x) => gpu.attention(x, 3),
    ref: reference.attention(3),
    inputs: [[1, 37, 576]],
  },
  {
    op: "attention, more tokens than two tiles",
    gpu: (x) => gpu.attention(x, 1),
    ref: reference.attention(1),
    inputs: [[1, 150, 144]],
  },
  {
    op: "attention, large scores",
    gpu: (x) => gpu.attention(x, 2),
    ref: reference.attention(2),
    inputs: [[2, 17, 24]],
    draw: (rng) => 8 * rng.normal(),
  },
  ...(
    [
      { name: "", crops: 5, batch: 3, cols: 40 },
      { name: ", no local crops", crops: 2, batch: 1, cols: 64 },
      { name: ", one column", crops: 3, batch: 2, cols: 1 },
      { name: ", wider than a workgroup", crops: 4, batch: 2, cols: 131 },
      { name: ", 65536 prototypes", crops: 3, batch: 1, cols: 65536 },
      { name: ", more rows than a grid axis", crops: 2, batch: 33000, cols: 2 },
      { name: ", large logits", crops: 4, batch: 2, cols: 131, spread: 100 },
    ] satisfies { name: string; crops: number; batch: number; cols: number; spread?: number }[]
  ).map(({ name, crops, batch, cols, spread = 1 }): OpRow => ({
    op: `distillation${name}`,
    gpu: (student, teacher, center, teacherTemperature) =>
      gpu.distillation(student, teacher, center, { studentTemperature: 0.1, teacherTemperature }).loss,
    ref: reference.distillation(0.1),
    inputs: [[crops * batch, cols], [2 * batch, cols], [cols], []],
    fixed: [1, 2, 3],
    draw: (rng, input) => (input === 3 ? 0.04 : spread * rng.normal()),
  })),
  {
    op: "distillation, one view",
    gpu: (student, teacher, center, teacherTemperature) =>
      gpu.distillation(student, teacher, center, { views: 1, studentTemperature: 0.2, teacherTemperature }).loss,
    ref: reference.distillation(0.2, 1),
    inputs: [[12, 10], [4, 10], [1, 10], []],
    fixed: [1, 2, 3],
    draw: (rng, input) => (input === 3 ? 0.07 : rng.normal()),
  },
  ...(
    [
      ["one chunk", { crops: 5, batch: 3, cols: 130 }],
      ["chunks and a rest", { crops: 5, batch: 3, cols: 200, chunkCols: 64 }],
      ["many crops", { crops: 12, batch: 2, cols: 192, chunkCols: 64 }],
      ["one view", { crops: 4, batch: 3, cols: 150, chunkCols: 128, views: 1 }],
      ["65536 prototypes", { crops: 3, batch: 1, cols: 65536, chunkCols: 16384 }],
      ["large logits", { crops: 4, batch: 2, cols: 200, chunkCols: 64, spread: 7 }],
    ] satisfies [string, ProductSizes][]
  ).map(([name, sizes]) => ({
    ...ofProducts(sizes, ({ loss }) => loss, reference.distillation(0.1, "views" in sizes ? sizes.views : 2)),
    op: `distillation of products, ${name}`,
    fixed: [2, 3, 4, 5],
  })),
  ...(
    [
      ["entropy of the teacher", ({ teacherEntropy }) => teacherEntropy, reference.teacherEntropy],
      ["mean of the targets", ({ meanTargets }) => meanTargets, reference.meanTargets],
      ["mean of the teacher", ({ teacherMean }) => teacherMean, reference.meanOfRows],
    ] satisfies [string, (found: gpu.Distillation) => Tensor, (...teacher: Values[]) => Values][]
  ).flatMap(([what, pick, ref]): OpRow[] => [
    {
      op: `distillation, ${what}`,
      gpu: (teacher, center, teacherTemperature) => {
        const student = gpu.concat([teacher, teacher], 0);
        return pick(gpu.distillation(student, teacher, center, { studentTemperature: 1, teacherTemperature }));
      },
      ref,
      inputs: [[6, 131], [131], []],
      fixed: [0, 1, 2],
      draw: (rng, input) => (input === 2 ? 0.3 : rng.normal()),
    },
    {
      ...ofProducts({ crops: 4, batch: 3, cols: 200, chunkCols: 64 }, pick, (_, ...teacher) => ref(...teacher)),
      op: `distillation of products, ${what}`,
      fixed: [0, 1, 2, 3, 4, 5],
    },
  ]),
  ...(
    [
      { name: "", crops: 5, batch: 3, cols: 40, iterations: 3 },
      { name: ", one iteration", crops: 4, batch: 2, cols: 131, iterations: 1 },
      { name: ", many iterations", crops: 3, batch: 4, cols: 7, iterations: 20 },
      { name: ", one column", crops: 3, batch: 2, cols: 1, iterations: 3 },
      { name: ", 65536 prototypes", crops: 3, batch: 1, cols: 65536, iterations: 3 },
      { name: ", large logits", crops: 4, batch: 2, cols: 131, iterations: 3, spread: 5 },
    ] satisfies { name: string; crops: number; batch: number; cols: number; iterations: number; spread?: number }[]
  ).map(({ name, crops, batch, cols, iterations, spread = 1 }): OpRow => ({
    op: `distillation by Sinkhorn-Knopp${name}`,
    gpu: (student, teacher, teacherTemperature) =>
      gpu.distillation(student, teacher, { iterations }, { studentTemperature: 0.1, teacherTemperature }).loss,
    ref: reference.sinkhornDistillation(0.1, iterations),
    inputs: [[crops * batch, cols], [2 * batch, cols], []],
    fixed: [1, 2],
    draw: (rng, input) => (input === 2 ? 0.04 : spread * rng.normal()),
  })),
  ...(
    [
      ["loss", ({ loss }) => loss, reference.sinkhornDistillation(0.1, 3)],
      [
        "entropy of the teacher",
        ({ teacherEntropy }) => teacherEntropy,
        (_, ...teacher) => reference.sinkhornEntropy(3)(...teacher),
      ],
      [
        "mean of the targets",
        ({ meanTargets }) => meanTargets,
        (_, ...teacher) => reference.sinkhornMean(3)(...teacher),
      ],
    ] satisfies [string, (found: gpu.Distillation) => Tensor, ReturnType<typeof reference.sinkhornDistillation>][]
  ).flatMap(([what, pick, ref]): OpRow[] =>
    (
      [
        ["one chunk", { crops: 4, batch: 3, cols: 130, sinkhorn: 3 }],
        ["chunks and a rest", { crops: 4, batch: 3, cols: 200, chunkCols: 64, sinkhorn: 3 }],
      ] satisfies [string, ProductSizes][]
    ).map(([name, sizes]) => ({
      ...ofProducts(sizes, pick, (student, teacher, _, temperature) => ref(student, teacher, temperature)),
      op: `distillation of products by Sinkhorn-Knopp, ${what}, ${name}`,
      fixed: what === "loss" ? [2, 3, 4, 5] : [0, 1, 2, 3, 4, 5],
    })),
  ),
  maskedProducts("", { rows: 9, masked: 6, cols: 130 }),
  maskedProducts(", one row", { rows: 1, masked: 1, cols: 70 }),
  maskedProducts(", all rows, chunks and a rest", { rows: 8, masked: 8, cols: 200, chunkCols: 64 }),
  maskedProducts(" by Sinkhorn-Knopp", { rows: 9, masked: 6, cols: 130, sinkhorn: 3 }),
  maskedProducts(" by Sinkhorn-Knopp, chunks and a rest", {
    rows: 12,
    masked: 7,
    cols: 200,
    chunkCols: 64,
    sinkhorn: 3,
  }),
  maskedProducts(" by Sinkhorn-Knopp, large logits", { rows: 6, masked: 4, cols: 131, sinkhorn: 3, spread: 1.4 }),
  maskedProducts(" by Sinkhorn-Knopp, no masked patch", { rows: 4, masked: 0, cols: 20, sinkhorn: 3 }),
  maskedMean("", false),
  maskedMean(", a product", true),
  ...(
    [
      ["batchNorm", 6, 10],
      ["batchNorm, three rows", 3, 4],
      ["batchNorm, one column", 50, 1],
      ["batchNorm, hidden layer of a small head", 96, 131],
      ["batchNorm, many rows", 70000, 3],
    ] as const
  ).map(([op, rows, cols]): OpRow => ({
    op,
    gpu: (x, gain, bias) => gpu.batchNorm(x, gain, bias, unusedStatistics(cols)),
    ref: reference.batchNorm(1e-5),
    inputs: [[rows, cols], [cols], [cols]],
  })),
  {
    op: "batchNorm, columns far from zero",
    gpu: (x, gain, bias) => gpu.batchNorm(x, gain, bias, unusedStatistics(10)),
    ref: reference.batchNorm(1e-5),
    inputs: [[40, 10], [10], [10]],
    draw: (rng, input) => (input === 0 ? 30 + rng.normal() : rng.normal()),
  },
  {
    op: "batchNormRunning",
    gpu: (x, gain, bias, runningMean, runningVariance) =>
      gpu.batchNormRunning(x, gain, bias, { runningMean, runningVariance }),
    ref: reference.batchNormRunning(1e-5),
    inputs: [[33, 70], [70], [70], [70], [70]],
    fixed: [3, 4],
    draw: (rng, input) => (input === 4 ? 0.5 + rng.uniform() : rng.normal()),
  },
];

/** In f16, inputs that it holds exactly against the float64 reference. */
export const halfRows: readonly OpRow[] = (
  [
    { op: "cast", gpu: inHalves((x) => x), ref: reference.scale(1), inputs: [[5, 7]] },
    { op: "gelu", gpu: inHalves(gpu.gelu), ref: reference.gelu, inputs: [[17, 13]] },
    {
      op: "add, a branch to the stream",
      gpu: (a, b) => gpu.add(a, gpu.cast(b, "f16")),
      ref: reference.add,
      inputs: [
        [3, 35],
        [3, 35],
      ],
    },
    {
      op: "add, b repeats",
      gpu: (a, b) => gpu.add(a, gpu.cast(b, "f16")),
      ref: reference.add,
      inputs: [[5, 3, 7], [7]],
    },
    {
      op: "add, one tensor used twice",
      gpu: inHalves((x) => gpu.add(gpu.gelu(x), x)),
      ref: (x) => reference.add(reference.gelu(x), x),
      inputs: [[5, 33]],
    },
    { op: "gelu, whole fours", gpu: inHalves(gpu.gelu), ref: reference.gelu, inputs: [[303, 520]] },
    {
      op: "gelu of a layer with a bias",
      gpu: (x, w, b) => gpu.cast(gpu.gelu(gpu.linear(gpu.cast(x, "f16"), w, b)), "f32"),
      ref: (x, w, b) => reference.gelu(reference.linear(x, w, b)),
      inputs: [[303, 4], [12, 4], [12]],
    },
    {
      op: "sumLeading",
      gpu: (x) => gpu.sumLeading(gpu.cast(x, "f16"), [70]),
      ref: reference.sumLeading([70]),
      inputs: [[5, 9, 70]],
    },
    {
      op: "sumLeading, one row of three",
      gpu: (x) => gpu.sumLeading(gpu.cast(x, "f16"), [3]),
      ref: reference.sumLeading([3]),
      inputs: [[1, 3]],
    },
    {
      op: "sumLeading, one column",
      gpu: (x) => gpu.sumLeading(gpu.cast(x, "f16"), [1]),
      ref: reference.sumLeading([1]),
      inputs: [[77, 1]],
    },
    {
      op: "sumLeading, whole fours, many rows",
      gpu: (x) => gpu.sumLeading(gpu.cast(x, "f16"), [12]),
      ref: reference.sumLeading([12]),
      inputs: [[1003, 12]],
    },
    {
      op: "layernorm, rounded result",
      gpu: (x, g, b) => gpu.cast(gpu.layernorm(x, g, b, { precision: "f16" }), "f32"),
      ref: reference.layernorm(1e-6),
      inputs: [[2, 37, 193], [193], [193]],
    },
    { op: "addLayernorm", ...residual([3, 5, 12], "f16") },
    { op: "addLayernorm, width of no whole fours", ...residual([3, 10], "f16") },
    { op: "addLayernorm, tokens of ViT-S", ...residual([1, 37, 384], "f16") },
    { op: "addLayernorm, wider than registers hold", ...residual([3, 1028], "f16") },
    { op: "addLayernorm, more rows than workgroups", ...residual([4103, 8], "f16") },
    { op: "rotate", ...rotatedHalves([2, 7, 48], 2, 5) },
    { op: "rotate, pairs of no whole fours", ...rotatedHalves([2, 7, 72], 2, 5) },
    { op: "rotate, tokens of DINOv3 ViT-S", ...rotatedHalves([1, 201, 1152], 6, 196) },
    {
      op: "swiglu",
      gpu: inHalves(gpu.swiglu),
      ref: blocks.swiglu,
      inputs: [
        [17, 12],
        [17, 12],
      ],
    },
    { op: "packedSwiglu", gpu: inHalves(gpu.packedSwiglu), ref: packedSwiglu, inputs: [[5, 7, 24]] },
    ...[
      { what: "", shape: [3, 5, 12] },
      { what: ", width of no whole fours", shape: [7, 10] },
      { what: ", tokens of ViT-S", shape: [1, 197, 384] },
    ].map(({ what, shape }): OpRow => ({
      op: `scaleColumns${what}`,
      gpu: (x, factors) => gpu.cast(gpu.scaleColumns(gpu.cast(x, "f16"), factors), "f32"),
      ref: reference.mul,
      inputs: [shape, shape.slice(-1)],
    })),
    {
      op: "scaleColumns, of a product with a bias",
      gpu: (x, weight, bias, factors) =>
        gpu.cast(gpu.scaleColumns(gpu.linear(gpu.cast(x, "f16"), weight, bias), factors), "f32"),
      ref: (x, weight, bias, factors) => reference.mul(reference.linear(x, weight, bias), factors),
      inputs: [[3, 67, 5], [12, 5], [12], [12]],
    },
    ...[
      { what: "", sample: [3, 8] },
      { what: ", of no whole fours", sample: [3, 7] },
    ].map(({ what, sample }): OpRow => {
      const { kept, order } = ordered(5, 3);
      return {
        op: `addToSamples${what}`,
        gpu: (x, branch) => gpu.addToSamples(x, gpu.cast(branch, "f16"), order(), 1.25),
        ref: blocks.addToSamples(kept, 1.25),
        inputs: [
          [5, ...sample],
          [3, ...sample],
        ],
      };
    }),
    {
      op: "dropPath",
      gpu: (x, u) => gpu.cast(gpu.dropPath(gpu.cast(x, "f16"), [{ uniform: u, rows: x.shape[0]! }], 0.3), "f32"),
      ref: reference.dropPath(0.3),
      inputs: [[7, 3, 5], [7]],
      fixed: [1],
      draw: (rng) => Math.round(256 * rng.uniform()) / 256,
    },
    {
      op: "matmul",
      gpu: inHalves((a, b) => gpu.matmul(a, b)),
      ref: reference.matmul(),
      inputs: [
        [3, 5],
        [5, 4],
      ],
    },
    {
      op: "matmul, ragged tiles",
      gpu: inHalves((a, b) => gpu.matmul(a, b)),
      ref: reference.matmul(),
      inputs: [
        [69, 71],
        [71, 67],
      ],
    },
    {
      op: "matmul, both transposed",
      gpu: inHalves((a, b) => gpu.matmul(a, b, { a: true, b: true })),
      ref: reference.matmul({ a: true, b: true }),
      inputs: [
        [9, 13],
        [67, 9],
      ],
    },
    {
      op: "matmul, batched",
      gpu: inHalves((a, b) => gpu.matmul(a, b)),
      ref: reference.matmul(),
      inputs: [
        [3, 5, 7],
        [3, 7, 5],
      ],
    },
    {
      op: "matmul, k in parts",
      gpu: inHalves((a, b) => gpu.matmul(a, b)),
      ref: reference.matmul(),
      inputs: [
        [70, 1030],
        [1030, 9],
      ],
    },
    {
      op: "matmul, many large tiles",
      gpu: inHalves((a, b) => gpu.matmul(a, b, { b: true })),
      ref: reference.matmul({ b: true }),
      inputs: [
        [8200, 3],
        [130, 3],
      ],
    },
    { op: "slice", gpu: inHalves((x) => gpu.slice(x, 1, 2, 3)), ref: reference.slice(1, 2, 3), inputs: [[4, 7, 5]] },
    {
      op: "firstTokens",
      gpu: inHalves((x) => gpu.firstTokens(x, groups)),
      ref: reference.perGroup(groups, firstTokens),
      inputs: [[16, 128]],
    },
    { op: "attention", gpu: inHalves((x) => gpu.attention(x, 2)), ref: reference.attention(2), inputs: [[2, 5, 18]] },
    {
      op: "attention, two lengths",
      gpu: inHalves((x) => gpu.attention(x, 2, groups)),
      ref: reference.perGroup(groups, reference.attention(2)),
      inputs: [[16, 384]],
    },
    {
      op: "attention, more tokens than two tiles",
      gpu: inHalves((x) => gpu.attention(x, 1)),
      ref: reference.attention(1),
      inputs: [[1, 130, 192]],
    },
    {
      op: "attention, widest head",
      gpu: inHalves((x) => gpu.attention(x, 1)),
      ref: reference.attention(1),
      inputs: [[1, 27, 384]],
    },
    {
      op: "linear with weights in f32, qkv of ViT-Ti",
      gpu: (x, w, b) => gpu.cast(gpu.linear(gpu.cast(x, "f16"), w, b), "f32"),
      ref: reference.linear,
      inputs: [[5, 192], [576, 192], [576]],
    },
    {
      ...ofProducts(
        { crops: 5, batch: 3, cols: 301, chunkCols: 128, dim: 7, spread: 0.5, precision: "f16" },
        ({ loss }) => loss,
        reference.distillation(0.1),
      ),
      op: "distillation of products",
      fixed: [2, 3, 4, 5],
    },
    maskedProducts(" by Sinkhorn-Knopp", {
      ...{ rows: 9, masked: 6, cols: 300, chunkCols: 128, dim: 8, spread: 0.5, sinkhorn: 3, precision: "f16" },
    }),
    {
      op: "linear with weights in f32, ragged, without bias",
      gpu: (x, w) => gpu.cast(gpu.linear(gpu.cast(x, "f16"), w), "f32"),
      ref: reference.linear,
      inputs: [
        [3, 7, 11],
        [13, 11],
      ],
    },
  ] satisfies OpRow[]
).map((row) => ({ draw: halves, tolerance: HALF, ...row }));

/** In f16, sizes that the kernels for tensor cores take: whole quads where memory runs, edges anywhere. */
export const matrixRows: readonly OpRow[] = (
  [
    {
      op: "matmul, more than a tile",
      gpu: inHalves((a, b) => gpu.matmul(a, b)),
      ref: reference.matmul(),
      inputs: [
        [130, 36],
        [36, 132],
      ],
    },
    {
      op: "matmul, both transposed",
      gpu: inHalves((a, b) => gpu.matmul(a, b, { a: true, b: true })),
      ref: reference.matmul({ a: true, b: true }),
      inputs: [
        [20, 12],
        [68, 20],
      ],
    },
    {
      op: "matmul, batched",
      gpu: inHalves((a, b) => gpu.matmul(a, b)),
      ref: reference.matmul(),
      inputs: [
        [3, 5, 8],
        [3, 8, 12],
      ],
    },
    {
      op: "attention, one token",
      gpu: inHalves((x) => gpu.attention(x, 2)),
      ref: reference.attention(2),
      inputs: [[3, 1, 24]],
    },
    {
      op: "attention, ViT on 224 px",
      gpu: inHalves((x) => gpu.attention(x, 1)),
      ref: reference.attention(1),
      inputs: [[1, 197, 192]],
    },
    {
      op: "attention, a key more than two tiles",
      gpu: inHalves((x) => gpu.attention(x, 3)),
      ref: reference.attention(3),
      inputs: [[2, 65, 180]],
    },
    {
      op: "attention, large scores",
      gpu: inHalves((x) => gpu.attention(x, 1)),
      ref: reference.attention(1),
      inputs: [[1, 130, 96]],
      draw: (rng) => 4 * halves(rng),
    },
    {
      ...ofProducts(
        { crops: 5, batch: 3, cols: 300, chunkCols: 128, dim: 8, spread: 0.5, precision: "f16" },
        ({ loss }) => loss,
        reference.distillation(0.1),
      ),
      op: "distillation of products",
      fixed: [2, 3, 4, 5],
    },
    maskedProducts(" by Sinkhorn-Knopp", {
      ...{ rows: 9, masked: 6, cols: 300, chunkCols: 128, dim: 8, spread: 0.5, sinkhorn: 3, precision: "f16" },
    }),
    {
      op: "linear with weights in f32, k in parts",
      gpu: (x, w, b) => gpu.cast(gpu.linear(gpu.cast(x, "f16"), w, b), "f32"),
      ref: reference.linear,
      inputs: [[7, 1100], [20, 1100], [20]],
    },
    {
      op: "linear with weights in f32, gradient in parts",
      gpu: (x, w) => gpu.cast(gpu.linear(gpu.cast(x, "f16"), w), "f32"),
      ref: reference.linear,
      inputs: [
        [1030, 12],
        [16, 12],
      ],
    },
  ] satisfies OpRow[]
).map((row) => ({ draw: halves, tolerance: HALF, ...row }));

/** Whether a row is one of those that take most of the table's time. */
export function isLarge({ op }: OpRow): boolean {
  return /more (rows|groups|workgroups) than a grid axis|65536 prototypes/.test(op);
}
