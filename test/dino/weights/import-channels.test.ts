/** Import of networks whose patches have other axes than those of colors. */
import { join } from "node:path";
import { expect } from "chai";
import { importNetwork } from "../../../dino/weights/import.js";
import { encodeSafetensors, type SafeTensor } from "../../../engine/index.js";
import { golden } from "../../golden/golden.js";
import type { VitCase } from "../../golden/vit.test.js";
import { rejection } from "../../support/rejection.js";
import { put, temporaryFolders } from "../../support/temporary-folders.js";

const PROJECTION = "patch_embed.proj.weight";

describe("import of a network with patches", () => {
  const folder = temporaryFolders("import-channels");
  const { config: sizes } = golden.json<VitCase>("vit");
  const { heads } = sizes;
  const file = golden.tensors("vit_state");
  const [dim, , patch] = file.tensor(PROJECTION).shape as readonly [number, number, number, number];

  /** Writes the golden network with another patch projection. */
  async function written(...shape: readonly number[]): Promise<string> {
    const data = Float32Array.from({ length: shape.reduce((all, axis) => all * axis) }, (_, i) => Math.sin(i));
    const state = new Map<string, SafeTensor>(file.names.map((name) => [name, file.tensor(name)]));
    state.set(PROJECTION, { dtype: "F32", shape, data });
    const inside = await folder();
    await put(inside, "network.safetensors", encodeSafetensors(state));
    return join(inside, "network.safetensors");
  }

  for (const channels of [1, 13]) {
    it(`of ${channels} channels takes them, and changes of colour off`, async () => {
      const path = await written(dim, channels, patch, patch);
      const { config, tensors } = await importNetwork(path, { heads, range: [0, 4095] });
      expect(config).to.deep.include({ channels, hue: 0, saturation: 0, grayscale: 0, range: [0, 4095] });
      expect([config.mean.length, config.std.length]).to.deep.equal([channels, channels]);
      const { shape, values } = tensors.get(`backbone.${PROJECTION}`)!;
      expect(shape).to.deep.equal([dim, channels, patch, patch]);
      expect(values).to.deep.equal(Float32Array.from(values, (_, i) => Math.sin(i)));
      const wrong = importNetwork(path, { heads, mean: [0.5, 0.5] });
      expect(await rejection(wrong)).to.include(`--mean: expected ${channels}, one for each of --channels, got 2`);
    });
  }

  it("of several frames, as for videos, is refused", async () => {
    expect(await rejection(importNetwork(await written(dim, 3, 2, patch, patch)))).to.include(
      `got patches of several frames, patch_embed.proj.weight [${dim}, 3, 2, ${patch}, ${patch}]`,
    );
  });
});
