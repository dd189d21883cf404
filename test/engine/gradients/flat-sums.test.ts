import { expect } from "chai";
import { openDevice } from "../../../engine/adapters/node.js";
import type { Device } from "../../../engine/core/device.js";
import { trace } from "../../../engine/core/recording.js";
import { bytesOf } from "../../../engine/core/tensor.js";
import {
  add,
  addLayernorm,
  createParams,
  download,
  evaluate,
  fill,
  gradients,
  input,
  type Input,
  layoutOf,
  linear,
  mul,
  parameterGradients,
  type Params,
  recompute,
  scale,
  sizeOf,
  sum,
  type Tensor,
} from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";
import { normals } from "../../support/two-layers.js";

const [ROWS, INTO, OUT] = [600, 16, 20];

/** A layer whose gradients are partial sums on a GPU, apart from each other in the layout, and one vector that is not. */
const layout = layoutOf([
  { name: "bias", shape: [OUT], trainable: true },
  { name: "between", shape: [12000], trainable: true },
  { name: "weight", shape: [OUT, INTO], trainable: true },
]);

/** A loss of all parameters: x [ROWS, INTO] -> []. */
function lossOf({ get }: Params, x: Tensor): Tensor {
  const y = linear(x, get("weight"), get("bias"));
  return add(sum(mul(y, y)), sum(mul(get("between"), get("between"))));
}

