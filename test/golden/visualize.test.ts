import { expect } from "chai";
import { attentionMask, enlarge } from "../../dino/pictures/visualize.js";
import { golden, relmax } from "./golden.js";

interface Case {
  readonly heads: number;
  readonly rows: number;
  readonly cols: number;
  readonly patch: number;
  readonly threshold: number;
  readonly patches_kept: readonly number[];
}

describe("golden visualize", () => {
  for (const [name, given] of Object.entries(golden.json<Record<string, Case>>("visualize"))) {
    const { heads, rows, cols, patch, threshold } = given;
    it(`${name}: heat map and masks that keep ${threshold} of the mass`, () => {
      const tensors = golden.tensors(`visualize_${name}`);
      const attention = ofCls(tensors.f32("attn"), heads);
      expect(relmax(attention, tensors.f32("heat_patch"))).to.be.below(1e-6);

      const mask = attentionMask({ attention, heads, share: threshold });
      expect([...mask]).to.deep.equal([...tensors.u8("mask_patch")]);
      const kept = given.patches_kept.map((_, head) =>
        mask.subarray(head * rows * cols, (head + 1) * rows * cols).reduce((sum, each) => sum + each, 0),
      );
      expect(kept).to.deep.equal(given.patches_kept);
      expect([...enlarge({ maps: mask, rows, cols, factor: patch })]).to.deep.equal([...tensors.u8("mask_pixels")]);
    });
  }
});

/** What the cls token gives the patches: [heads, tokens, tokens] -> [heads, patches]. */
function ofCls(attention: Float32Array, heads: number): Float32Array {
  const tokens = Math.sqrt(attention.length / heads);
  return attention.filter((_, i) => i % tokens ** 2 > 0 && i % tokens ** 2 < tokens);
}
