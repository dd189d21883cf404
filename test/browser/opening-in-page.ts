import { expect } from "chai";
import { openDevice, shaderText } from "../../engine/adapters/browser.js";
import { evaluate, fill } from "../../engine/index.js";
import { rejection } from "../support/rejection.js";

describe("opening a device in a browser", () => {
  it("gives a device that computes, and whose loss throws", async () => {
    const device = await openDevice();
    expect((await evaluate(device, () => ({ ones: fill([3], 1) }))).ones).to.deep.equal(Float32Array.of(1, 1, 1));
    device.gpu.destroy();
    await device.gpu.lost;
    expect(await rejection(evaluate(device, () => ({ ones: fill([3], 1) })))).to.match(/the device was lost/);
  });

  it("says what to do without WebGPU", async () => {
    expect(await rejection(openDevice({}, { isSecureContext: true, navigator: {} }))).to.match(/take a recent Chrome/);
    expect(await rejection(openDevice({}, { isSecureContext: false }))).to.match(/over https, or from localhost/);
  });

  it("says what to do without an adapter", async () => {
    const gpu = { requestAdapter: () => Promise.resolve(null) } as unknown as GPU;
    expect(await rejection(openDevice({}, { navigator: { gpu } }))).to.match(/hardware acceleration/);
  });

  it("names the shaders there are, and refuses others", () => {
    expect(shaderText("softmax")).to.include("fn main(");
    expect(() => shaderText("sofmax")).to.throw(/shaders\/sofmax.wgsl does not exist; there are .*softmax/);
  });
});
