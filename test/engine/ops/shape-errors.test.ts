import { expect } from "chai";
import type { Device } from "../../../engine/core/device.js";
import { transient } from "../../../engine/core/recording.js";
import {
  add,
  addLayernorm,
  addToSamples,
  attention,
  attentionProbabilities,
  concat,
  copy,
  crossEntropy,
  distillation,
  dropPath,
  firstTokens,
  evaluate,
  fill,
  gem,
  gradients,
  l2Normalize,
  labelRank,
  layernorm,
  linear,
  logSoftmax,
  maskedDistillation,
  matmul,
  max,
  mul,
  packedSwiglu,
  patches,
  repeat,
  replaceRows,
  reshape,
  resizeGrid,
  rotate,
  scale,
  scaleColumns,
  scaleRows,
  slice,
  softmax,
  topK,
  sum,
  sumLeading,
  swiglu,
  takeSamples,
  type Tensor,
  updateCenter,
  weightNorm,
} from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";

/** Returns a tensor of a shape, for operations that refuse it. */
const t = (...shape: number[]): Tensor => transient(shape);

const temperatures = () => ({ studentTemperature: 1, teacherTemperature: t() });

/** Returns an order of `batch` samples. */
const order = (batch: number): Tensor => transient([batch], "u32");

/** Returns the cosines and sines of `count` patches. */
const rotation = (count: number, pairs: number) => ({ cosines: t(count, pairs), sines: t(count, pairs) });

