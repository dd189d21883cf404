import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AutoModel, env, Tensor } from "@huggingface/transformers";
import { expect } from "chai";
import * as ort from "onnxruntime-web";
import { resolveConfig } from "../../../dino/config/resolve.js";
import type { PartialConfig } from "../../../dino/config/settings.js";
import { rng } from "../../../dino/math/random.js";
import { networkConfig } from "../../../dino/model/configure.js";
import { networkSpecs } from "../../../dino/model/network.js";
import { features, finalNorm } from "../../../dino/model/vit.js";
import { writeModel } from "../../../dino/weights/checkpoint.js";
import { exportFiles, type Format } from "../../../dino/weights/export/formats.js";
import { importNetwork } from "../../../dino/weights/import.js";
import { loadModel, readNetworkOf } from "../../../dino/weights/load-model.js";
import { nameWithoutChunk } from "../../../dino/weights/names.js";
import { encodeSafetensors, evaluate, input, parseSafetensors, sizeOf } from "../../../engine/index.js";
import { type BackboneCase, backboneConfig, filesOf } from "../../golden/backbone-case.js";
import { goldenV2, relmax } from "../../golden/golden.js";
import { type Family, stateOf } from "../../golden/published-names.js";
import { tinySettings } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";
import { put, temporaryFolders } from "../../support/temporary-folders.js";

/** Relative to the largest number: what runtimes may differ in. */
const TOLERANCE = 1e-4;

const numbers = (count: number, purpose: string): Float32Array => {
  const random = rng({ seed: 3, purpose });
  return Float32Array.from({ length: count }, () => random.normal());
};

