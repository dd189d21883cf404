/** The rows of the losses. */
import {
  constant,
  crossEntropy,
  distillation,
  fill,
  koleo,
  type Logits,
  maskedDistillation,
  type Precision,
  type Tensor,
} from "../../engine/index.js";
import * as masked from "../../reference/masked-operations.js";
import * as reference from "../../reference/operations.js";
import type { Values } from "../../reference/operations.js";
import { deviation, gradientDeviation, take, toFloat64 } from "./check.js";
import { type BenchRow, gradientsOf, type HostTensor } from "./row.js";
import { BOTTLENECK, CROPS, PROTOTYPES, TOKENS } from "./shapes.js";

/** Temperatures of student and teacher. */
const TEMPERATURES = { student: 0.1, teacher: 0.04 };
type Temperatures = typeof TEMPERATURES;
const SINKHORN = { iterations: 3 };

/** Records the loss of DINO. */
const recordLoss = (student: Logits, teacher: Logits, center: Tensor, temperatures: Temperatures): Tensor =>
  distillation(student, teacher, center, {
    studentTemperature: temperatures.student,
    teacherTemperature: fill([], temperatures.teacher),
  }).loss;

/** The loss of DINO in float64. */
function referenceLoss(student: Values, teacher: Values, center: HostTensor, temperatures: Temperatures): number {
  const teacherTemperature = reference.values([], () => Math.fround(temperatures.teacher));
  return reference.distillation(temperatures.student)(student, teacher, toFloat64(center), teacherTemperature).data[0]!;
}

/** The rows of the crops of one image. */
const cropsOf = (image: number, images: number, crops: number) =>
  Array.from({ length: crops }, (_, crop) => crop * images + image);

/** The mean of a value of each image. */
const meanOver = (images: number, valueOf: (image: number) => number): Values =>
  reference.values([], () =>
    Array.from({ length: images }, (_, i) => valueOf(i)).reduce((sum, v) => sum + v / images, 0),
  );

/** The loss over all prototypes and its gradient, which is checked for one image. */
export function distillationRows(images: number): BenchRow[] {
  const crops = CROPS.global + CROPS.local;
  const shapes = [[crops * images, PROTOTYPES], [CROPS.global * images, PROTOTYPES], [PROTOTYPES]];
  const rowsOf = (image: number) => cropsOf(image, images, crops);
  const teacherOf = (teacher: HostTensor, image: number) => take(teacher, cropsOf(image, images, CROPS.global));
  const elements = (crops + CROPS.global) * images * PROTOTYPES;
  return [
    {
      name: "cross-entropy",
      inputs: shapes,
      build: (student, teacher, center) => [recordLoss(student, teacher, center, TEMPERATURES)],
      kernels: /^distillation-(?!backward)/,
      bytes: 4 * (elements + CROPS.global * images * PROTOTYPES), // the targets are written too
      check: ([student, teacher, center], result) => {
        const expected = meanOver(images, (i) =>
          referenceLoss(take(student!, rowsOf(i)), teacherOf(teacher!, i), center!, TEMPERATURES),
        );
        return deviation(toFloat64(result), expected);
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
        return deviation(toFloat64(result), ref(toFloat64(student!), toFloat64(teacher!), temperature));
      },
    },
    {
      name: "cross-entropy backward",
      inputs: shapes,
      build: (student, teacher, center) =>
        gradientsOf(recordLoss(student, teacher, center, TEMPERATURES), fill([], 1), [student]),
      kernels: /^distillation-backward/,
      bytes: 4 * (elements + crops * images * PROTOTYPES),
      check: ([student, teacher, center], result) => {
        const objective = (moved: Values) =>
          referenceLoss(moved, teacherOf(teacher!, 0), center!, TEMPERATURES) / images;
        return gradientDeviation(take(result, rowsOf(0)), take(student!, rowsOf(0)), objective);
      },
      tolerance: 1e-4,
    },
  ];
}

/** The loss of masked patches over all prototypes, and its gradient: a quarter of the patches of two global crops of an image. */
export function maskedRows(images: number): BenchRow[] {
  const count = images * Math.round((CROPS.global * (TOKENS.global - 1)) / 8);
  const shapes = [[count, PROTOTYPES], [count, PROTOTYPES], [PROTOTYPES]];
  const share = reference.values([count], () => 1 / count);
  const record = (student: Tensor, teacher: Tensor, center: Tensor): Tensor => {
    const shares = fill([count], 1 / count);
    const teacherTemperature = fill([], TEMPERATURES.teacher);
    const options = { studentTemperature: TEMPERATURES.student, teacherTemperature };
    return maskedDistillation(student, teacher, center, { weights: shares, shares }, options).loss;
  };
  const temperature = reference.values([], () => Math.fround(TEMPERATURES.teacher));
  const lossOf = masked.maskedDistillation(TEMPERATURES.student);
  return [
    {
      name: "cross-entropy of masked patches",
      inputs: shapes,
      build: (student, teacher, center) => [record(student, teacher, center)],
      kernels: /^distillation-(?!backward)/,
      bytes: 4 * 3 * count * PROTOTYPES, // the targets are written too
      check: ([student, teacher, center], result) =>
        deviation(
          toFloat64(result),
          lossOf(toFloat64(student!), toFloat64(teacher!), toFloat64(center!), temperature, share),
        ),
    },
    {
      name: "cross-entropy of masked patches backward",
      inputs: shapes,
      build: (student, teacher, center) => gradientsOf(record(student, teacher, center), fill([], 1), [student]),
      kernels: /^distillation-backward/,
      bytes: 4 * 3 * count * PROTOTYPES,
      check: ([student, teacher, center], result) => {
        const one = reference.values([1], () => 1 / count);
        const [targets, middle] = [take(teacher!, [0]), toFloat64(center!)];
        const objective = (moved: Values) => lossOf(moved, targets, middle, temperature, one).data[0]!;
        return gradientDeviation(take(result, [0]), take(student!, [0]), objective);
      },
      tolerance: 1e-4,
    },
  ];
}

