import { elementGrid, kernel } from "../core/kernel.js";
import { transient } from "../core/recording.js";
import { axes, sizeOf, type Tensor } from "../core/tensor.js";

const packing = kernel("blocks-pack", { reads: ["x"], writes: ["out"], constants: ["ELEMENTS"] });
const summing = kernel("blocks-sum", { reads: ["x"], writes: ["out"], constants: ["PIECES"] });
const unpacking = kernel("blocks-unpack", { reads: ["x"], writes: ["y"], constants: ["ELEMENTS"] });

/** Numbers per block, and u32 words per block; as in `blocks.wgsl`. */
const BLOCK = 64;
const WORDS = 1 + BLOCK / 2;

/**
 * Compresses numbers to half the size, for transfer to other devices: x [elements] -> [pieces, blocks, words] u32, in pieces of
 * equal size and blocks of 64 that share one exponent. The error is at most 5e-4 of a number, or 2^-41 of the largest in its
 * block. Not differentiable.
 */
export function packBlocks(x: Tensor, pieces: number): Tensor {
  const { elements } = axes("packBlocks x", x, "elements");
  const blocks = Math.ceil(elements / BLOCK / pieces);
  const out = transient([pieces, blocks, WORDS], "u32");
  packing({ x, out }, { ELEMENTS: elements }, elementGrid(pieces * blocks));
  return out;
}

/** Sums the pieces of `packBlocks`, in f32: [pieces, blocks, words] -> [blocks, words]. */
export function sumBlocks(x: Tensor): Tensor {
  const { pieces, blocks, words } = axes("sumBlocks x", x, "pieces", "blocks", "words");
  const out = transient([blocks, words], "u32");
  summing({ x, out }, { PIECES: pieces }, elementGrid(blocks));
  return out;
}

/** Decompresses blocks [..., words] into `y` [elements]; a block with a number that is not finite becomes all infinity. */
export function unpackBlocks(x: Tensor, y: Tensor): void {
  const { elements } = axes("unpackBlocks y", y, "elements");
  unpacking({ x, y }, { ELEMENTS: elements }, elementGrid(sizeOf(x.shape) / WORDS));
}
