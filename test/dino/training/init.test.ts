import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { needsMeasuring, resolveConfig } from "../../../dino/config/resolve.js";
import type { Config, PartialConfig } from "../../../dino/config/settings.js";
import { startSettings } from "../../../dino/config/start-settings.js";
import { memoryImages } from "../../../dino/images/image-set.js";
import { fullSubset } from "../../../dino/images/split.js";
import { rng } from "../../../dino/math/random.js";
import { networkConfig, vitConfig } from "../../../dino/model/configure.js";
import { initialValues, type Network } from "../../../dino/model/network.js";
import { scope } from "../../../dino/model/vit-config.js";
import { vitSpecs } from "../../../dino/model/vit-params.js";
import { vit } from "../../../dino/model/vit.js";
import { settingsOfFile, startValues } from "../../../dino/training/init.js";
import { continued } from "../../../dino/training/start.js";
import { train } from "../../../dino/training/train.js";
import { writeModel } from "../../../dino/weights/checkpoint.js";
import { loadModel } from "../../../dino/weights/load-model.js";
import { encodeSafetensors, evaluate, input, type SafeTensor } from "../../../engine/index.js";
import { golden, relmax } from "../../golden/golden.js";
import { tinySettings, writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";

describe("init", () => {
  let folder: string;
  let file: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "init-"));
    file = join(folder, "trained.safetensors");
    await writeTinyCheckpoint(file, { seed: 5 });
    await mkdir(join(folder, "run"));
  });
  after(() => rm(folder, { recursive: true }));

  /** A run of the shape of `file`, from another seed. */
  const settle = (changes: PartialConfig = {}): Config =>
    resolveConfig({ ...tinySettings, data: "builtin", init: file, seed: 1, ...changes });

  async function start(config: Config) {
    const said: string[] = [];
    const values = await startValues(await testDevice(), config, (words) => said.push(words));
    return { values, said: said.join("\n") };
  }

  const differing = (a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>): string[] =>
    [...a].flatMap(([name, values]) => (relmax(b.get(name)!, values) === 0 ? [] : [name]));

  it("begins with the features of the file, in student and teacher", async () => {
    const device = await testDevice();
    const gray = { rows: 16, cols: 16, pixels: new Uint8Array(16 * 16 * 3).fill(99) };
    const subset = fullSubset(memoryImages({ images: [gray, gray, gray, gray] }));
    const config = settle({ out: join(folder, "run"), batch: 4, steps: 1, warmupEpochs: 0, threads: 1 });
    using images = input(device, [2, 3, 16, 16]);
    images.write(Float32Array.from({ length: 2 * 3 * 16 * 16 }, (_, i) => Math.sin(i)));
    const featuresOf = async ({ config: { vit: shape }, params }: Network) =>
      (await evaluate(device, () => ({ cls: vit(shape, scope(params.get, "backbone."), images) }))).cls;
    const seen: Float32Array[] = [];
    await train({
      device,
      config,
      splits: { train: subset, test: subset },
      explicit: new Set(),
      resume: false,
      visit: {
        times: 1,
        look: async ({ step, student, teacher }) => {
          if (step === 0) seen.push(await featuresOf(student), await featuresOf(teacher));
        },
      },
    });
    using model = await loadModel(device, file);
    const { cls } = await evaluate(device, () => ({ cls: vit(model.vit, model.params, images) }));
    expect(seen).to.deep.equal([cls, cls]);
  });

  it("carries weights for red, green and blue to other channels", async () => {
    const PROJECTION = "backbone.patch_embed.proj.weight";
    const colors = (await start(settle())).values.get(PROJECTION)!; // [16, 3, 8, 8]
    const of = (values: Float32Array, channels: number, feature: number, channel: number) =>
      values.slice((feature * channels + channel) * 64, (feature * channels + channel + 1) * 64);
    for (const [channels, initChannels] of [
      [1, "mean"],
      [1, "repeat"],
      [5, "mean"],
      [7, "repeat"],
    ] as const) {
      const { values, said } = await start(settle({ channels, initChannels }));
      expect(said).to.include(`its 3 channels carried to ${channels} by ${initChannels}`);
      const carried = values.get(PROJECTION)!;
      expect(carried).to.have.length(16 * channels * 64);
      for (const feature of [0, 15]) {
        const [red, green, blue] = [0, 1, 2].map((color) => of(colors, 3, feature, color));
        const sum = red!.map((value, i) => value + green![i]! + blue![i]!);
        for (let channel = 0; channel < channels; channel++) {
          const repeated = [red!, green!, blue!][channel % 3]!.map((value) => (value * 3) / channels);
          const expected = initChannels === "repeat" && channels > 1 ? repeated : sum.map((value) => value / channels);
          expect(relmax(of(carried, channels, feature, channel), expected), `channel ${channel}`).to.be.below(1e-6);
        }
      }
      expect(values.get("backbone.cls_token")).to.deep.equal((await start(settle())).values.get("backbone.cls_token"));
    }
  });

  it("takes the channels of a file, and refuses others than red, green and blue for them", async () => {
    const five = join(folder, "five.safetensors");
    const channels = { channels: 5, mean: [0.1, 0.2, 0.3, 0.4, 0.5], std: [1, 1, 1, 1, 2] } as const;
    await writeTinyCheckpoint(five, { ...channels, channelNames: ["a", "b", "c", "d", "e"], range: [0, 4095] });
    const from = startSettings(await settingsOfFile(five, {}));
    const config = resolveConfig({ ...tinySettings, data: "photos", init: five }, { start: from });
    expect(config).to.deep.include({ ...channels, range: [0, 4095], hue: 0, saturation: 0, grayscale: 0 });
    expect(needsMeasuring({ init: five }, from)).to.equal(false);
    expect(needsMeasuring({ init: five, channels: 4 }, from)).to.equal(true);
    expect((await start(config)).said).to.include("backbone taken");
    const asked = rejection(start(settle({ init: five })));
    expect(await asked).to.include("these flags make them one: --channels 5");
  });

  it("takes backbone and head where both are of one shape", async () => {
    const { values, said } = await start(settle());
    expect(
      differing(initialValues(networkConfig(settle()), { seed: 5, initStd: settle().initStd }), values),
    ).to.deep.equal([]);
    expect(said).to.equal(`--init ${file}: backbone taken, head taken`);
  });

  it("draws a head that the file does not have so", async () => {
    const config = settle({ outDim: 48 });
    const { values, said } = await start(config);
    const fresh = initialValues(networkConfig(config), config);
    for (const name of differing(fresh, values)) expect(name).to.match(/^backbone\./);
    expect(said).to.include("fresh head: that of the file is of another shape");
  });

  it("resamples positions for another image as the official code does", async () => {
    interface Case {
      readonly key: string;
      readonly base_grid: number;
      readonly patch: number;
      readonly dim: number;
      readonly rows_px: number;
      readonly cols_px: number;
    }
    const stored = golden.tensors("interp_pos");
    const { cases } = golden.json<{ cases: readonly Case[] }>("interp_pos");
    const whole = cases.filter(({ patch, rows_px, cols_px }) => rows_px % patch === 0 && cols_px % patch === 0);
    expect(whole.length).to.be.at.least(5);
    for (const { key, base_grid, patch, dim, rows_px, cols_px } of whole) {
      const side = base_grid * patch;
      const shape = { dim, depth: 1, heads: 1, patchSize: patch, imageSize: { rows: side, cols: side } };
      const from = resolveConfig({ ...tinySettings, ...shape, localCropsNumber: 0, evalResize: null });
      const positions = stored.f32(`base${base_grid}.pos_embed`);
      const tensors = vitSpecs(vitConfig(from)).map(({ name, shape: axes }): [string, SafeTensor] => {
        const random = rng({ seed: 0, purpose: name });
        const size = axes.reduce((product, axis) => product * axis, 1);
        const data = name === "pos_embed" ? positions : Float32Array.from({ length: size }, () => random.normal());
        return [name, { dtype: "F32", shape: axes, data }];
      });
      const backbone = join(folder, "backbone.safetensors");
      await writeFile(backbone, encodeSafetensors(tensors));
      const imageSize = { rows: rows_px, cols: cols_px };
      const config = settle({ ...shape, imageSize, localCropsNumber: 0, init: backbone, evalResize: null });
      const { values, said } = await start(config);
      expect(relmax(values.get("backbone.pos_embed")!, stored.f32(`${key}.out`)), key).to.be.below(2e-5);
      expect(said.includes("positions from"), key).to.equal(rows_px !== side || cols_px !== side);
    }
  });

  it("reads what PyTorch wrote, directly", async () => {
    const init = fileURLToPath(new URL("../../fixtures/backbone-legacy.pth", import.meta.url));
    const shape = { dim: 8, heads: 2, depth: 1, patchSize: 4, mlpRatio: 2, imageSize: { rows: 8, cols: 8 } };
    const { values, said } = await start(settle({ ...shape, init, localCropsNumber: 0, evalResize: null }));
    expect(values.get("backbone.norm.bias")![1]).to.equal((((37 + 11 * 18) % 64) - 32) / 64);
    expect(said).to.include("fresh head: the file has none");
  });

  it("refuses another backbone with the flags that fit it", async () => {
    const message = await rejection(start(settle({ dim: 24, depth: 2, mlpRatio: 3 })));
    expect(message).to.include("these flags make them one: --dim 16 --depth 1 --mlp-ratio 4");
  });

  it("takes registers, draws them where the file has none, and refuses to lose any", async () => {
    const grown = join(folder, "registers.safetensors");
    await writeTinyCheckpoint(grown, { seed: 6, registers: 2 });
    const name = "backbone.register_tokens";
    const both = await start(settle({ init: grown, registers: 2 }));
    const drawn = await start(settle({ registers: 2 }));
    const fresh = (seed: number) =>
      initialValues(networkConfig(settle({ registers: 2 })), { seed, initStd: 0.2 }).get(name);
    expect(both.values.get(name)).to.deep.equal(fresh(6));
    expect(drawn.values.get(name)).to.deep.equal(fresh(1));
    expect(drawn.said).to.include("backbone taken, fresh registers, head taken");
    expect(await rejection(start(settle({ init: grown })))).to.include("these flags make them one: --registers 2");
  });

  it("takes the heads of DINOv2 where the run has such, and a mask token where the file has none", async () => {
    const dinov2 = { method: "dinov2", layerScale: null, separateHead: true } as const;
    const grown = join(folder, "dinov2.safetensors");
    await writeTinyCheckpoint(grown, { ...dinov2, seed: 7 });
    const same = await start(settle({ ...dinov2, init: grown }));
    expect(same.said).to.equal(`--init ${grown}: backbone taken, head taken`);
    expect(
      differing(initialValues(networkConfig(settle(dinov2)), { seed: 7, initStd: 0.2 }), same.values),
    ).to.deep.equal([]);
    const shared = await start(settle({ ...dinov2, init: grown, separateHead: false }));
    expect(shared.said).to.include("fresh head: that of the file is of another shape");
    const other = await start(settle({ init: grown }));
    expect(other.said).to.include("backbone taken, fresh head: that of the file is of --method dinov2");
    const younger = await start(settle({ ...dinov2 }));
    expect(younger.said).to.include(
      "backbone taken, fresh mask token, fresh head: that of the file is of --method dino",
    );
  });

  describe("gives a run the settings of the file's backbone", () => {
    const shape = {
      ...{ dim: 24, depth: 2, heads: 2, patchSize: 14, imageSize: { rows: 518, cols: 518 }, registers: 4 },
      ...{ layerScale: 1e-5, maskToken: "optional", positionOffset: 0, positionAntialias: true },
      ...{ ffn: "swiglu", mlpRatio: 2, localCropsNumber: 0, mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6] },
    } as const satisfies PartialConfig;
    let theirs: Config;
    before(async () => {
      const model = join(folder, "large.safetensors");
      const network = resolveConfig({ ...tinySettings, data: "photos", ...shape });
      const values = initialValues(networkConfig(network), network);
      const tensors = vitSpecs(vitConfig(network)).map(({ name, shape: axes }) => {
        const whole = `backbone.${name}`;
        return [whole, { shape: axes, values: values.get(whole)! }] as const;
      });
      await writeModel(model, { config: network, tensors: new Map(tensors) });
      theirs = await settingsOfFile(model, {});
    });
    const resolve = (flags: PartialConfig) =>
      resolveConfig({ data: "photos", ...flags }, { start: startSettings(theirs) });

    it("with crops in whole patches, of at most 224 pixels", () => {
      const config = resolve({});
      const { imageSize, localSize, mean, layerScale, registers, ffn, positionAntialias, maskToken } = config;
      expect({ ...networkConfig(config).vit, imageRows: 518, imageCols: 518, maskToken }).to.deep.include({
        ...networkConfig(theirs).vit,
        maskToken: "none", // which DINO does not train
      });
      expect({ imageSize, localSize }).to.deep.equal({
        imageSize: { rows: 224, cols: 224 },
        localSize: { rows: 98, cols: 98 },
      });
      expect({ mean, layerScale, registers, ffn, positionAntialias }).to.deep.equal({
        ...{ mean: [0.1, 0.2, 0.3], layerScale: 1e-5, registers: 4, ffn: "swiglu", positionAntialias: true },
      });
    });

    it("unless flags or a preset say otherwise", async () => {
      expect(resolve({ method: "dinov2" }).maskToken).to.equal("optional");
      expect(resolve({ imageSize: { rows: 126, cols: 126 } }).imageSize.rows).to.equal(126);
      expect(() => resolve({ localSize: { rows: 96, cols: 96 } })).to.throw(
        "--patch-size 14 does not divide --local-size 96",
      );
      const preset = resolve({ preset: "vit-b16" });
      expect(preset).to.deep.include({ patchSize: 14, localCropsNumber: 10, imageSize: { rows: 224, cols: 224 } });
      const wider = resolve({ arch: "vit_tiny" });
      expect(await rejection(start({ ...wider, init: join(folder, "large.safetensors") }))).to.include(
        "--dim 24 --depth 2",
      );
    });
  });

  it("belongs to the beginning of a run: --resume refuses another file", () => {
    const config = settle();
    expect(continued(config, { init: file })).to.deep.equal(config);
    expect(() => continued(config, { init: "other.pth" })).to.throw(`--resume: the run has --init "${file}"`);
    expect(() => continued(settle({ init: null }), { init: file })).to.throw("--resume: the run has --init null");
  });

  it("freezes no more blocks than there are", () => {
    expect(() => settle({ freezeBlocks: 2 })).to.throw("--freeze-blocks 2 is more than the --depth of 1");
  });
});
