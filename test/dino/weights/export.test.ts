import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { AutoImageProcessor, AutoModel, env, pipeline, RawImage, Tensor } from "@huggingface/transformers";
import { expect } from "chai";
import fc from "fast-check";
import * as ort from "onnxruntime-web";
import { program } from "../../../dino/cli.js";
import { resolveConfig } from "../../../dino/config/resolve.js";
import type { PartialConfig } from "../../../dino/config/settings.js";
import { evalCrop } from "../../../dino/images/augment.js";
import type { Size } from "../../../dino/images/pixels.js";
import { rng } from "../../../dino/math/random.js";
import { type Model, viewOf } from "../../../dino/model/backbone.js";
import { networkConfig } from "../../../dino/model/configure.js";
import { networkSpecs } from "../../../dino/model/network.js";
import { encode } from "../../../dino/model/vit.js";
import { readModel, writeModel } from "../../../dino/weights/checkpoint.js";
import { exportFiles, type ExportOptions, type Format } from "../../../dino/weights/export/formats.js";
import { importNetwork } from "../../../dino/weights/import.js";
import { loadModel, readNetworkOf } from "../../../dino/weights/load-model.js";
import { evaluate, input } from "../../../engine/index.js";
import { relmax } from "../../golden/golden.js";
import { dino, tinySettings, writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { integerOf, messages, readMessage, textOf } from "../../support/protobuf-reader.js";
import { rejection } from "../../support/rejection.js";

/** Relative to the largest number: what runtimes may differ in. */
const TOLERANCE = 1e-4;

const numbers = (count: number, purpose: string): Float32Array => {
  const random = rng({ seed: 3, purpose });
  return Float32Array.from({ length: count }, () => random.normal());
};

describe("export", function () {
  this.timeout(60_000);
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "export-"));
    env.localModelPath = folder;
    env.allowRemoteModels = false;
    ort.env.wasm.numThreads = 1;
  });
  after(() => rm(folder, { recursive: true }));

  /** A model with random numbers everywhere, positions and registers included, and its path. */
  async function model(name: string, settings: PartialConfig = {}): Promise<string> {
    const path = join(folder, `${name}.safetensors`);
    const config = resolveConfig({ ...tinySettings, depth: 2, localCropsNumber: 0, ...settings });
    const tensors = networkSpecs(networkConfig(config)).map(({ name: parameter, shape }) => {
      const values = numbers(
        shape.reduce((product, axis) => product * axis, 1),
        parameter,
      );
      const isGain = /norm\d?\.weight$/.test(parameter);
      return [parameter, { shape, values: values.map((value) => 0.3 * value + (isGain ? 1 : 0)) }] as const;
    });
    await writeModel(path, { config, tensors: new Map(tensors) });
    return path;
  }

  async function write(path: string, format: Format, options?: ExportOptions): Promise<string> {
    const out = path.replace(".safetensors", `-${format}`);
    for (const { name, encode: encodeFile } of exportFiles(await readNetworkOf(path, "teacher"), format, options)) {
      const file = name === undefined ? out : join(out, name);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, encodeFile());
    }
    return out;
  }

  /** What our engine makes of images [batch, 3, rows, cols]: [batch, 1 + patches, dim]. */
  async function tokensOf(
    { vit, params }: Model,
    pixels: Float32Array,
    shape: readonly number[],
  ): Promise<Float32Array> {
    const device = await testDevice();
    using images = input(device, shape);
    images.write(pixels);
    return (await evaluate(device, () => ({ tokens: encode(vit, params, images) }))).tokens;
  }

  describe("as ONNX", () => {
    const networks: readonly (readonly [string, PartialConfig])[] = [
      ["square", {}],
      ["wide", { imageSize: { rows: 16, cols: 32 } }],
      ["registers", { registers: 3, imageSize: { rows: 24, cols: 24 }, mlpRatio: 2, heads: 4 }],
    ];
    for (const [name, settings] of networks) {
      it(`computes what our engine computes, for images of any size: ${name}`, async () => {
        const path = await model(name, settings);
        using own = await loadModel(await testDevice(), path);
        const session = await ort.InferenceSession.create(await readFile(await write(path, "onnx")));
        const { dim, patch, imageRows, imageCols } = own.vit;
        const agrees = async ({ rows, cols }: Size, batch: number): Promise<void> => {
          const shape = [batch, 3, rows, cols];
          const pixels = numbers(batch * 3 * rows * cols, "images");
          const expected = await tokensOf(own, pixels, shape);
          const found = await session.run({ images: new ort.Tensor("float32", pixels, shape) });
          const patches = Math.floor(rows / patch) * Math.floor(cols / patch);
          expect(found["features"]!.dims).to.deep.equal([batch, dim]);
          expect(found["patch_tokens"]!.dims).to.deep.equal([batch, patches, dim]);
          const [features, tokens] = ["features", "patch_tokens"].map((out) => found[out]!.data as Float32Array);
          const joint = Array.from({ length: batch }, (_, i) => [
            ...features!.subarray(i * dim, (i + 1) * dim),
            ...tokens!.subarray(i * patches * dim, (i + 1) * patches * dim),
          ]).flat();
          expect(relmax(joint, expected), `${rows} x ${cols}`).to.be.below(TOLERANCE);
        };
        await agrees({ rows: imageRows, cols: imageCols }, 2);
        await agrees({ rows: imageRows + 2, cols: imageCols + 2 }, 1); // the same patches
        await agrees({ rows: imageRows + 2, cols: imageCols + 3 }, 1); // the same patches, positions resampled even so
        const side = fc.integer({ min: patch, max: 6 * patch });
        const images = fc.record({ rows: side, cols: side });
        await fc.assert(fc.asyncProperty(images, fc.integer({ min: 1, max: 3 }), agrees), { numRuns: 3 });
      });
    }

    it("says what it is, and how images are shown to it, but nothing of the run", async () => {
      const path = await model("noted", { evalResize: 20, mean: [0.1, 0.2, 0.3], data: "/home/me" });
      const bytes = await readFile(await write(path, "onnx"));
      const whole = readMessage(bytes);
      expect(textOf(whole, 2)).to.equal("dino-webgpu");
      expect(messages(whole, 8).map((set) => [textOf(set, 1), integerOf(set, 2)])).to.deep.equal([["", 17]]);
      const notes = Object.fromEntries(messages(whole, 14).map((note) => [textOf(note, 1)!, textOf(note, 2)]));
      expect(notes).to.include({ patch_size: "8", resize: "20", crop: "16x16", mean: "0.1,0.2,0.3" });
      expect(bytes.includes("/home/me")).to.equal(false);
    });
  });

  describe("for Hugging Face's libraries", () => {
    it("loads in transformers.js, with our numbers and our view of images", async () => {
      const path = await model("hub", { evalResize: 20, mean: [0.4, 0.5, 0.6], std: [0.2, 0.3, 0.4] });
      await write(path, "hf");
      using own = await loadModel(await testDevice(), path);
      const loaded = await AutoModel.from_pretrained("hub-hf", { dtype: "fp32" });
      const processor = await AutoImageProcessor.from_pretrained("hub-hf");
      const last = async (inputs: object) =>
        ((await loaded(inputs)) as { readonly last_hidden_state: Tensor }).last_hidden_state;

      const shape = [2, 3, 24, 40];
      const pixels = numbers(2 * 3 * 24 * 40, "images");
      const found = await last({ pixel_values: new Tensor("float32", pixels, shape) });
      expect(found.dims).to.deep.equal([2, 1 + 3 * 5, own.vit.dim]);
      expect(relmax(found.data as Float32Array, await tokensOf(own, pixels, shape))).to.be.below(TOLERANCE);

      const size = { rows: 20, cols: 28 }; // resized already, and with a middle, so that no two ways of either differ
      const bytes = Uint8Array.from({ length: 20 * 28 * 3 }, (_, i) => 128 + 127 * Math.sin(i));
      const picture = new RawImage(Uint8ClampedArray.from(bytes), size.cols, size.rows, 3);
      const shown = evalCrop({ ...size, pixels: bytes }, viewOf(own.config));
      const { pixel_values } = (await processor(picture)) as { readonly pixel_values: Tensor };
      expect(pixel_values.dims).to.deep.equal([1, 3, 16, 16]);
      expect(relmax(pixel_values.data as Float32Array, shown)).to.be.below(1e-6);

      const extract = await pipeline("image-feature-extraction", "hub-hf", { dtype: "fp32" });
      const features = await extract(picture);
      expect(relmax(features.data as Float32Array, await tokensOf(own, shown, [1, 3, 16, 16]))).to.be.below(TOLERANCE);
    });

    it("is refused for a network with registers", async () => {
      const path = await model("registered", { registers: 2 });
      expect(await rejection(write(path, "hf")))
        .to.include("has 2 registers")
        .and.include("--format onnx");
    });
  });

  describe("as weights", () => {
    const networks: readonly (readonly [string, PartialConfig])[] = [
      ["as it is", {}],
      ["of a wide image", { imageSize: { rows: 16, cols: 32 } }],
      [
        "with its own view",
        { evalResize: 30, evalSize: { rows: 24, cols: 16 }, mean: [0.1, 0.2, 0.3], std: [0.3, 0.2, 0.1] },
      ],
      ["with another MLP and head", { mlpRatio: 2, headLayers: 2, normLastLayer: false }],
      ["with registers", { registers: 2 }],
      ["with the heads of DINOv2", { method: "dinov2", separateHead: true }],
    ];
    const ways: readonly (readonly [string, Format, ExportOptions, string])[] = [
      ["safetensors", "safetensors", {}, ""],
      ["safetensors with the head", "safetensors", { head: true }, ""],
      ["a folder of Hugging Face's", "hf", {}, "model.safetensors"],
    ];
    for (const [way, format, options, file] of ways) {
      for (const [name, settings] of networks) {
        if (format === "hf" && settings.registers !== undefined) continue;
        it(`comes back the same to the byte through ${way}: a network ${name}`, async () => {
          const whole = await readModel(await model("whole", settings));
          const tensors = [...whole.tensors].filter(
            ([tensorName]) => options.head || tensorName.startsWith("backbone."),
          );
          const first = join(folder, "first.safetensors");
          await writeModel(first, { ...whole, tensors: new Map(tensors) });
          const canonical = join(folder, "canonical.safetensors");
          await writeModel(canonical, await importNetwork(first, { imageSize: whole.config.imageSize, heads: 2 }));
          const back = join(folder, "back.safetensors");
          await writeModel(back, await importNetwork(join(await write(canonical, format, options), file)));
          expect((await readFile(back)).equals(await readFile(canonical))).to.equal(true);
        });
      }
    }
  });

  describe("on the command line", () => {
    let run: string;
    before(async () => {
      run = join(folder, "run.safetensors");
      await writeTinyCheckpoint(run);
      await writeFile(join(folder, "none.safetensors"), "nothing");
    });
    const refused = async (...words: readonly string[]) =>
      rejection((await program("export")).parseAsync(["export", ...words], { from: "user" }));

    it("writes files, of the student too, and replaces them only where it may", async () => {
      const out = join(folder, "made", "student.safetensors");
      const words = ["--checkpoint", run, "--which", "student", "--format", "safetensors", "--out", out];
      const { code, stdout, stderr } = await dino("export", ...words, "--json");
      expect(code, stderr).to.equal(0);
      const bytes = (await readFile(out)).length;
      expect(JSON.parse(stdout)).to.deep.include({ which: "student", files: [{ path: out, bytes }] });
      expect(await readdir(dirname(out))).to.deep.equal(["student.safetensors"]);
      expect(await refused(...words)).to.include("already exists; --overwrite replaces");
      await writeFile(out, "old");
      expect((await dino("export", ...words, "--overwrite")).stdout).to.equal(`${out}   ${bytes} bytes\n`);
      expect((await readFile(out)).length).to.equal(bytes);
    });

    it("refuses what makes no sense, and leaves what is there", async () => {
      const before = await readFile(run);
      const cases: readonly (readonly [string, Format, string, string, ...string[]])[] = [
        [run, "onnx", run, "is the --checkpoint", "--overwrite"],
        [run, "hf", run, "writes a folder, and this is a file"],
        [run, "onnx", folder, "writes a file, and this is a folder"],
        [run, "hf", folder, "already holds files; --overwrite"],
        [run, "onnx", join(folder, "a.onnx"), "has no place for a head", "--head"],
        [join(folder, "none.safetensors"), "onnx", join(folder, "a.onnx"), "none.safetensors: "],
        [join(folder, "missing"), "onnx", join(folder, "a.onnx"), "there is no such checkpoint"],
      ];
      for (const [checkpoint, format, out, message, ...more] of cases) {
        expect(await refused("--checkpoint", checkpoint, "--format", format, "--out", out, ...more)).to.include(
          message,
        );
      }
      expect((await readFile(run)).equals(before)).to.equal(true);
      expect(await readdir(folder)).not.to.include("a.onnx");
    });
  });
});
