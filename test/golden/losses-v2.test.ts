import { expect } from "chai";
import { maskedPatches } from "../../dino/batches/block-masks.js";
import {
  type Centering,
  constant,
  distillation,
  download,
  fill,
  gradients,
  input,
  koleo,
  l2Normalize,
  maskedDistillation,
  mul,
  type Program,
  record,
  scalars,
  slice,
  sum,
  type Tensor,
  updateCenter,
} from "../../engine/index.js";
import { chunksOf } from "../../engine/ops/distillation/logits.js";
import { sharpen } from "../../engine/ops/distillation/targets.js";
import { testDevice } from "../support/device.js";
import { goldenV2, relmax, toleranceIn } from "./golden.js";

interface DinoCall {
  readonly key: string;
  readonly teacher_temp: number;
  readonly loss_local: number;
  readonly loss_global: number;
}

interface PatchCall {
  readonly key: string;
  readonly teacher_temp: number;
  readonly n_masked: number;
  readonly student_rows: number;
  readonly images: number;
  readonly patches: number;
  readonly masks_weight_given: boolean;
  readonly loss: number;
}

interface Losses {
  readonly out_dim: number;
  readonly batch: number;
  readonly local_crops: number;
  readonly student_temp: number;
  readonly center_momentum: number;
  readonly dino_centering: readonly DinoCall[];
  readonly dino_sinkhorn: readonly DinoCall[];
  readonly dino_sinkhorn_iters: { readonly teacher_temp: number; readonly iterations: readonly number[] };
  readonly ibot_centering: readonly PatchCall[];
  readonly ibot_sinkhorn: readonly PatchCall[];
  readonly ibot_dense: { readonly loss: number; readonly batch: number; readonly patches: number };
  readonly koleo: readonly {
    readonly key: string;
    readonly batch: number;
    readonly dim: number;
    readonly loss: number;
  }[];
  readonly tolerance: Readonly<Record<string, string>>;
}

const golden = goldenV2.json<Losses>("losses2");
const tensors = goldenV2.tensors("losses2");
const { out_dim: cols, batch, local_crops: localCrops, student_temp: studentTemperature } = golden;
const tolerance = {
  values: toleranceIn(golden.tolerance["loss values"]),
  targets: toleranceIn(golden.tolerance["targets, centers"]),
  gradients: toleranceIn(golden.tolerance["gradients"]),
};
const VIEWS = 2;
const SINKHORN = { iterations: 3 };

function expectNear(actual: ArrayLike<number>, name: string, most: number): void {
  expect(relmax(actual, tensors.f32(name)), name).to.be.below(most);
}

/** The targets of a teacher [rows, cols] that is not a product. */
function targetsOf(teacher: Tensor, centering: Centering, temperature: Tensor): Tensor {
  const chunks = chunksOf([teacher]);
  return sharpen(teacher, centering, temperature, chunks).targetsOf(chunks[0]!);
}

/** Rows with the halves of the global crops exchanged: the stored loss takes each row against the same row of the targets. */
function exchanged(rows: Float32Array): Float32Array {
  const half = rows.length / 2;
  return Float32Array.from(rows, (_, i) => rows[(i + half) % rows.length]!);
}

/** Compares a call of the DINO loss, which is recorded as `step`, with the stored one. */
async function checkDino(step: Program<"local" | "global" | "targets" | "dStudent">, { key, ...call }: DinoCall) {
  await step.run();
  expect((await step.readScalar("local")) / call.loss_local, `${key} local`).to.be.closeTo(1, tolerance.values);
  expect((await step.readScalar("global")) / call.loss_global, `${key} global`).to.be.closeTo(1, tolerance.values);
  expectNear(await step.read("targets"), `${key}.targets`, tolerance.targets);
  const dStudent = await step.read("dStudent");
  const globals = VIEWS * batch * cols;
  expectNear(exchanged(dStudent.slice(0, globals)), `${key}.grad_student_global`, tolerance.gradients);
  expectNear(dStudent.slice(globals), `${key}.grad_student_local`, tolerance.gradients);
}

