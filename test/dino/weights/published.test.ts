import { execFile } from "node:child_process";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect } from "chai";
import { archOf } from "../../../dino/config/derive.js";
import type { Config } from "../../../dino/config/settings.js";
import { networkConfig, vitConfig } from "../../../dino/model/configure.js";
import { vitSpecs } from "../../../dino/model/vit-params.js";
import { importedConfig, importNetwork, type ImportOptions } from "../../../dino/weights/import.js";
import { expectComplete, matchTensors } from "../../../dino/weights/match-tensors.js";
import { officialTensors } from "../../../dino/weights/names.js";
import { describeFamily, unknownsOf } from "../../../dino/weights/published.js";
import type { StoredTensor } from "../../../dino/weights/torch/stored.js";
import { sizeOf } from "../../../engine/index.js";
import { type Family, names, type PublishedModel, publishedShapes } from "../../golden/published-names.js";
import { rejection } from "../../support/rejection.js";
import { put, temporaryFolders } from "../../support/temporary-folders.js";

const families: readonly Family[] = ["dinov2", "dinov3"];

/** Tensors of a published file without its numbers, but for the constants of DINOv3. */
function shapesOf(model: PublishedModel): Map<string, StoredTensor> {
  return new Map(
    [...publishedShapes(model)].map(([name, shape]): [string, StoredTensor] => [
      name,
      { dtype: "F32", shape, read: () => Promise.resolve(constantOf(name, sizeOf(shape))) },
    ]),
  );
}

function constantOf(name: string, count: number): Float32Array {
  if (name.endsWith("periods")) return Float32Array.from({ length: count }, (_, j) => 100 ** (j / count));
  return Float32Array.from({ length: count }, (_, i) => (i >= count / 3 && i < (2 * count) / 3 ? 0 : 1));
}

async function configOf(
  tensors: ReadonlyMap<string, StoredTensor>,
  path: string,
  options: ImportOptions = {},
): Promise<Config> {
  const official = officialTensors(tensors);
  const config = await importedConfig(official, { path, own: undefined, folder: "nowhere", options });
  expectComplete(matchTensors(networkConfig(config), official), networkConfig(config));
  return config;
}

