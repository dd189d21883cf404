/** Rows of the operations that DINOv2 and DINOv3 add to the blocks of a ViT. */
import { addToSamples, constant, packedSwiglu, rotate, scaleColumns, takeSamples } from "../../engine/index.js";
import * as blocks from "../../reference/block-operations.js";
import * as reference from "../../reference/operations.js";
import { deviation, gradientRowwise, rowwise, sample, take } from "./check.js";
import { type BenchRow, gradientsOf } from "./row.js";
import { CROPS, TOKENS, type VitSize } from "./shapes.js";

/** Returns the rows for the global crops of `batch` images. */
export function blockRows(batch: number, { dim, heads, hidden }: VitSize): BenchRow[] {
  const sequences = CROPS.global * batch;
  const tokens = sequences * TOKENS.global;
  const gated = (2 * hidden) / 3; // as many weights as an MLP of `hidden`
  return [
    rotationRow(sequences, dim, heads),
    {
      name: "swiglu",
      inputs: [[tokens, 2 * gated]],
      build: (x) => [packedSwiglu(x)],
      bytes: 4 * 3 * tokens * gated,
      check: rowwise((x) => blocks.swiglu(reference.slice(1, 0, gated)(x), reference.slice(1, gated, gated)(x))),
    },
    {
      name: "scale of columns",
      inputs: [[tokens, dim], [dim]],
      build: (x, factors) => [scaleColumns(x, factors)],
      bytes: 4 * 2 * tokens * dim,
      check: rowwise(reference.mul),
    },
    {
      name: "scale of columns backward",
      inputs: [[tokens, dim], [dim], [tokens, dim]],
      build: (x, factors, dy) => gradientsOf(scaleColumns(x, factors), dy, [x, factors]),
      kernels: /^scale-columns-backward|^add-parts/,
      bytes: 4 * 3 * tokens * dim,
      check: gradientRowwise(reference.mul),
      tolerance: 1e-4,
    },
    partRow(sequences, dim),
  ];
}

/** Turns queries and keys of the patches. */
function rotationRow(sequences: number, dim: number, heads: number): BenchRow {
  const patches = TOKENS.global - 1;
  const pairs = dim / heads / 2;
  const angles = reference.values([patches, pairs], (i) => i % 7);
  return {
    name: "rotary positions",
    inputs: [[sequences, TOKENS.global, 3 * dim]],
    build: (qkv) => {
      const table = (of: (angle: number) => number) => constant(angles.shape, angles.data.map(of));
      return [rotate(qkv, heads, { cosines: table(Math.cos), sines: table(Math.sin) })];
    },
    bytes: 4 * 2 * sequences * TOKENS.global * 3 * dim,
    check: rowwise(blocks.rotate(heads, angles), 1),
  };
}

/** Takes half of a batch, and adds it back. */
function partRow(sequences: number, dim: number): BenchRow {
  const count = sequences / 2;
  const order = Array.from({ length: sequences }, (_, i) => sequences - 1 - i);
  return {
    name: "part of a batch",
    inputs: [[sequences, TOKENS.global, dim]],
    build: (x) => {
      const given = constant([sequences], order, { dtype: "u32" });
      return [addToSamples(x, takeSamples(x, given, count), given, 2)];
    },
    bytes: 4 * (3 * count + 2 * sequences) * TOKENS.global * dim, // to take the part, to add it, and the whole
    check: ([x], result) => {
      const at = sample(sequences);
      const expected = at.map((i) => (i < sequences - count ? 1 : 3)); // the part is the last half
      const perSample = TOKENS.global * dim;
      const whole = take(x!, at);
      return deviation(
        take(result, at),
        reference.values(whole.shape, (i) => expected[Math.floor(i / perSample)]! * whole.data[i]!),
      );
    },
  };
}
