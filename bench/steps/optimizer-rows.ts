/** The rows of the optimizer and the teacher. */
import type { Device } from "../../engine/core/device.js";
import { formatShape } from "../../engine/core/tensor.js";
import { createParams, fill, layoutOf } from "../../engine/index.js";
import { adamw, ema } from "../../engine/optimizers/optimizer.js";
import * as reference from "../../reference/operations.js";
import { deviation, toFloat64 } from "./check.js";
import { type BenchRow, numbers } from "./row.js";

/** The number of parameters of ViT-Ti. */
const PARAMETERS = [28672, 192] as const;
const layout = layoutOf([{ name: "weight", shape: PARAMETERS, trainable: true }]);

/** Row of the first step of AdamW, whose moments come from one gradient. */
export function adamwRow(device: Device): BenchRow & Disposable {
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
      return deviation(toFloat64(result), reference.values(result.shape, expected));
    },
    [Symbol.dispose]() {
      optimizer[Symbol.dispose]();
      params[Symbol.dispose]();
    },
  };
}

/** The update of the teacher. */
export function emaRow(device: Device): BenchRow & Disposable {
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
      return deviation(toFloat64(result), reference.values(result.shape, expected));
    },
    [Symbol.dispose]() {
      teacher[Symbol.dispose]();
      student[Symbol.dispose]();
    },
  };
}
