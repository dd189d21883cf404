import { expect } from "chai";
import type { Device } from "../../../engine/core/device.js";
import { createParams, layoutOf, scalars } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { layout, normals } from "../../support/two-layers.js";

describe("Params", () => {
  let device: Device;
  before(async () => {
    device = await testDevice();
  });

  it("read what was written", async () => {
    using params = createParams(device, layout, "student");
    const values = new Map(layout.entries.map(({ name, size }) => [name, normals(size)]));
    params.write(values);
    expect(await params.read()).to.deep.equal(values);
  });

  it("are zero at first", async () => {
    using params = createParams(device, layout, "student");
    for (const values of (await params.read()).values()) expect(values.every((v) => v === 0)).to.equal(true);
  });

  it("refuse missing and unknown names and wrong sizes, and write nothing then", async () => {
    using params = createParams(device, layout, "student");
    const values = new Map<string, ArrayLike<number>>(layout.entries.map(({ name, size }) => [name, normals(size)]));
    expect(() => params.get("third")).to.throw(
      'student: no parameter "third"; there are first.weight, first.bias, second.length, second.weight',
    );
    expect(() => params.get("constructor")).to.throw('student: no parameter "constructor"');
    const renamed = new Map([...values].map(([name, v]) => [name.replace("first.bias", "toString"), v]));
    expect(() => params.write(renamed)).to.throw("student: missing [first.bias], unknown [toString]");
    const short = new Map(values).set("second.weight", [1, 2]);
    expect(() => params.write(short)).to.throw("student second.weight: [3, 6] takes 18 values, got 2");
    for (const written of (await params.read()).values()) expect(written.every((v) => v === 0)).to.equal(true);
  });

  it("refuse a name that appears twice, and an axis that is no size", () => {
    const a = { name: "a", shape: [2], trainable: true };
    expect(() => layoutOf([a, a])).to.throw('layoutOf: parameter "a" appears twice');
    expect(() => layoutOf([{ ...a, shape: [0] }])).to.throw("a: every axis must be a positive whole number, got [0]");
  });
});

describe("scalars", () => {
  it("refuse what is no number", async () => {
    using knobs = scalars(await testDevice(), "lr", "momentum");
    expect(() => knobs.write({ lr: NaN, momentum: 0 })).to.throw("scalars lr: expected a finite number, got NaN");
    expect(() => knobs.write({ lr: 1 } as never)).to.throw("scalars momentum: expected a finite number, got undefined");
  });
});
