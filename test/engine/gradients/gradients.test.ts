import { expect } from "chai";
import type { Device } from "../../../engine/core/device.js";
import {
  add,
  createParams,
  evaluate,
  fill,
  gradients,
  input,
  layoutOf,
  mul,
  parameterGradients,
  type Params,
  record,
  reshape,
  scale,
  stopGradient,
  sum,
  type Tensor,
} from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";
import { forward, layout, network, normals } from "../../support/two-layers.js";

describe("gradients", () => {
  let device: Device;
  before(async () => {
    device = await testDevice();
  });

  /** The named parts of flat gradients. */
  const parts = (params: Params, flat: Float32Array): Record<string, number[]> =>
    Object.fromEntries(
      params.layout.entries.map(({ name, offset, size }) => [name, [...flat.slice(offset, offset + size)]]),
    );

  /** One parameter of three elements for each name, and what `loss` makes of them. */
  const flatGradients = async (
    names: readonly string[],
    loss: (params: Params) => Tensor,
  ): Promise<Record<string, number[]>> => {
    using params = createParams(device, layoutOf(names.map((name) => ({ name, shape: [3], trainable: true }))), "p");
    params.write(new Map(names.map((name, i) => [name, [i + 1, i + 2, i + 3]])));
    const { flat } = await evaluate(device, () => ({ flat: parameterGradients(loss(params), params).flat }));
    return parts(params, flat);
  };

  it("lie flat as the parameters do, agree with gradients(), and are zero where nothing is trained", async () => {
    using params = network(device);
    using x = input(device, [5, 8]);
    x.write(normals(40));
    const names = layout.entries.map(({ name }) => name);
    const { flat } = await evaluate(device, () => ({ flat: parameterGradients(forward(params, x), params).flat }));
    const found = parts(params, flat);
    const one = await evaluate(device, () => {
      const grads = gradients(
        forward(params, x),
        fill([], 1),
        names.map((name) => params.get(name)),
      );
      return Object.fromEntries(names.map((name, i) => [name, grads[i]!]));
    });
    for (const { name, trainable } of layout.entries) {
      if (trainable) expect(found[name], name).to.deep.equal([...one[name]!]);
      else expect(found[name], name).to.deep.equal([0]);
    }
    expect([...one["second.length"]!][0]).to.not.equal(0);
  });

  it("add up over every use of a parameter", async () => {
    const found = await flatGradients(["a"], ({ tensors: { a } }) => sum(add(mul(a!, a!), scale(a!, 10))));
    expect(found).to.deep.equal({ a: [12, 14, 16] });
  });

  it("reach two parameters that share one gradient", async () => {
    const found = await flatGradients(["a", "b"], ({ tensors: { a, b } }) => sum(add(a!, b!)));
    expect(found).to.deep.equal({ a: [1, 1, 1], b: [1, 1, 1] });
  });

  it("reach three parameters that share one gradient under several shapes", async () => {
    const found = await flatGradients(["a", "b", "c"], ({ tensors: { a, b, c } }) =>
      sum(mul(add(reshape(a!, [1, 3]), reshape(add(b!, c!), [1, 3])), reshape(stopGradient(a!), [1, 3]))),
    );
    expect(found).to.deep.equal({ a: [1, 2, 3], b: [1, 2, 3], c: [1, 2, 3] });
  });

  it("reach a parameter that is the loss itself", async () => {
    using params = createParams(device, layoutOf([{ name: "a", shape: [], trainable: true }]), "p");
    const { flat } = await evaluate(device, () => ({ flat: parameterGradients(params.get("a"), params).flat }));
    expect(flat[0]).to.equal(1);
  });

  it("may be taken twice in one recording", async () => {
    using params = network(device);
    using x = input(device, [5, 8]);
    x.write(normals(40));
    const { a, b } = await evaluate(device, () => {
      const loss = forward(params, x);
      return { a: parameterGradients(loss, params).flat, b: parameterGradients(scale(loss, 2), params).flat };
    });
    const [first, second] = [parts(params, a), parts(params, b)];
    for (const { name } of layout.entries)
      expect(second[name], name).to.deep.equal(first[name]!.map((v) => Math.fround(2 * v)));
  });

  it("add up over several losses, in place", async () => {
    using params = network(device);
    using few = input(device, [2, 8]);
    using many = input(device, [9, 8]);
    few.write(normals(16));
    many.write(normals(72));
    const { a, b, both } = await evaluate(device, () => {
      const of = (x: Tensor) => parameterGradients(forward(params, x), params);
      return {
        a: of(few).flat,
        b: of(many).flat,
        both: parameterGradients(forward(params, many), params, { earlier: of(few) }).flat,
      };
    });
    const [first, second, sums] = [parts(params, a), parts(params, b), parts(params, both)];
    for (const { name } of layout.entries)
      expect(sums[name], name).to.deep.equal(first[name]!.map((v, i) => Math.fround(v + second[name]![i]!)));
  });

  it("refuse to be added to those of other parameters", async () => {
    using params = createParams(device, layoutOf([{ name: "a", shape: [3], trainable: true }]), "params");
    using others = createParams(device, layoutOf([{ name: "a", shape: [3], trainable: true }]), "others");
    const message = await rejection(
      record(device, () => {
        const earlier = parameterGradients(sum(others.get("a")), others);
        return { flat: parameterGradients(sum(params.get("a")), params, { earlier }).flat };
      }),
    );
    expect(message).to.equal("parameterGradients: `earlier` holds gradients of other parameters");
  });

  it("name the parameter that the loss does not depend on", async () => {
    const message = await rejection(flatGradients(["a", "b", "c"], ({ tensors: { b } }) => sum(b!)));
    expect(message).to.equal("parameterGradients: the loss does not depend on a, c");
  });

  it("refuse a loss that is no scalar", async () => {
    const message = await rejection(flatGradients(["a"], ({ tensors: { a } }) => a!));
    expect(message).to.equal("parameterGradients loss: expected [], got [3]");
  });

  it("stop at stopGradient and pass through reshape", async () => {
    using x = input(device, [2, 3]);
    x.write([1, 2, 3, 4, 5, 6]);
    const { dx } = await evaluate(device, () => {
      const y = mul(reshape(x, [6]), stopGradient(reshape(x, [6])));
      const [dx, none] = gradients(sum(y), fill([], 1), [x, fill([2], 0)]);
      expect(none).to.equal(undefined);
      expect(gradients(sum(stopGradient(y)), fill([], 1), [x])).to.deep.equal([undefined]);
      return { dx: dx! };
    });
    expect([...dx]).to.deep.equal([1, 2, 3, 4, 5, 6]);
  });

  it("differentiate with respect to a tensor in the middle, and twice", async () => {
    using x = input(device, [3]);
    x.write([1, 2, 3]);
    const found = await evaluate(device, () => {
      const square = mul(x, x);
      const cube = mul(square, x);
      const [dSquare, dx] = gradients(sum(cube), fill([], 1), [square, x]);
      const [second] = gradients(sum(dx!), fill([], 1), [x]);
      return { dSquare: dSquare!, dx: dx!, second: second! };
    });
    expect([...found.dSquare]).to.deep.equal([1, 2, 3]);
    expect([...found.dx]).to.deep.equal([3, 12, 27]);
    expect([...found.second]).to.deep.equal([6, 12, 18]);
  });

  it("refuse a dy of another shape", async () => {
    using x = input(device, [3]);
    const message = await rejection(record(device, () => ({ dx: gradients(scale(x, 2), fill([2], 1), [x])[0]! })));
    expect(message).to.equal("gradients dy: expected [3], got [2]");
  });
});
