import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect } from "chai";
import { checkKernels, readVerdict, verdictPath, withoutFaulty } from "../../../engine/adapters/kernel-check.js";
import { openDevice } from "../../../engine/adapters/node.js";
import type { Device } from "../../../engine/core/device.js";
import { withShaders } from "../../support/changed-device.js";
import { testDevice } from "../../support/device.js";
import { withMatricesOf8Played, withTensorCoresPlayed } from "../ops/tensor-cores.js";

describe("the check of an adapter's kernels", () => {
  /** The device of the tests with the source of a shader changed; skips the test if the adapter has no f16. */
  async function changed(test: Mocha.Context, file: string, from: string, to: string): Promise<Device> {
    const device = await testDevice();
    if (!device.features.has("shader-f16")) test.skip();
    expect(device.shaders(file)).to.contain(from);
    return withShaders(device, (text, name) => (name === file ? text.replace(from, to) : text));
  }

  it("finds nothing wrong with the kernels for CPUs, GPUs and tensor cores", async () => {
    for (const kernels of ["cpu", "gpu"] as const) {
      const device = await testDevice({ kernels });
      expect(await checkKernels(device), kernels).to.deep.equal({});
      if (device.features.has("shader-f16"))
        expect(await checkKernels(withTensorCoresPlayed(device, 32)), kernels).to.deep.equal({});
    }
    expect(await checkKernels(withMatricesOf8Played(await testDevice({ kernels: "gpu" })))).to.deep.equal({});
  });

  it("passes over adapters without f16", async () => {
    const device = await testDevice();
    expect(await checkKernels({ ...device, features: new Set() })).to.deep.equal({});
  });

  it("finds a wrong kernel for f16, and takes f16 and tensor cores from the device", async function () {
    const device = await changed(this, "gelu-vec4-f16", "y[i] = vec4h(value)", "y[i] = vec4h(0.9 * value)");
    const verdict = await checkKernels(device);
    expect(verdict.f16).to.match(/^the .+ of a transformer block differs from that in f32 by \S+ %$/);
    const without = withoutFaulty({ ...device, tensorCores: true }, verdict);
    expect([without.features.has("shader-f16"), without.tensorCores]).to.deep.equal([false, false]);
    expect(without.faults).to.deep.equal([`16-bit floats give wrong results, so they are not used: ${verdict.f16}`]);
  });

  it("finds a kernel that does not compile", async function () {
    const device = await changed(this, "gelu-vec4-f16", "fn main", "fn main main");
    expect((await checkKernels(device)).f16).to.match(/^gelu-vec4-f16\.wgsl:\d+:\d+ /);
  });

  it("finds wrong tensor cores, and leaves f16 to the device", async function () {
    const device = await testDevice({ kernels: "gpu" });
    if (!device.features.has("shader-f16")) this.skip();
    const cores = withTensorCoresPlayed(device, 32);
    const wrong = withShaders(cores, (text, name) =>
      name === "attention-subgroup-matrix" ? text.replace("inverseSqrt", "1.1 * inverseSqrt") : text,
    );
    const verdict = await checkKernels(wrong);
    expect(Object.keys(verdict)).to.deep.equal(["tensorCores"]);
    const without = withoutFaulty(cores, verdict);
    expect([without.features.has("shader-f16"), without.tensorCores]).to.deep.equal([true, false]);
    expect(without.faults[0]).to.match(
      /^tensor cores give wrong results, so they are not used: the .+ of a transformer block/,
    );
  });

  describe("on first use", () => {
    let cache: string;
    const before_ = process.env.XDG_CACHE_HOME;
    before(async function () {
      if (!(await testDevice()).features.has("shader-f16")) this.skip();
      cache = await mkdtemp(join(tmpdir(), "dino-cache-"));
      process.env.XDG_CACHE_HOME = cache;
    });
    after(async () => {
      if (before_ === undefined) delete process.env.XDG_CACHE_HOME;
      else process.env.XDG_CACHE_HOME = before_;
      if (cache) await rm(cache, { recursive: true });
    });

    it("keeps its verdict by the adapter's name and the kernels, and is believed later", async () => {
      const opened = async () => {
        using device = await openDevice();
        return device;
      };
      const device = await opened();
      expect(device.faults).to.deep.equal([]);
      const path = verdictPath(device);
      expect(dirname(path)).to.equal(join(cache, "dino-webgpu", "checked"));
      const { kernels } = JSON.parse(await readFile(path, "utf8")) as { kernels: string };
      expect(await readVerdict(path, kernels)).to.deep.equal({});
      expect(await readVerdict(path, "others")).to.equal(undefined);

      await writeFile(path, JSON.stringify({ kernels, verdict: { f16: "wrong" } }));
      const faulty = await opened();
      expect(faulty.faults).to.deep.equal(["16-bit floats give wrong results, so they are not used: wrong"]);
      expect(faulty.features.has("shader-f16")).to.equal(false);

      await writeFile(path, "damaged");
      expect((await opened()).faults).to.deep.equal([]);
      expect(await readVerdict(path, kernels)).to.deep.equal({});
    });
  });
});
