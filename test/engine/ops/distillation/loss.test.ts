import { expect } from "chai";
import { rng } from "../../../../dino/math/random.js";
import { openDevice } from "../../../../engine/adapters/node.js";
import type { Device } from "../../../../engine/core/device.js";
import { plan, type Plan } from "../../../../engine/core/plan.js";
import { trace } from "../../../../engine/core/recording.js";
import { bytesOf, type Resident, sameShape, type Shape, sizeOf } from "../../../../engine/core/tensor.js";
import {
  createParams,
  type Distillation,
  distillation,
  evaluate,
  fill,
  gradients,
  input,
  layoutOf,
  parameterGradients,
  type Precision,
  record,
  type Sinkhorn,
  type Tensor,
} from "../../../../engine/index.js";
import { testDevice } from "../../../support/device.js";

interface Sizes {
  readonly crops: number;
  readonly batch: number;
  readonly prototypes: number;
  readonly dim: number;
}

const VIEWS = 2;

/** Shapes of the student's rows and weight, the teacher's, and the center. */
function shapes({ crops, batch, prototypes, dim }: Sizes): Shape[] {
  return [
    [crops * batch, dim],
    [prototypes, dim],
    [VIEWS * batch, dim],
    [prototypes, dim],
    [1, prototypes],
  ];
}

interface Manner {
  readonly chunkCols?: number;
  readonly precision?: Precision;
  readonly sinkhorn?: Sinkhorn | undefined;
}

function lossOf(inputs: readonly Tensor[], { chunkCols, precision = "f32", sinkhorn }: Manner = {}): Distillation {
  const [x, weight, teacherX, teacherWeight, center] = inputs as [Tensor, Tensor, Tensor, Tensor, Tensor];
  const [student, teacher] = [
    { x, weight, precision },
    { x: teacherX, weight: teacherWeight, precision },
  ];
  return distillation(student, teacher, sinkhorn ?? center, {
    views: VIEWS,
    studentTemperature: 0.1,
    teacherTemperature: fill([], 0.04),
    ...(chunkCols && { chunkCols }),
  });
}

/** All that the distillation of products gives, with its gradients. */
function distil(inputs: readonly Tensor[], manner?: Manner) {
  const { loss, teacherEntropy, meanTargets, teacherMean } = lossOf(inputs, manner);
  const [dX, dWeight] = gradients(loss, fill([], 1), inputs.slice(0, 2));
  return { loss, teacherEntropy, meanTargets, teacherMean, dX: dX!, dWeight: dWeight! };
}