describe("published weights of DINOv2 and DINOv3", () => {
  for (const family of families) {
    for (const model of names[family].models) {
      const { name, weights = "" } = model;
      it(`are told by their shapes: ${name} ${weights}`, async () => {
        const config = await configOf(shapesOf(model), model.official_file);
        const vit = vitConfig(config);
        const { dim, depth, heads, patch, registers } = model;
        expect(vit).to.include({ dim, depth, heads, patch, registers });
        expect(Math.round(vit.dim * vit.mlpRatio)).to.equal(model.ffn_hidden);
        const count = vitSpecs(vit).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
        expect(count).to.equal(model.parameters);
        const side = model.position_image_size ?? 224;
        expect(config.imageSize).to.deep.equal({ rows: side, cols: side });
        expect(config.evalSize ?? config.imageSize).to.deep.equal({ rows: 224, cols: 224 });
        const satellite = { mean: [0.43, 0.411, 0.296], std: [0.213, 0.156, 0.143] };
        const natural = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
        expect({ mean: config.mean, std: config.std }).to.deep.equal(weights === "sat493m" ? satellite : natural);
        expect(archOf({ dim, depth })).to.not.equal(undefined);
        expect(describeFamily(config)).to.match(family === "dinov2" ? /^DINOv2 vit_/ : /^DINOv3 vit_/);
        expect(unknownsOf(config, model.official_file)).to.deep.equal([]);
      });
    }
  }

  const sat = names.dinov3.models.filter(({ weights }) => weights === "sat493m");
  it("leave open which images a ViT-7B saw, and say which flags tell", async () => {
    const config = await configOf(shapesOf(sat.find(({ size }) => size === "7b")!), "renamed.pth");
    expect(config.mean[0]).to.equal(0.485);
    expect(unknownsOf(config, "renamed.pth").join()).to.include("--mean 0.43,0.411,0.296 --std 0.213,0.156,0.143");
  });

  it("tell the satellite images of a ViT-L by its norm of local crops", async () => {
    const config = await configOf(shapesOf(sat.find(({ size }) => size === "large")!), "renamed.pth");
    expect(config.mean[0]).to.equal(0.43);
    const told = { mean: [0.1, 0.2, 0.3], std: [0.3, 0.2, 0.1] } as const;
    expect(await configOf(shapesOf(sat[0]!), "renamed.pth", told)).to.deep.include(told);
  });

  it("of two families are refused", async () => {
    const mixed = new Map([...shapesOf(names.dinov2.models[0]!), ...shapesOf(names.dinov3.models[0]!)]);
    expect(await rejection(configOf(mixed, "mixed.pth"))).to.include("of two families: pos_embed of DINO and DINOv2");
    const [small] = names.dinov2.models;
    const gated = new Map([...shapesOf(small!)].map(([key, tensor]) => [key.replace("ls1.gamma", "gamma_1"), tensor]));
    expect(await rejection(configOf(gated, "mixed.pth"))).to.include("of two families: pos_embed");
  });

  it("of DINOv2 without positions are not taken for DINOv3", async () => {
    const tensors = shapesOf(names.dinov2.models[0]!);
    tensors.delete("pos_embed");
    expect(await rejection(configOf(tensors, "torn.pth"))).to.include("there is no pos_embed");
  });

  it("are refused with constants that are none of DINOv3", async () => {
    const changed = (name: string, values: Float32Array) => {
      const tensors = shapesOf(names.dinov3.models[0]!);
      tensors.set(name, { ...tensors.get(name)!, read: () => Promise.resolve(values) });
      return rejection(configOf(tensors, "odd.pth"));
    };
    const mask = "blocks.3.attn.qkv.bias_mask";
    expect(await changed(mask, new Float32Array(3 * 384).fill(NaN))).to.include(`${mask}: expected 0 for keys`);
    const periods = Float32Array.from({ length: 16 }, (_, j) => 1 + j);
    expect(await changed("rope_embed.periods", periods)).to.include("expected periods that grow geometrically");
  });

  it("keep another base of rotary positions, or the shortest and longest period", async () => {
    const withPeriods = async (period: (j: number) => number, dtype: "F32" | "BF16" = "F32") => {
      const tensors = shapesOf(names.dinov3.models[0]!);
      const read = () => Promise.resolve(Float32Array.from({ length: 16 }, (_, j) => period(j)));
      tensors.set("rope_embed.periods", { dtype, shape: [16], read });
      const { ropeBase, ropePeriods } = await configOf(tensors, "rope.pth");
      return { ropeBase, ropePeriods };
    };
    expect(await withPeriods((j) => 1234 ** (j / 16))).to.deep.equal({ ropeBase: 1234, ropePeriods: null });
    const rounded = (j: number) => Number((100 ** (j / 16)).toPrecision(3));
    expect(await withPeriods(rounded, "BF16")).to.deep.equal({ ropeBase: 100, ropePeriods: null });
    const { ropePeriods } = await withPeriods((j) => 0.5 * 40 ** (j / 15));
    expect(ropePeriods![0]).to.equal(0.5);
    expect(ropePeriods![1]).to.be.closeTo(20, 1e-5);
  });

  describe("written by PyTorch", function () {
    this.timeout(600_000);
    let folder: string;
    const makeFolder = temporaryFolders("published");
    const python = process.env["PYTHON"] ?? "python3";
    const run = promisify(execFile);
    before(async function () {
      await run(python, ["-c", "import torch"]).catch(() => this.skip()); // PYTHON names an interpreter that has it
      folder = await makeFolder();
    });

    const files: readonly (readonly [Family, string, "backbone" | "teacher", string])[] = [
      ["dinov2", "dinov2_vits14_reg4", "backbone", ""],
      ["dinov3", "dinov3_vits16plus", "teacher", ""],
      ["dinov2", "dinov2_vitb14", "teacher", " @long"],
      ["dinov3", "dinov3_vitb16", "backbone", " @long"],
    ];
    for (const [family, name, form, tag] of files) {
      it(`are read with every number: ${name}, ${form}${tag}`, async () => {
        const model = names[family].models.find((each) => each.name === name)!;
        const out = join(folder, `${name}.pth`);
        const script = fileURLToPath(new URL("../../fixtures/write-published.py", import.meta.url));
        await run(python, [script, await put(folder, "model.json", JSON.stringify(model)), form, out]);
        expect((await stat(out)).size).to.be.above(4 * model.parameters);
        const { config, tensors, which, ignored, format } = await importNetwork(out);
        await rm(out);
        expect({ format, which }).to.deep.equal({ format: "PyTorch", which: form === "teacher" ? form : undefined });
        const heads = ["dino_head.last_layer.weight_g", "ibot_head.mlp.0.weight"];
        expect(ignored).to.deep.equal(form === "teacher" ? heads : []);
        expect([...tensors.values()].reduce((sum, { values }) => sum + values.length, 0)).to.equal(model.parameters);
        expect(vitConfig(config)).to.include({ dim: model.dim, heads: model.heads, registers: model.registers });
        for (const [key, { values }] of tensors) expectWritten(key, values, family);
      });
    }
  });
});

/** The numbers that fixtures/write-published.py gives a tensor; those that DINOv3 multiplies by 0 are 0. */
function expectWritten(key: string, values: Float32Array, family: Family): void {
  const name = key.slice("backbone.".length);
  const isMasked = family === "dinov3" && name.endsWith("attn.qkv.bias");
  const third = values.length / 3;
  const wrong = values.findIndex((value, i) => {
    const isZero = isMasked && i >= third && i < 2 * third;
    return value !== (isZero ? 0 : (((37 * i + 11 * name.length) % 64) - 32) / 64);
  });
  expect(wrong, name).to.equal(-1);
}
