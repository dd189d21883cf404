import { expect } from "chai";
import { importNetwork } from "../../../dino/weights/import.js";
import { type SafeTensor } from "../../../engine/index.js";
import { golden } from "../../golden/golden.js";
import type { VitCase } from "../../golden/vit.test.js";
import { rejection } from "../../support/rejection.js";
import { put, temporaryFolders } from "../../support/temporary-folders.js";
import { dict, legacyFile, op, tensor } from "../../support/torch-files.js";

describe("a network in a file of PyTorch", () => {
  const folderOf = temporaryFolders("open");
  const { heads } = golden.json<VitCase>("vit").config;
  const file = golden.tensors("vit_state");
  const state: ReadonlyMap<string, SafeTensor> = new Map(file.names.map((name) => [name, file.tensor(name)]));

  it("is found in dictionaries of any name, and chosen where there are several", async () => {
    const folder = await folderOf();
    const offsets = new Map<string, number>();
    const values: number[] = [];
    for (const name of state.keys()) {
      offsets.set(name, values.length);
      values.push(...file.f32(name));
    }
    const storage = Float32Array.from([...values, ...values.map((value) => -value)]);
    const network = (first: number) =>
      dict(
        Object.fromEntries(
          [...state].map(([name, { shape }]) => {
            const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
            const words = { elements: storage.length, offset: first + offsets.get(name)!, shape, strides };
            return [name, tensor(words)];
          }),
        ),
      );
    const args = dict({ lr: op.int(1) });
    const write = (root: Readonly<Record<string, readonly number[]>>) =>
      put(folder, "nested.pth", legacyFile(dict(root), storage));
    const normOf = async (path: string, prefix?: string) =>
      (await importNetwork(path, { heads, prefix })).tensors.get("backbone.norm.weight")!.values;
    const own = file.f32("norm.weight");

    expect(await normOf(await write({ args, net: dict({ weights: network(0) }) }))).to.deep.equal(own);
    const path = await write({ args, model: network(0), model_ema: network(values.length) });
    expect(await rejection(importNetwork(path, { heads }))).to.include(
      "several networks, under model., model_ema.; choose one with dino import --prefix",
    );
    expect(await normOf(path, "model")).to.deep.equal(own);
    expect(await normOf(path, "model_ema")).to.deep.equal(own.map((value) => -value));
  });
});