const shapeMistakes: readonly (readonly [message: string, mistake: () => unknown])[] = [
  ["add: b [3] is not the end of a [2, 4]", () => add(t(2, 4), t(3))],
  ["add: b [2, 4] is not the end of a [4]", () => add(t(4), t(2, 4))],
  ["mul: b [2] is not the end of a [2, 4]", () => mul(t(2, 4), t(2))],
  ["softmax x: expected [...rows, cols], got []", () => softmax(t())],
  ["logSoftmax x: expected [...rows, cols], got []", () => logSoftmax(t())],
  ["crossEntropy: expected x [3, ..., classes] for 3 labels, got [4, 10]", () => crossEntropy(t(4, 10), t(3))],
  ["crossEntropy labels: expected u32, got f32", () => crossEntropy(t(4, 10), t(4))],
  ["labelRank x: expected [...rows, classes], got []", () => labelRank(t(), t(1))],
  ["gem x: expected [batch, tokens, cols], got [2, 3]", () => gem(t(2, 3), { power: 4 })],
  ["gem power: expected more than 0, got 0", () => gem(t(1, 2, 3), { power: 0 })],
  ["largest x: expected [...rows, cols], got []", () => max(t())],
  ["topK x: expected [rows, cols], got [4]", () => topK(t(4), 1)],
  [
    "topK before: expected the 2 largest of 3 rows, got [3, 1]",
    () => topK(t(3, 5), 2, { values: t(3, 1), columns: t(3, 1), seen: 4 }),
  ],
  ["l2Normalize x: expected [...rows, cols], got []", () => l2Normalize(t())],
  ["layernorm x: expected [...rows, cols], got []", () => layernorm(t(), t(1), t(1))],
  ["layernorm gain: expected [5], got [4]", () => layernorm(t(2, 5), t(4), t(5))],
  ["layernorm bias: expected [5], got [1, 5]", () => layernorm(t(2, 5), t(5), t(1, 5))],
  ["addLayernorm branch: expected [2, 5], got [5]", () => addLayernorm(t(2, 5), t(5), t(5), t(5))],
  ["addLayernorm gain: expected [5], got [4]", () => addLayernorm(t(2, 5), t(2, 5), t(4), t(5))],
  ["scaleRows factors: expected [4], got [3]", () => scaleRows(t(4, 2), t(3))],
  ["scaleRows factors: expected [4, 1], got [4, 2]", () => scaleRows(t(4, 2), t(4, 2))],
  ["scaleColumns factors: expected [2], got [4]", () => scaleColumns(t(4, 2), t(4))],
  ["replaceRows mask: expected [3, 4], got [4]", () => replaceRows(t(3, 4, 2), t(4), t(2))],
  ["replaceRows row: expected [2], got [1, 2]", () => replaceRows(t(3, 4, 2), t(3, 4), t(1, 2))],
  ["resizeGrid x: expected 2 x 3 rows, got 5", () => resizeGrid(t(5, 4), { rows: 2, cols: 3 }, { rows: 1, cols: 1 })],
  ["swiglu value: expected [2, 8], got [2, 4]", () => swiglu(t(2, 8), t(2, 4))],
  ["swiglu value: expected f32 as gate, got u32", () => swiglu(t(2, 8), transient([2, 8], "u32"))],
  ["swiglu: expected a hidden width that is a multiple of 4, got 6", () => swiglu(t(2, 6), t(2, 6))],
  ["swiglu: expected a hidden width that is a multiple of 4, got 4.5", () => packedSwiglu(t(2, 9))],
  ["takeSamples order: expected u32, got f32", () => takeSamples(t(3, 4), t(3), 2)],
  ["takeSamples order: expected [3], got [4]", () => takeSamples(t(3, 4), order(4), 2)],
  ["takeSamples: expected 1 to 3 samples, got 4", () => takeSamples(t(3, 4), order(3), 4)],
  ["addToSamples branch: expected [2, 4], got [2, 5]", () => addToSamples(t(3, 4), t(2, 5), order(3), 1)],
  ["addToSamples: branch [4, 4] exceeds the batch of 3", () => addToSamples(t(3, 4), t(4, 4), order(3), 1)],
  ["rotate qkv: expected [batch, tokens, width], got [5, 24]", () => rotate(t(5, 24), 2, rotation(4, 2))],
  [
    "rotate: qkv has 5 tokens, its sequences have 6",
    () => rotate(t(5, 24), 2, [{ batch: 2, tokens: 3, rotation: rotation(2, 2) }]),
  ],
  ["rotate: a third of 18 channels has no 2 heads of whole pairs", () => rotate(t(1, 5, 18), 2, rotation(4, 2))],
  ["rotate: 6 patches are more than the 5 tokens of qkv", () => rotate(t(1, 5, 24), 2, rotation(6, 2))],
  ["rotate cosines: expected [4, 2], got [4, 4]", () => rotate(t(1, 5, 24), 2, rotation(4, 4))],
  ["rotate sines: expected [4, 2], got [5, 2]", () => rotate(t(1, 5, 24), 2, { cosines: t(4, 2), sines: t(5, 2) })],
  ["matmul a: expected [rows, cols], got [4]", () => matmul(t(4), t(4, 2))],
  ["matmul b: expected [rows, cols], got [1, 4, 2]", () => matmul(t(3, 4), t(1, 4, 2))],
  ["matmul b: expected [batch, rows, cols], got [4, 2]", () => matmul(t(1, 3, 4), t(4, 2))],
  ["matmul: a [64, 192] and b [196, 576] differ in their inner axis (192, 196)", () => matmul(t(64, 192), t(196, 576))],
  [
    "matmul: a [4, 3] and b [2, 5] differ in their inner axis (4, 5)",
    () => matmul(t(4, 3), t(2, 5), { a: true, b: true }),
  ],
  ["matmul: a [2, 3, 4] and b [3, 4, 5] differ in their batch (2, 3)", () => matmul(t(2, 3, 4), t(3, 4, 5))],
  ["linear x: expected [...rows, cols], got []", () => linear(t(), t(2, 3))],
  ["linear weight: expected [out, in], got [3]", () => linear(t(2, 3), t(3))],
  ["linear: expected x [..., 4] for a weight [5, 4], got [2, 3]", () => linear(t(2, 3), t(5, 4))],
  ["linear bias: expected [5], got [4]", () => linear(t(2, 3), t(5, 3), t(4))],
  ["linear bias: expected [out], got [1, 5]", () => linear(t(2, 3), t(5, 3), t(1, 5))],
  ["scaleRows factors: expected [5], got [4]", () => weightNorm(t(5, 3), t(4))],
  ["attention qkv: expected [batch, tokens, width], got [5, 24]", () => attention(t(5, 24), 2)],
  ["attention: qkv has 5 tokens, its sequences have 6", () => attention(t(5, 24), 2, [{ batch: 2, tokens: 3 }])],
  ["attention: 3 heads do not divide a third of 24 channels", () => attention(t(1, 5, 24), 3)],
  ["attention: expected heads of at most 128 channels, got 192", () => attention(t(1, 5, 576), 1)],
  ["attention qkv: expected [batch, tokens, width], got [5, 24]", () => attentionProbabilities(t(5, 24), 2)],
  ["slice x: 2..9 of axis 1 leaves [4, 7]", () => slice(t(4, 7), 1, 2, 7)],
  ["slice x: 0..1 of axis 2 leaves [4, 7]", () => slice(t(4, 7), 2, 0, 1)],
  ["slice x: -1..1 of axis 0 leaves [4, 7]", () => slice(t(4, 7), 0, -1, 2)],
  ["slice x: 1..1 of axis 0 leaves [4, 7]", () => slice(t(4, 7), 0, 1, 0)],
  ["firstTokens x: expected [6, 4], got [5, 4]", () => firstTokens(t(5, 4), [{ batch: 2, tokens: 3 }])],
  ["concat: no axis 0 in 0 tensors", () => concat([], 0)],
  ["concat: no axis 2 in 1 tensors", () => concat([t(3, 5)], 2)],
  ["concat: [3, 5] and [3, 6] differ beyond axis 0", () => concat([t(3, 5), t(3, 6)], 0)],
  ["concat: [3, 5] and [3, 5, 1] differ beyond axis 0", () => concat([t(3, 5), t(3, 5, 1)], 0)],
  ["patches images: expected [batch, channels, rows, cols], got [3, 8, 8]", () => patches(t(3, 8, 8), 4)],
  ["patches: images of 8 x 3 hold no whole patch of 4", () => patches(t(1, 3, 8, 3), 4)],
  ["dropPath: expected a probability in [0, 1), got 1", () => dropPath(t(2, 3), [{ uniform: t(2), rows: 2 }], 1)],
  ["dropPath x: expected [3, 3], got [2, 3]", () => dropPath(t(2, 3), [{ uniform: t(3), rows: 3 }], 0.1)],
  ["dropPath uniform: [3] does not divide 2 rows", () => dropPath(t(2, 3), [{ uniform: t(3), rows: 2 }], 0.1)],
  [
    "distillation: expected student [crops * batch, cols] and teacher [2 * batch, cols] with at least 2 crops, got [5, 8] and [4, 8]",
    () => distillation(t(5, 8), t(4, 8), t(8), { studentTemperature: 0.1, teacherTemperature: t() }),
  ],
  [
    "distillation teacher: expected 8 columns, got 9",
    () => distillation(t(8, 8), t(4, 9), t(8), { studentTemperature: 0.1, teacherTemperature: t() }),
  ],
  [
    "distillation teacherTemperature: expected [], got [1]",
    () => distillation(t(8, 8), t(4, 8), t(8), { studentTemperature: 0.1, teacherTemperature: t(1) }),
  ],
  [
    "distillation student weight: expected [cols, 3], got [8, 4]",
    () =>
      distillation({ x: t(8, 3), weight: t(8, 4) }, t(4, 8), t(8), { studentTemperature: 1, teacherTemperature: t() }),
  ],
  [
    "distillation: expected chunks of a multiple of 64 columns, got 100",
    () => {
      const [student, teacher] = [t(8, 3), t(4, 3)].map((x) => ({ x, weight: t(300, 3) }));
      const options = { studentTemperature: 1, teacherTemperature: t(), chunkCols: 100 };
      distillation(student!, teacher!, t(300), options);
    },
  ],
  [
    "maskedDistillation teacher: expected [4, 8], got [5, 8]",
    () => maskedDistillation(t(4, 8), t(5, 8), t(8), { weights: t(4), shares: t(4) }, temperatures()),
  ],
  [
    "maskedDistillation weights: expected [4], got [5]",
    () => maskedDistillation(t(4, 8), t(4, 8), t(8), { weights: t(5), shares: t(4) }, temperatures()),
  ],
  [
    "maskedDistillation shares: expected [4], got [5]",
    () => maskedDistillation(t(4, 8), t(4, 8), t(8), { weights: t(4), shares: t(5) }, temperatures()),
  ],
  [
    "maskedDistillation center: expected [8], got [9]",
    () => maskedDistillation(t(4, 8), t(4, 8), t(9), { weights: t(4), shares: t(4) }, temperatures()),
  ],
  ["updateCenter center: expected [8], got [9]", () => updateCenter(t(9), t(8), 0.9)],
  ["repeat x: [7] is not the end of [40, 6]", () => repeat(t(7), [40, 6])],
  ["repeat x: [40, 6] is not the end of [6]", () => repeat(t(40, 6), [6])],
  ["sumLeading shape: [7] is not the end of [40, 6]", () => sumLeading(t(40, 6), [7])],
  ["copy: x [4] and out [2, 3] differ in their number of elements", () => copy(t(4), t(2, 3))],
  ["reshape: [2, 3] has 6 elements, [4, 2] has 8", () => reshape(t(2, 3), [4, 2])],
  ["reshape: every axis must be a positive whole number, got [-1, 3]", () => reshape(t(2, 3), [-1, 3])],
  ["transient: every axis must be a positive whole number, got [0]", () => fill([0], 1)],
  ["transient: every axis must be a positive whole number, got [2.5]", () => fill([2.5], 1)],
  ["gradients dy: expected [], got [1]", () => gradients(sum(t(3)), fill([1], 1), [])],
  ["fill: constant VALUE is NaN", () => fill([1], NaN)],
  ["scale: constant FACTOR is Infinity", () => scale(t(3), Infinity)],
];

describe("shape errors name the operation, what it expected and what it got", () => {
  let device: Device;
  before(async () => {
    device = await testDevice();
  });

  for (const [message, mistake] of shapeMistakes) {
    it(message, async () => {
      await evaluate(device, () => {
        let caught: Error | undefined;
        try {
          mistake();
        } catch (error) {
          caught = error as Error;
        }
        expect(caught?.message).to.equal(message);
        expect(caught?.stack, "the caller's frame").to.include("shape-errors.test.ts");
        return {};
      });
    });
  }
});