describe("export of DINOv2 and DINOv3", function () {
  this.timeout(120_000);
  let folder: string;
  const makeFolder = temporaryFolders("export-families");
  before(async () => {
    folder = await makeFolder();
    env.localModelPath = folder;
    env.allowRemoteModels = false;
    ort.env.wasm.numThreads = 1;
  });

  async function write(path: string, format: Format): Promise<string> {
    const out = path.replace(".safetensors", `-${format}`);
    for (const { name, encode } of exportFiles(await readNetworkOf(path, "teacher"), format)) {
      const file = name === undefined ? out : join(out, name);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, encode());
    }
    return out;
  }

  /** All tokens after the final norm in our engine, those of the registers included. */
  async function tokensOf(path: string, pixels: Float32Array, shape: readonly number[]) {
    const device = await testDevice();
    using model = await loadModel(device, path);
    using images = input(device, shape);
    images.write(pixels);
    return await evaluate(device, () => {
      const { cls, patches, stream } = features(model.vit, model.params, images);
      return { cls, patches, all: finalNorm(model.vit, model.params, stream) };
    });
  }

  /** Runs a network as ONNX and in our engine, for images of a shape. */
  async function expectSameInOnnx(path: string, pixels: Float32Array, shape: readonly number[]): Promise<void> {
    const session = await ort.InferenceSession.create(await readFile(await write(path, "onnx")));
    const found = await session.run({ images: new ort.Tensor("float32", pixels, shape) });
    const expected = await tokensOf(path, pixels, shape);
    expect(relmax(found["features"]!.data as Float32Array, expected.cls), shape.join()).to.be.below(TOLERANCE);
    expect(relmax(found["patch_tokens"]!.data as Float32Array, expected.patches)).to.be.below(TOLERANCE);
  }

  for (const name of goldenV2.cases(/^vit[23]_/)) {
    describe(`of ${name}`, () => {
      const golden = goldenV2.json<BackboneCase>(name);
      const family: Family = name.startsWith("vit2") ? "dinov2" : "dinov3";
      const { heads, registers = 0, patch, dim } = backboneConfig(golden);
      let path: string;
      before(async () => {
        path = join(folder, `${name}.safetensors`);
        const state = filesOf(golden, "state");
        const tensors = state.names.map((each) => [each, state.tensor(each)] as const);
        const official = await put(folder, "official.safetensors", encodeSafetensors(tensors));
        await writeModel(path, await importNetwork(official, { heads }));
      });

      it("computes in ONNX Runtime what our engine computes, at every size", async () => {
        const io = filesOf(golden, "io");
        for (const each of Object.keys(golden.inputs))
          await expectSameInOnnx(path, io.f32(`${each}.x`), io.shape(`${each}.x`));
        const shape = [1, 3, 5 * patch + 1, 2 * patch];
        await expectSameInOnnx(path, numbers(sizeOf(shape), "images"), shape);
      });

      it("loads in transformers.js, with our tokens", async () => {
        await write(path, "hf");
        const model = await AutoModel.from_pretrained(`${name}-hf`, { dtype: "fp32" });
        const shape = [2, 3, 3 * patch, 4 * patch];
        const pixels = numbers(sizeOf(shape), "images");
        const { last_hidden_state: found } = (await model({ pixel_values: new Tensor("float32", pixels, shape) })) as {
          readonly last_hidden_state: Tensor;
        };
        expect(found.dims).to.deep.equal([2, 1 + registers + 12, dim]);
        expect(relmax(found.data as Float32Array, (await tokensOf(path, pixels, shape)).all)).to.be.below(TOLERANCE);
      });

      it("has the tensors of Hugging Face's model", async () => {
        const file = filesOf(golden, "state");
        const state = new Map(file.names.map((each) => [nameWithoutChunk(each), file.tensor(each)]));
        const written = parseSafetensors(await readFile(join(await write(path, "hf"), "model.safetensors")));
        for (const key of [...written.keys()]) if (key.startsWith("local_cls_norm.")) written.delete(key);
        const expected = stateOf("hf", family, state);
        if (family === "dinov3") {
          const token = expected.get("embeddings.mask_token")!;
          expected.set("embeddings.mask_token", { ...token, shape: [1, 1, dim] });
        }
        expect([...written.keys()].sort()).to.deep.equal([...expected.keys()].sort());
        for (const [key, { shape, data }] of written)
          expect({ shape, data: [...data] }, key).to.deep.equal({
            shape: expected.get(key)!.shape,
            data: [...expected.get(key)!.data],
          });
      });

      for (const format of ["safetensors", "hf"] as const) {
        it(`comes back the same to the byte through ${format}`, async () => {
          const back = join(folder, "back.safetensors");
          await writeModel(back, await importNetwork(await write(path, format)));
          expect((await readFile(back)).equals(await readFile(path))).to.equal(true);
        });
      }

      it("has every tensor of the official code", async () => {
        const written = parseSafetensors(await readFile(await write(path, "safetensors")));
        const file = filesOf(golden, "state");
        expect([...written.keys()].sort()).to.deep.equal(file.names.map(nameWithoutChunk).sort());
        const constants = file.names.filter((each) => /periods|bias_mask/.test(each));
        for (const each of constants)
          expect(relmax([...written.get(each)!.data].map(Number), file.f32(each)), each).to.be.below(1e-6);
      });
    });
  }

  /** Writes a small network of these settings, with random numbers. */
  async function writeNetwork(settings: PartialConfig): Promise<string> {
    const path = join(folder, "own.safetensors");
    const config = resolveConfig({ ...tinySettings, depth: 2, localCropsNumber: 0, ...settings });
    const specs = networkSpecs(networkConfig(config)).filter(({ name }) => name.startsWith("backbone."));
    const tensors = specs.map(({ name, shape }) => {
      const offset = /norm\d?\.weight$/.test(name) ? 1 : 0;
      return [name, { shape, values: numbers(sizeOf(shape), name).map((value) => 0.3 * value + offset) }] as const;
    });
    await writeModel(path, { config, tensors: new Map(tensors) });
    return path;
  }

  const rotary = { positions: "rotary", layerScale: 1 } as const;
  const others: readonly (readonly [string, PartialConfig])[] = [
    ["a norm of its own for cls token and registers", { ...rotary, clsNorm: true, registers: 2 }],
    ["periods between two bounds", { ...rotary, ropePeriods: [0.5, 20] }],
    ["coordinates along the longer side", { ...rotary, ropeNormalize: "max" }],
    ["coordinates along the shorter side", { ...rotary, ropeNormalize: "min", maskKeyBias: true }],
    ["SwiGLU without LayerScale", { ffn: "swiglu" }],
    ["packed SwiGLU and rotary positions", { ...rotary, ffn: "packed-swiglu" }],
    ["registers without LayerScale", { registers: 3 }],
  ];
  for (const [what, settings] of others) {
    it(`keeps a network with ${what} in ONNX and safetensors`, async () => {
      const path = await writeNetwork(settings);
      const shape = [2, 3, 24, 40];
      await expectSameInOnnx(path, numbers(sizeOf(shape), "images"), shape);
      const first = join(folder, "first.safetensors");
      await writeModel(first, await importNetwork(path));
      const back = join(folder, "back.safetensors");
      await writeModel(back, await importNetwork(await write(first, "safetensors")));
      expect((await readFile(back)).equals(await readFile(first))).to.equal(true);
    });

    it(`refuses --format hf for a network with ${what}`, async () => {
      expect(await rejection(write(await writeNetwork(settings), "hf"))).to.include(
        "take --format onnx or safetensors",
      );
    });
  }

  it("tells Hugging Face's library what shapes do not", async () => {
    const settingsOf = async (settings: PartialConfig) =>
      JSON.parse(
        await readFile(join(await write(await writeNetwork(settings), "hf"), "config.json"), "utf8"),
      ) as object;
    expect(await settingsOf({ layerScale: 1, ffn: "packed-swiglu", mlpRatio: 1.5, normEpsilon: 1e-4 })).to.deep.include(
      {
        ...{ architectures: ["Dinov2Model"], model_type: "dinov2", use_swiglu_ffn: true, use_mask_token: false },
        ...{ mlp_ratio: 2.28125, layer_norm_eps: 1e-4, image_size: 16, patch_size: 8, num_attention_heads: 2 },
      },
    );
    expect(await settingsOf({ layerScale: 1, registers: 2, maskToken: "optional", mlpRatio: 1.375 })).to.deep.include({
      ...{
        architectures: ["Dinov2WithRegistersModel"],
        num_register_tokens: 2,
        use_mask_token: true,
        mlp_ratio: 1.40625,
      },
    });
    expect(await settingsOf({ ...rotary, ffn: "swiglu", ropeBase: 50, maskKeyBias: true })).to.deep.include({
      ...{ architectures: ["DINOv3ViTModel"], use_gated_mlp: true, hidden_act: "silu", rope_theta: 50 },
      ...{ query_bias: true, key_bias: false, value_bias: true, intermediate_size: 64 },
    });
  });
});
