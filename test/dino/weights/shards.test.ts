import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { vitConfig } from "../../../dino/model/configure.js";
import { importNetwork } from "../../../dino/weights/import.js";
import { encodeSafetensors } from "../../../engine/index.js";
import { type BackboneCase, backboneConfig, filesOf } from "../../golden/backbone-case.js";
import { goldenV2 } from "../../golden/golden.js";
import { stateOf, type Tensors } from "../../golden/published-names.js";
import { fuzzRuns } from "../../support/fuzz.js";
import { rejection } from "../../support/rejection.js";
import { put, temporaryFolders } from "../../support/temporary-folders.js";

/** A small network of DINOv3 as Hugging Face stores it: with what config.json and preprocessor_config.json say. */
const [name] = goldenV2.cases(/^vit3_/);
const golden = goldenV2.json<BackboneCase>(name!);
const file = filesOf(golden, "state");
const { heads, dim } = backboneConfig(golden);
const state: Tensors = stateOf("hf", "dinov3", new Map(file.names.map((each) => [each, file.tensor(each)])));
const settings = {
  num_attention_heads: heads,
  image_size: 96,
  layer_norm_eps: 1e-4,
  rope_theta: 64,
  hidden_act: "gelu",
};
const processor = {
  image_mean: [0.43, 0.411, 0.296],
  image_std: [0.213, 0.156, 0.143],
  size: { height: 224, width: 224 },
};

describe("import of shards", () => {
  let folder: string;
  const makeFolder = temporaryFolders("shards");
  beforeEach(async () => void (folder = await makeFolder()));

  const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;
  const shardOf = (tensor: string) => shards[tensor.startsWith("layer.") ? 1 : 0];
  const index = (change: (names: Record<string, string>) => void = () => undefined) => {
    const weight_map = Object.fromEntries([...state.keys()].map((tensor) => [tensor, shardOf(tensor)]));
    change(weight_map);
    return JSON.stringify({ metadata: { total_size: 1 }, weight_map });
  };

  /** Writes a folder of Hugging Face's; `json` is its index. */
  async function writeFolder(json = index()): Promise<void> {
    for (const shard of shards) {
      const own = [...state].filter(([tensor]) => shardOf(tensor) === shard);
      await put(folder, shard, encodeSafetensors(own, { format: "pt" }));
    }
    await put(folder, "model.safetensors.index.json", json);
    await put(folder, "config.json", JSON.stringify(settings));
    await put(folder, "preprocessor_config.json", JSON.stringify(processor));
  }

  it("reads a folder and its index as one file, and what the files beside say", async () => {
    await writeFolder();
    const whole = await importNetwork(folder);
    const byIndex = await importNetwork(join(folder, "model.safetensors.index.json"));
    expect(byIndex).to.deep.equal(whole);
    const { config, naming, format } = whole;
    expect({ naming, format }).to.deep.equal({ naming: "Hugging Face", format: "safetensors" });
    expect(vitConfig(config)).to.deep.include({ heads, dim, normEpsilon: 1e-4, imageRows: 96, imageCols: 96 });
    expect(config).to.deep.include({ ropeBase: 64, mean: processor.image_mean, std: processor.image_std });

    await put(folder, "model.safetensors", encodeSafetensors(state));
    const single = await importNetwork(join(folder, "model.safetensors"));
    expect(single).to.deep.equal(whole);
    expect(await importNetwork(folder), "model.safetensors goes before an index").to.deep.equal(whole);
  });

  it("takes the crop of an image processor, if it is whole patches", async () => {
    await writeFolder();
    const cropped = (side: number) =>
      JSON.stringify({ size: { shortest_edge: 130 }, do_center_crop: true, crop_size: { height: side, width: side } });
    await put(folder, "preprocessor_config.json", cropped(112));
    expect((await importNetwork(folder)).config).to.deep.include({
      evalResize: 130,
      evalSize: { rows: 112, cols: 112 },
    });
    await put(folder, "preprocessor_config.json", cropped(110));
    expect((await importNetwork(folder)).config).to.deep.include({ evalResize: null, evalSize: null });
    await put(folder, "preprocessor_config.json", JSON.stringify({ image_mean: "grey" }));
    expect(await rejection(importNetwork(folder))).to.include(
      "preprocessor_config.json: expected the settings of an image",
    );
  });

  it("refuses a gate without its activation, and the reverse", async () => {
    await writeFolder();
    await put(folder, "config.json", JSON.stringify({ ...settings, hidden_act: "silu" }));
    expect(await rejection(importNetwork(folder))).to.include("expected the activation gelu, got silu");
    await put(folder, "config.json", JSON.stringify({ ...settings, use_gated_mlp: true }));
    expect(await rejection(importNetwork(folder))).to.include("expected the activation silu, got gelu");
  });

  const [torn] = [...state.keys()];
  const refused: readonly (readonly [string, string, string])[] = [
    ["is truncated", index().slice(0, 100), "model.safetensors.index.json: "],
    ["maps nothing", JSON.stringify({ metadata: {} }), "expected weight_map with the file of each tensor"],
    ["is empty", JSON.stringify({ weight_map: {} }), "the index names no tensors"],
    [
      "names a missing shard",
      index((map) => (map[torn!] = "model-00003.safetensors")),
      "model-00003.safetensors: there is no such file",
    ],
    ["names a file elsewhere", index((map) => (map[torn!] = "../secret")), 'expected files beside it, got "../secret"'],
    ["names its own folder", index((map) => (map[torn!] = "..")), 'expected files beside it, got ".."'],
    [
      "misplaces a tensor",
      index((map) => (map[torn!] = shards[1])),
      `${shards[1]} has no ${torn!}, which the index places there`,
    ],
    ["lacks a tensor", index((map) => delete map["norm.bias"]), "missing backbone.norm.bias"],
  ];
  for (const [what, json, message] of refused) {
    it(`refuses an index that ${what}`, async () => {
      await writeFolder(json);
      const found = await rejection(importNetwork(folder));
      expect(found).to.include(message);
      expect(found.startsWith(`${folder}: `)).to.equal(true);
    });
  }

  it("refuses a shard that is no file of weights, naming it", async () => {
    await writeFolder();
    await put(folder, shards[1], "nothing");
    expect(await rejection(importNetwork(folder))).to.include(`${shards[1]}: expected a file of PyTorch`);
    await put(folder, shards[1], encodeSafetensors([["stages.0.weight", state.get(torn!)!]]));
    expect(await rejection(importNetwork(folder))).to.include(`${shards[1]} has no layer.0.`);
  });

  it("refuses a folder without weights", async () => {
    await mkdir(join(folder, "empty"));
    expect(await rejection(importNetwork(join(folder, "empty"))))
      .to.include("expected a folder with model.safetensors")
      .and.include(basename(join(folder, "empty")));
  });

  it("reads or refuses a damaged index", async () => {
    await writeFolder();
    const text = index();
    const damage = fc.record({ at: fc.nat(text.length - 1), letter: fc.string({ minLength: 0, maxLength: 3 }) });
    await fc.assert(
      fc.asyncProperty(damage, async ({ at, letter }) => {
        await put(folder, "model.safetensors.index.json", text.slice(0, at) + letter + text.slice(at + 1));
        const found = await importNetwork(folder).then(
          () => folder,
          (error: unknown) => (error as Error).message,
        );
        expect(found.startsWith(folder)).to.equal(true);
      }),
      { numRuns: fuzzRuns(30), seed: 1 },
    );
  }).timeout(fuzzRuns(400) * 150);
});