describe("golden losses of DINOv2", () => {
  for (const [name, calls] of [
    ["dino_centering", golden.dino_centering],
    ["dino_sinkhorn", golden.dino_sinkhorn],
  ] as const) {
    it(`${name}: local and global loss, targets, gradients and center over ${calls.length} calls`, async () => {
      const device = await testDevice();
      const [globalRows, crops] = [VIEWS * batch, VIEWS + localCrops];
      using student = input(device, [crops * batch, cols]);
      using teacher = input(device, [globalRows, cols]);
      using center = input(device, [1, cols]);
      using knobs = scalars(device, "temperature");
      const { temperature } = knobs;
      using step = await record(device, () => {
        const centering = name === "dino_centering" ? center : SINKHORN;
        const targets = targetsOf(
          teacher,
          "iterations" in centering ? centering : { ...center, shape: [cols] },
          temperature,
        );
        const options = { studentTemperature, teacherTemperature: temperature };
        const { losses, teacherMean } = distillation(student, teacher, centering, options);
        // ours are divided by all pairs of crops, the stored ones by images, or by rows where there is one target of each
        const factors = Array.from({ length: crops * batch }, (_, row) => (crops - 1) * (row < globalRows ? 1 : VIEWS));
        const stored = mul(losses, constant([crops * batch], factors));
        const [dStudent] = gradients(sum(stored), fill([], 1), [student]);
        updateCenter(center, teacherMean, golden.center_momentum);
        const [global, local] = [slice(stored, 0, 0, globalRows), slice(stored, 0, globalRows, localCrops * batch)];
        return { global: sum(global), local: sum(local), targets, dStudent: dStudent! };
      });
      for (const call of calls) {
        const { key } = call;
        if (name === "dino_centering") expectNear(await download(center), `${key}.center_used`, tolerance.targets);
        student.write([...exchanged(tensors.f32(`${key}.student_global`)), ...tensors.f32(`${key}.student_local`)]);
        teacher.write(tensors.f32(`${key}.teacher`));
        knobs.write({ temperature: call.teacher_temp });
        await checkDino(step, call);
      }
      if (name === "dino_centering") expectNear(await download(center), `${name}.center_final`, tolerance.targets);
    });
  }

  for (const iterations of golden.dino_sinkhorn_iters.iterations) {
    it(`dino_sinkhorn_iters: targets after ${iterations}`, async () => {
      const device = await testDevice();
      const name = "dino_sinkhorn_iters";
      using teacher = input(device, tensors.shape(`${name}.teacher`));
      teacher.write(tensors.f32(`${name}.teacher`));
      using step = await record(device, () => ({
        targets: targetsOf(teacher, { iterations }, fill([], golden[name].teacher_temp)),
      }));
      await step.run();
      expectNear(await step.read("targets"), `${name}.${iterations}`, tolerance.targets);
    });
  }

  for (const [name, calls] of [
    ["ibot_centering", golden.ibot_centering],
    ["ibot_sinkhorn", golden.ibot_sinkhorn],
  ] as const) {
    it(`${name}: loss, targets, gradient and center over ${calls.length} calls of as many masked patches as differ`, async () => {
      const device = await testDevice();
      const rows = 3 + Math.max(...calls.map(({ student_rows }) => student_rows)); // more than any call has
      using student = input(device, [rows, cols]);
      using teacher = input(device, [rows, cols]);
      using weights = input(device, [rows]);
      using shares = input(device, [rows]);
      using center = input(device, [1, cols]);
      using knobs = scalars(device, "temperature");
      const { temperature } = knobs;
      using step = await record(device, () => {
        const centering = name === "ibot_centering" ? center : SINKHORN;
        const targets = targetsOf(
          teacher,
          "iterations" in centering ? { ...centering, present: weights } : { ...center, shape: [cols] },
          temperature,
        );
        const options = { studentTemperature, teacherTemperature: temperature };
        const { loss, teacherMean } = maskedDistillation(student, teacher, centering, { weights, shares }, options);
        const [dStudent] = gradients(loss, fill([], 1), [student]);
        updateCenter(center, teacherMean, golden.center_momentum);
        return { loss, targets, dStudent: dStudent! };
      });
      for (const { key, teacher_temp, n_masked: masked, student_rows: stored, images, patches, loss } of calls) {
        if (name === "ibot_centering") expectNear(await download(center), `${key}.center_used`, tolerance.targets);
        const padded = (values: ArrayLike<number>, padding: number, width: number) =>
          Array.from({ length: rows * width }, (_, i) => values[i] ?? padding);
        student.write(padded(tensors.f32(`${key}.student`), 7, cols));
        teacher.write(padded(tensors.f32(`${key}.teacher`), -5, cols));
        const { weights: found } = maskedPatches(tensors.u8(`${key}.masks`), patches);
        expectNear(found, `${key}.masks_weight`, 1e-7);
        weights.write(
          padded(
            found.map((weight) => weight / images),
            0,
            1,
          ),
        );
        shares.write(padded(new Float32Array(masked).fill(1 / masked), 0, 1));
        knobs.write({ temperature: teacher_temp });
        await step.run();
        expect((await step.readScalar("loss")) / loss, key).to.be.closeTo(1, tolerance.values);
        expectNear((await step.read("targets")).slice(0, masked * cols), `${key}.targets`, tolerance.targets);
        const dStudent = await step.read("dStudent");
        expectNear(dStudent.slice(0, stored * cols), `${key}.grad_student`, tolerance.gradients);
        expect(
          dStudent.slice(masked * cols).every((g) => g === 0),
          `${key}: padding has no gradient`,
        ).to.equal(true);
      }
      if (name === "ibot_centering") expectNear(await download(center), `${name}.center_final`, tolerance.targets);
    });
  }

  it("ibot_dense: the masked patches of the dense form", async () => {
    const { loss, batch: images, patches } = golden.ibot_dense;
    const device = await testDevice();
    const { indices, weights: found } = maskedPatches(tensors.u8("ibot_dense.masks"), patches);
    const [student, targets] = [tensors.f32("ibot_dense.student"), tensors.f32("ibot_dense.targets")];
    const taken = (rows: Float32Array) =>
      [...indices].flatMap((row) => [...rows.subarray(row * cols, (row + 1) * cols)]);
    using step = await record(device, () => {
      const shape = [indices.length, cols];
      const x = constant(shape, taken(student));
      const logTargets = constant(shape, taken(targets).map(Math.log));
      const weights = constant(
        [indices.length],
        [...found].map((weight) => weight / images),
      );
      const options = { studentTemperature, teacherTemperature: fill([], 1) };
      const rows = { weights, shares: weights };
      const masked = maskedDistillation(x, logTargets, fill([cols], 0), rows, options);
      return { loss: masked.loss, dStudent: gradients(masked.loss, fill([], 1), [x])[0]! };
    });
    await step.run();
    expect((await step.readScalar("loss")) / loss).to.be.closeTo(1, tolerance.values);
    const stored = tensors.f32("ibot_dense.grad_student");
    expect(relmax(await step.read("dStudent"), taken(stored))).to.be.below(tolerance.gradients);
    const rest = stored.filter((_, i) => !indices.includes(Math.floor(i / cols)));
    expect(rest.every((g) => g === 0)).to.equal(true);
  });

  for (const { key, loss } of golden.koleo) {
    it(`${key}: loss and gradient`, async () => {
      const device = await testDevice();
      using x = input(device, tensors.shape(`${key}.x`));
      x.write(tensors.f32(`${key}.x`));
      using step = await record(device, () => {
        const spread = koleo(l2Normalize(x));
        return { loss: spread, dx: gradients(spread, fill([], 1), [x])[0]! };
      });
      await step.run();
      expect((await step.readScalar("loss")) / loss).to.be.closeTo(1, tolerance.values);
      expectNear(await step.read("dx"), `${key}.grad_x`, tolerance.gradients);
    });
  }
});