/**
 * The last layer fused with the loss over all prototypes, and with the gradients of bottleneck and weights; the gradient of the
 * bottleneck is checked for one image. Temperatures are scaled, since rows and weights have the norm sqrt(width) instead of 1.
 */
export function prototypeRows(batch: number, precision: Precision): BenchRow[] {
  const crops = CROPS.global + CROPS.local;
  const temperatures = { student: BOTTLENECK * TEMPERATURES.student, teacher: BOTTLENECK * TEMPERATURES.teacher };
  const few = Math.min(batch, 8); // the reference takes seconds for more
  const weights = [PROTOTYPES, BOTTLENECK];
  const shapes = (images: number) => [
    ...[[crops * images, BOTTLENECK], weights, [CROPS.global * images, BOTTLENECK], weights],
    [PROTOTYPES],
  ];
  const loss = (x: Tensor, weight: Tensor, teacherX: Tensor, teacherWeight: Tensor, center: Tensor) =>
    recordLoss({ x, weight, precision }, { x: teacherX, weight: teacherWeight, precision }, center, temperatures);
  const inHalf = precision === "f16";
  const suffix = inHalf ? ", f16" : "";
  const half = inHalf && ({ half: true } as const);
  const lossScale = inHalf ? 65536 * BOTTLENECK : 1; // as of a step whose temperatures have not grown
  /** Returns the loss as a function of the bottleneck of one image. */
  const expected = ([, weight, teacherX, teacherWeight, center]: readonly HostTensor[], images: number) => {
    const [w, teacherW] = [toFloat64(weight!), toFloat64(teacherWeight!)];
    return (x: Values, image: number) => {
      const teacher = reference.linear(take(teacherX!, cropsOf(image, images, CROPS.global)), teacherW);
      return referenceLoss(reference.linear(x, w), teacher, center!, temperatures);
    };
  };
  const product = (rows: number) => 2 * rows * PROTOTYPES * BOTTLENECK;
  return [
    {
      name: `prototypes and loss${suffix}`,
      ...half,
      inputs: shapes(few),
      build: (x, weight, teacherX, teacherWeight, center) => [loss(x, weight, teacherX, teacherWeight, center)],
      flops: product((crops + CROPS.global) * few),
      tolerance: inHalf ? 1e-3 : 1e-5,
      check: (inputs, result) => {
        const lossOf = expected(inputs, few);
        return deviation(
          toFloat64(result),
          meanOver(few, (i) => lossOf(take(inputs[0]!, cropsOf(i, few, crops)), i)),
        );
      },
    },
    {
      name: `prototypes and loss, gradients${suffix}`,
      ...half,
      inputs: shapes(batch),
      build: (x, weight, teacherX, teacherWeight, center) =>
        gradientsOf(loss(x, weight, teacherX, teacherWeight, center), fill([], lossScale), [x, weight]),
      flops: product((3 * crops + CROPS.global) * batch), // without recomputation
      check: (inputs, result) => {
        const lossOf = expected(inputs, batch);
        const rows = cropsOf(0, batch, crops);
        const scaled = (moved: Values) => (lossScale / batch) * lossOf(moved, 0);
        return gradientDeviation(take(result, rows), take(inputs[0]!, rows), scaled);
      },
      tolerance: inHalf ? 1e-2 : 1e-4,
    },
  ];
}

/** The KoLeo loss of the features of global crops. */
export function koleoRows(crops: number, dim: number): BenchRow[] {
  const ref = reference.koleo(CROPS.global);
  const inputs = [[crops, dim]];
  return [
    {
      name: "koleo",
      inputs,
      flops: (3 * crops * crops * dim) / CROPS.global, // difference, square and sum
      build: (x) => [koleo(x, CROPS.global)],
      check: ([x], result) => deviation(toFloat64(result), ref(toFloat64(x!))),
    },
    {
      name: "koleo backward",
      inputs,
      build: (x) => gradientsOf(koleo(x, CROPS.global), fill([], 1), [x]),
      kernels: /^koleo-backward/,
      check: ([x], result) => gradientDeviation(toFloat64(result), toFloat64(x!), (moved) => ref(moved).data[0]!),
      tolerance: 1e-4,
    },
  ];
}

/** The loss of a linear evaluation: eight layers, 128 images of 1000 classes. */
export function labelRow(): BenchRow {
  const [images, layers, classes] = [128, 8, 1000];
  const labels = Array.from({ length: images }, (_, i) => (7 * i) % classes);
  return {
    name: "cross-entropy of labels",
    inputs: [[images, layers, classes]],
    build: (x) => [crossEntropy(x, constant([images], labels, { dtype: "u32" }))],
    bytes: 4 * images * layers * classes,
    check: ([x], result) => deviation(toFloat64(result), reference.crossEntropy(labels)(toFloat64(x!))),
  };
}
