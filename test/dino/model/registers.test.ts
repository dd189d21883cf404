import { expect } from "chai";
import { resolveConfig } from "../../../dino/config/resolve.js";
import { type Image, normalize, normalizeTable } from "../../../dino/images/pixels.js";
import { rng } from "../../../dino/math/random.js";
import type { Backbone } from "../../../dino/model/backbone.js";
import { networkConfig } from "../../../dino/model/configure.js";
import { clsAttention, openInspector, patchFeatures } from "../../../dino/model/inspector.js";
import { initialValues, networkSpecs } from "../../../dino/model/network.js";
import { prepareTokens } from "../../../dino/model/tokens.js";
import type { VitConfig } from "../../../dino/model/vit-config.js";
import { initVitParam, vitSpecs } from "../../../dino/model/vit-params.js";
import { encode, intermediateLayers, lastAttention, vit } from "../../../dino/model/vit.js";
import { createParams, evaluate, gradients, fill, input, layoutOf, sum, mul } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";

const PATCHES = 6;
const DIM = 12;
const REGISTERS = 3;
const size = { rows: 12, cols: 8 };

const plain: VitConfig = {
  ...{ imageRows: 8, imageCols: 8, patch: 4, channels: 3 },
  ...{ dim: DIM, depth: 2, heads: 2, mlpRatio: 2, dropPathRate: 0 },
};
const withRegisters: VitConfig = { ...plain, registers: REGISTERS };

/** Start values of a backbone, with registers as large as any other token. */
function startValues(shape: VitConfig): Map<string, Float32Array> {
  return new Map(
    vitSpecs(shape).map(({ name, shape: axes }) => {
      const random = rng({ seed: 1, purpose: name });
      const values = initVitParam(shape, name, axes, 0.3, random);
      return [name, name === "register_tokens" ? values.map(() => random.normal()) : values];
    }),
  );
}

async function backboneOf(shape: VitConfig, values: ReadonlyMap<string, Float32Array>): Promise<Backbone & Disposable> {
  const device = await testDevice();
  const params = createParams(device, layoutOf(vitSpecs(shape)), "backbone");
  params.write(values);
  return { device, vit: shape, params: params.get, [Symbol.dispose]: () => params[Symbol.dispose]() };
}

/** All that is read off a backbone for one image. */
async function read(shape: VitConfig, values = startValues(shape)) {
  using backbone = await backboneOf(shape, values);
  const { device, params } = backbone;
  const bytes = Uint8Array.from({ length: 3 * size.rows * size.cols }, (_, i) => 128 + 127 * Math.sin(i));
  const image: Image = { ...size, pixels: bytes };
  const normalization = { mean: [0.5, 0.5, 0.5], std: [0.4, 0.4, 0.4] } as const;
  using pixels = input(device, [1, 3, size.rows, size.cols]);
  pixels.write(normalize(image, normalizeTable(normalization)));
  const found = await evaluate(device, () => {
    const [first, last] = intermediateLayers(shape, params, pixels, 2);
    return {
      tokens: prepareTokens(shape, params, pixels),
      encoded: encode(shape, params, pixels),
      cls: vit(shape, params, pixels),
      attention: lastAttention(shape, params, pixels),
      ...{ first: first!, last: last! },
    };
  });
  using inspector = openInspector(backbone, normalization, { patches: patchFeatures, attention: clsAttention });
  return { ...found, sight: await inspector.inspect(image) };
}

function expectClose(found: Float32Array, expected: Float32Array, what: string): void {
  expect(found.length, what).to.equal(expected.length);
  expected.forEach((value, i) => expect(found[i], `${what} at ${i}`).to.be.closeTo(value, 1e-5));
}

describe("registers", () => {
  it("are one parameter more, after the positions, almost zero at the start", () => {
    const names = (registers: number) =>
      networkSpecs(networkConfig(resolveConfig({ registers }))).map(({ name }) => name);
    expect(names(4)).to.deep.equal(names(0).toSpliced(2, 0, "backbone.register_tokens"));
    const config = networkConfig(resolveConfig({ preset: "shapes", registers: 40 }));
    const values = initialValues(config, { seed: 0, initStd: 0.1 }).get("backbone.register_tokens")!;
    expect(values).to.have.length(40 * 64);
    const variance = values.reduce((total, value) => total + value ** 2, 0) / values.length;
    expect(Math.sqrt(variance)).to.be.closeTo(1e-6, 1e-7);
  });

  it("lie between cls and patches, which keep their positions, and have none themselves", async () => {
    const values = startValues(withRegisters);
    const found = await read(withRegisters, values);
    const without = await read(plain);
    const learnt = values.get("register_tokens")!;
    expect([...found.tokens]).to.deep.equal([
      ...without.tokens.subarray(0, DIM),
      ...learnt,
      ...without.tokens.subarray(DIM),
    ]);
  });

  it("are attended to, but leave with nothing that is read", async () => {
    const found = await read(withRegisters);
    const without = await read(plain);
    for (const name of ["encoded", "cls", "first", "last"] as const) {
      expect(found[name].length, name).to.equal(without[name].length);
      expect(found[name], name).to.not.deep.equal(without[name]);
    }
    expect(found.encoded).to.deep.equal(found.last);
    expect(found.encoded.subarray(0, DIM)).to.deep.equal(found.cls);
    expect(found.sight.patches).to.deep.equal(found.encoded.subarray(DIM));
  });

  it("have their share of attention, which pictures of patches pass over", async () => {
    const { attention, sight } = await read(withRegisters);
    const tokens = 1 + REGISTERS + PATCHES;
    expect(attention.length).to.equal(2 * tokens * tokens);
    expect(sight.attention.length).to.equal(2 * PATCHES);
    for (const head of [0, 1]) {
      const row = attention.subarray(head * tokens * tokens, head * tokens * tokens + tokens); // of the cls token
      expect(row.reduce((total, share) => total + share)).to.be.closeTo(1, 1e-6);
      expectClose(
        sight.attention.subarray(head * PATCHES, (head + 1) * PATCHES),
        row.subarray(1 + REGISTERS),
        "patches",
      );
    }
  });

  it("have no order", async () => {
    const values = startValues(withRegisters);
    const learnt = values.get("register_tokens")!;
    const turned = Float32Array.from(learnt, (_, i) => learnt[(i + DIM) % learnt.length]!);
    const found = await read(withRegisters, new Map(values).set("register_tokens", turned));
    expectClose(found.encoded, (await read(withRegisters, values)).encoded, "encoded");
  });

  it("get a gradient from every image", async () => {
    using backbone = await backboneOf(withRegisters, startValues(withRegisters));
    const { device, params } = backbone;
    using pixels = input(device, [2, 3, size.rows, size.cols]);
    using weight = input(device, [DIM]);
    pixels.write(Float32Array.from({ length: 2 * 3 * size.rows * size.cols }, (_, i) => Math.cos(i)));
    weight.write(Float32Array.from({ length: DIM }, (_, i) => Math.sin(i)));
    const { both, first } = await evaluate(device, () => {
      const gradientOf = (images: typeof pixels) =>
        gradients(sum(mul(vit(withRegisters, params, images), weight)), fill([], 1), [params("register_tokens")])[0]!;
      return { both: gradientOf(pixels), first: gradientOf({ ...pixels, shape: pixels.shape.with(0, 1) }) };
    });
    expect(Math.hypot(...first)).to.be.above(1e-3);
    expect(Math.hypot(...both.map((value, i) => value - first[i]!))).to.be.above(1e-3);
  });
});
