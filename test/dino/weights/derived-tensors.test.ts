import { expect } from "chai";
import type { Size } from "../../../dino/images/pixels.js";
import { importNetwork } from "../../../dino/weights/import.js";
import { encodeSafetensors, type SafeTensor } from "../../../engine/index.js";
import { golden } from "../../golden/golden.js";
import type { VitCase } from "../../golden/vit.test.js";
import { put, temporaryFolders } from "../../support/temporary-folders.js";

describe("a network under names of timm", () => {
  const folderOf = temporaryFolders("derived");
  const { heads, dim } = golden.json<VitCase>("vit").config;
  const file = golden.tensors("vit_state");
  const state: ReadonlyMap<string, SafeTensor> = new Map(file.names.map((name) => [name, file.tensor(name)]));

  it("may have positions of patches alone, or of registers too", async () => {
    const folder = await folderOf();
    const positions = file.f32("pos_embed");
    const patches = positions.length / dim - 1;
    const registers = Float32Array.from({ length: 2 * dim }, (_, i) => i / 8);
    const f32 = (shape: readonly number[], data: Float32Array): SafeTensor => ({ dtype: "F32", shape, data });
    const ones = f32([dim], new Float32Array(dim).fill(1));
    const scales = [0, 1, 2, 3].flatMap((block) => [1, 2].map((i) => [`blocks.${block}.ls${i}.gamma`, ones] as const));
    const known = scales.filter(([name]) => state.has(name.replace(/ls.*/, "norm1.weight")));
    const alone = f32([1, patches, dim], positions.slice(dim));
    const read = async (changes: Readonly<Record<string, SafeTensor>>, imageSize?: Size) => {
      const path = await put(
        folder,
        "timm.safetensors",
        encodeSafetensors(new Map([...state, ...Object.entries(changes)])),
      );
      const { tensors, config } = await importNetwork(path, { heads, imageSize });
      const values = (name: string) => [...(tensors.get(`backbone.${name}`)?.values ?? [])];
      return { config, positions: values("pos_embed"), registers: values("register_tokens") };
    };
    const withZeros = [...new Float32Array(dim), ...positions.slice(dim)];
    const reg = f32([1, 2, dim], registers);
    const none = await read({ ...Object.fromEntries(known), pos_embed: alone });
    expect(none.positions).to.deep.equal(withZeros);
    expect((await read({ reg_token: reg, pos_embed: alone })).positions).to.deep.equal(withZeros);

    const places = Float32Array.from({ length: 2 * dim }, (_, i) => i / 4);
    const all = [...positions.slice(0, dim), ...places, ...positions.slice(dim)];
    const added = await read({ reg_token: reg, pos_embed: f32([1, patches + 3, dim], Float32Array.from(all)) });
    expect(added.positions).to.deep.equal([...positions]);
    expect(added.registers).to.deep.equal([...registers].map((value, i) => value + places[i]!));

    const patch = none.config.patchSize;
    const sixteen = f32([1, 16, dim], new Float32Array(16 * dim).fill(0.5));
    const square = await read({ reg_token: reg, pos_embed: sixteen });
    expect(square.config.imageSize).to.deep.equal({ rows: 4 * patch, cols: 4 * patch });
    const wide = { rows: 3 * patch, cols: 5 * patch };
    const oblong = await read({ reg_token: reg, pos_embed: sixteen }, wide);
    expect([oblong.config.imageSize, oblong.positions.length]).to.deep.equal([wide, 16 * dim]);
  });
});