describe("partial sums of gradients", () => {
  let device: Device;
  let params: Params;
  let [few, many]: Input[] = [];
  before(async () => {
    device = await testDevice({ kernels: "gpu" });
    params = createParams(device, layout, "layer");
    params.write(new Map(layout.entries.map(({ name, size }) => [name, normals(size)])));
    [few, many] = [ROWS, 2 * ROWS].map((rows) => {
      const x = input(device, [rows, INTO]);
      x.write(normals(rows * INTO));
      return x;
    });
  });
  after(() => [params, few!, many!].forEach((owned) => owned[Symbol.dispose]()));

  const kernelsOf = (of: Device, fn: () => unknown) =>
    trace(of, fn).recording.dispatches.map(({ kernel: { file } }) => file);
  const flatOf = (x: Tensor, of = params) => parameterGradients(lossOf(of, x), of);

  it("go to the flat gradients together, and equal those taken alone", async () => {
    const { flat, ...alone } = await evaluate(device, () => {
      const all = layout.entries.map(({ name }) => params.get(name));
      const [bias, between, weight] = gradients(lossOf(params, few!), fill([], 1), all);
      return { flat: flatOf(few!).flat, bias: bias!, between: between!, weight: weight! };
    });
    for (const { name, offset, size } of layout.entries)
      expect(flat.slice(offset, offset + size), name).to.deep.equal(alone[name as keyof typeof alone]);
    const files = kernelsOf(device, () => flatOf(few!));
    expect(files.filter((file) => file === "add-parts")).to.have.length(1);
  });

  it("add to what the flat gradients hold, of an earlier use or of an earlier part of the batch", async () => {
    const { a, b, uses, batches, again } = await evaluate(device, () => ({
      a: flatOf(few!).flat,
      b: flatOf(many!).flat,
      uses: parameterGradients(add(lossOf(params, many!), lossOf(params, few!)), params).flat,
      batches: parameterGradients(lossOf(params, many!), params, { earlier: flatOf(few!) }).flat,
      again: parameterGradients(
        recompute(() => lossOf(params, few!)),
        params,
      ).flat,
    }));
    for (const { name, offset, size } of layout.entries) {
      const sums = a.slice(offset, offset + size).map((v, i) => v + b[offset + i]!);
      expect(uses.slice(offset, offset + size), name).to.deep.equal(sums);
      expect(batches.slice(offset, offset + size), name).to.deep.equal(sums);
      expect(again.slice(offset, offset + size), name).to.deep.equal(a.slice(offset, offset + size));
    }
  });

  it("go to parameters that one binding does not hold by several dispatches", async () => {
    const { maxBufferSize, maxStorageBuffersPerShaderStage } = device.limits;
    const maxStorageBufferBindingSize = 4 * ROWS * OUT; // of the largest tensor, too little for two parameters
    const limits = { maxBufferSize, maxStorageBuffersPerShaderStage, maxStorageBufferBindingSize };
    const narrow = { ...device, limits: limits as GPUSupportedLimits };
    using own = createParams(narrow, layout, "layer");
    using x = input(narrow, [ROWS, INTO]);
    own.write(await params.read());
    x.write(await download(few!));
    const files = kernelsOf(narrow, () => flatOf(x, own));
    expect(files.filter((file) => file === "add-parts")).to.have.length(2);
    const { inTwo } = await evaluate(narrow, () => ({ inTwo: flatOf(x, own).flat }));
    const { inOne } = await evaluate(device, () => ({ inOne: flatOf(few!).flat }));
    for (const { name, offset, size } of layout.entries)
      expect(inTwo.slice(offset, offset + size), name).to.deep.equal(inOne.slice(offset, offset + size));
  });

  it("are added up before more of them wait than allowed, by default 64 MiB", async () => {
    using nothing = await openDevice({ prefer: "null" });
    const shape = [768, 768]; // in 144 tiles, so that the rows are split in two
    const names = Array.from({ length: 20 }, (_, i) => `layer${i}`);
    using layers = createParams(nothing, layoutOf(names.map((name) => ({ name, shape, trainable: true }))), "layers");
    const { dispatches } = trace(nothing, () => {
      const y = names.reduce<Tensor>((x, name) => linear(x, layers.get(name)), fill([1536, 768], 1));
      parameterGradients(sum(y), layers);
    }).recording;
    const bytes = dispatches
      .filter(({ kernel }) => kernel.file === "add-parts")
      .map(({ tensors }) => bytesOf(tensors["parts"]!));
    expect(bytes).to.have.length(2);
    expect(bytes.reduce((total, each) => total + each)).to.equal(20 * 2 * 4 * sizeOf(shape));
    expect(Math.max(...bytes)).to.be.at.most(2 ** 26);
  });

  it("of several parameters in one tensor may be added up at different times", async () => {
    const shapes = { weight: [12, 4], shift: [12], gain: [12], bias: [12], last: [4, 12] };
    const specs = Object.entries(shapes).map(([name, shape]) => ({ name, shape, trainable: true }));
    using own = createParams(device, layoutOf(specs), "norm");
    own.write(new Map(own.layout.entries.map(({ name, size }) => [name, normals(size)])));
    using x = input(device, [ROWS, 12]);
    using z = input(device, [ROWS, 4]);
    x.write(normals(12 * ROWS));
    z.write(normals(4 * ROWS));
    const flatWith = (options: { readonly waitingBytes?: number }) => {
      // the kernel that makes the gradients of gain and bias makes that of the branch's shift too
      const branch = linear(z, own.get("weight"), own.get("shift"));
      const { normed } = addLayernorm(x, branch, own.get("gain"), own.get("bias"));
      const y = linear(normed, own.get("last"));
      return parameterGradients(sum(mul(y, y)), own, options).flat;
    };
    const sumsOf = (options: { readonly waitingBytes?: number }) =>
      kernelsOf(device, () => flatWith(options)).filter((file) => file === "add-parts").length;
    const inProducts = 4 * 2 * 4 * 12; // bytes of the gradients of last and weight, each in two parts
    const waitingBytes = inProducts + 4 * (ROWS / 4) * 3 * 12; // so that shift, left of the other tensor, waits with weight
    expect([{}, { waitingBytes }, { waitingBytes: 1 }].map(sumsOf)).to.deep.equal([1, 3, 5]);
    const { together, apart } = await evaluate(device, () => ({
      together: flatWith({}),
      apart: flatWith({ waitingBytes }),
    }));
    for (const { name, offset, size } of own.layout.entries) {
      expect(apart.slice(offset, offset + size), name).to.deep.equal(together.slice(offset, offset + size));
      expect(Math.max(...together.slice(offset, offset + size).map(Math.abs)), name).to.be.above(1);
    }
  });

  it("may be differentiated again", async () => {
    using x = input(device, [ROWS, 4]);
    using w = input(device, [8, 4]);
    x.write(normals(ROWS * 4));
    w.write(normals(32));
    // y = x wᵀ, and the sum of squares has the gradient 2 (w xᵀ) x, whose sum has the gradient 2 (1 xᵀ) x
    const { second, expected } = await evaluate(device, () => {
      const y = linear(x, w);
      const [dw] = gradients(sum(mul(y, y)), fill([], 1), [w]);
      const [second] = gradients(sum(dw!), fill([], 1), [w]);
      const [ofOnes] = gradients(sum(mul(linear(x, fill([8, 4], 1)), y)), fill([], 2), [w]);
      return { second: second!, expected: ofOnes! };
    });
    second.forEach((value, i) => expect(value).to.be.closeTo(expected[i]!, 1e-3 * Math.abs(expected[i]!) + 1e-3));
    expect(Math.max(...expected)).to.be.above(1);
  });

  it("reach a tensor in the middle whole, for its own backward", async () => {
    const { middle, bias } = await evaluate(device, () => {
      const doubled = scale(params.get("bias"), 2);
      const y = linear(few!, params.get("weight"), doubled);
      const [dMiddle, dBias] = gradients(sum(mul(y, y)), fill([], 1), [doubled, params.get("bias")]);
      return { middle: dMiddle!, bias: dBias! };
    });
    expect(bias).to.deep.equal(middle.map((value) => 2 * value));
    expect(Math.max(...middle)).to.be.above(1);
  });

  it("of a recomputed function refuse second gradients", async () => {
    const message = await rejection(
      evaluate(device, () => {
        const [weight] = layout.entries.slice(-1).map(({ name }) => params.get(name));
        const loss = recompute(() => lossOf(params, few!));
        const [dw] = gradients(loss, fill([], 1), [weight!]);
        return { second: gradients(sum(dw!), fill([], 1), [weight!])[0]! };
      }),
    );
    expect(message).to.equal("recompute: second gradients are not supported; call the function without recompute");
  });
});