describe("the distillation of products", () => {
  for (const [kernels, precision] of [
    ["cpu", "f32"],
    ["gpu", "f32"],
    ["gpu", "f16"],
  ] as const) {
    it(`is the same in chunks to rounding, in ${precision}, kernels made for a ${kernels.toUpperCase()}`, async function () {
      const device = await testDevice({ kernels });
      if (precision === "f16" && !device.features.has("shader-f16")) this.skip(); // SwiftShader has none
      const random = rng({ seed: 3, purpose: "distillation" });
      const inputs = shapes({ crops: 6, batch: 3, prototypes: 1000, dim: 24 }).map((shape) => {
        const x = input(device, shape);
        x.write(Float32Array.from({ length: sizeOf(shape) }, () => 0.5 * random.normal()));
        return x;
      });
      const whole = await evaluate(device, () => distil(inputs, { precision }));
      const chunked = await evaluate(device, () => distil(inputs, { precision, chunkCols: 384 }));
      for (const x of inputs) x[Symbol.dispose]();
      for (const name of Object.keys(whole) as (keyof typeof whole)[]) {
        const [expected, found] = [whole[name], chunked[name]];
        const largest = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
        const worst = expected.reduce((most, v, i) => Math.max(most, Math.abs(found[i]! - v)), 0);
        expect(worst / largest, name).to.be.below(1e-5);
      }
    });
  }

  it("writes the gradient of weights that are parameters right among all gradients", async () => {
    const device = await testDevice();
    const random = rng({ seed: 4, purpose: "distillation" });
    const [xShape, weightShape, ...others] = shapes({ crops: 3, batch: 2, prototypes: 200, dim: 8 });
    const layout = layoutOf([
      { name: "x", shape: xShape!, trainable: true },
      { name: "weight", shape: weightShape!, trainable: true },
    ]);
    using params = createParams(device, layout, "params");
    const numbers = (size: number) => Float32Array.from({ length: size }, () => random.normal());
    params.write(new Map(layout.entries.map(({ name, size }) => [name, numbers(size)])));
    const rest = others.map((shape) => input(device, shape));
    rest.forEach((x) => x.write(numbers(sizeOf(x.shape))));
    const inputs = [params.get("x"), params.get("weight"), ...rest];
    const apart = await evaluate(device, () => distil(inputs, { chunkCols: 64 }));
    using together = await record(device, () => {
      const { loss } = lossOf(inputs, { chunkCols: 64 });
      return { flat: parameterGradients(loss, params).flat };
    });
    await together.run();
    const flat = await together.read("flat");
    for (const x of rest) x[Symbol.dispose]();
    for (const { name, offset, size } of layout.entries) {
      const expected = name === "x" ? apart.dX : apart.dWeight;
      expect([...flat.subarray(offset, offset + size)], name).to.deep.equal([...expected]);
    }
    expect(together.print()).to.not.match(/ copy: /);
  });

  describe("for 65536 prototypes", () => {
    const MIB = 2 ** 20;
    let noGpu: Device;
    before(async () => {
      noGpu = await openDevice({ prefer: "null" });
    });
    after(() => noGpu[Symbol.dispose]());

    /** The plan for the official head on ten crops of each image. */
    const planOf = (batch: number, manner?: Manner, device = noGpu): Plan => {
      const { result, recording } = trace(device, () => {
        const inputs = shapes({ crops: 10, batch, prototypes: 65536, dim: 256 }).map((shape, i): Tensor => {
          const storage: Resident = { kind: "resident", device, buffer: {} as GPUBuffer, label: `input ${i}` };
          return { shape, dtype: "f32", storage, offset: 0 };
        });
        return distil(inputs, manner);
      });
      for (const constant of recording.constants) constant[Symbol.dispose]();
      return plan(recording, result);
    };

    for (const sinkhorn of [undefined, { iterations: 3 }]) {
      it(`binds weights and 16 MiB of logits at most${sinkhorn ? ", by Sinkhorn-Knopp too" : ""}`, () => {
        const found = planOf(64, { sinkhorn }).dispatches.flatMap(({ kernel, tensors }) =>
          kernel.bindings.map(({ name }) => ({ where: `${kernel.file}: ${name}`, x: tensors[name]! })),
        );
        for (const { where, x } of found) {
          if (!sameShape(x.shape, [65536, 256])) expect(bytesOf(x), where).to.be.at.most(16 * MIB);
        }
      });
    }

    it("plans a fraction of the memory that whole logits take", () => {
      const weightGradient = 65536 * 256 * 4;
      expect(planOf(32).bytes - weightGradient).to.be.below(planOf(32, { chunkCols: 65536 }).bytes / 5);
      expect(planOf(64).bytes - weightGradient).to.be.below(40 * MIB); // 160 for the student's logits alone
      expect(planOf(64, { sinkhorn: { iterations: 3 } }).bytes - weightGradient).to.be.below(40 * MIB);
    });

    it("multiplies on tensor cores in f16, all but the teacher's mean", () => {
      const { dispatches } = planOf(64, { precision: "f16", chunkCols: 32768 }, { ...noGpu, tensorCores: true });
      const products = dispatches.map(({ kernel }) => kernel.file).filter((file) => /^matmul/.test(file));
      expect(products).to.have.length(2 * (3 + 2 + 2) + 1);
      expect(products.filter((file) => file !== "matmul-subgroup-matrix-f32")).to.deep.equal(["matmul-tiled"]);
    });

    it("makes nothing twice where one chunk is all", () => {
      const products = ({ dispatches }: Plan) => dispatches.filter(({ kernel }) => /^matmul/.test(kernel.file)).length;
      const sinkhorn = { iterations: 3 };
      expect(products(planOf(32, { chunkCols: 65536 }))).to.equal(2 + 2 + 1); // logits, gradients, the teacher's mean
      expect(products(planOf(32, { chunkCols: 65536, sinkhorn }))).to.equal(2 + 2 + 1);
      expect(products(planOf(32, { chunkCols: 32768 }))).to.equal(2 * (3 + 2 + 2) + 1); // the teacher's logits thrice, the student's twice
      expect(products(planOf(32, { chunkCols: 32768, sinkhorn }))).to.equal(2 * (3 + 2 + 2 + 2) + 1); // two more looks at the teacher
    });
  });
});
