import { elementGrid, kernel } from "../core/kernel.js";
import { transient } from "../core/recording.js";
import { axes, sizeOf, type Tensor } from "../core/tensor.js";

const packing = kernel("blocks-pack", { reads: ["x"], writes: ["out"], constants: ["ELEMENTS"] });
const summing = kernel("blocks-sum", { reads: ["x"], writes: ["out"], constants: ["PIECES"] });
const unpacking = kernel("blocks-unpack", { reads: ["x"], writes: ["y"], constants: ["ELEMENTS"] });

/** Numbers of a block, and the words of u32 that it takes; as in `blocks.wgsl`. */
const BLOCK = 64;
const WORDS = 1 + BLOCK / 2;

/**
 * Numbers in half the size, for the way to other devices: x [elements] -> [pieces, blocks, words] u32, pieces of the same size, in
 * blocks of 64 that share one exponent. At most 5e-4 of a number is lost, or 2^-41 of the largest of its block. Not differentiable.
 */
export function packBlocks(x: Tensor, pieces: number): Tensor {
  const { elements } = axes("packBlocks x", x, "elements");
  const blocks = Math.ceil(elements / BLOCK / pieces);
  const out = transient([pieces, blocks, WORDS], "u32");
  packing({ x, out }, { ELEMENTS: elements }, elementGrid(pieces * blocks));
  return out;
}

/** The sum of pieces of `packBlocks`, added up in f32: [pieces, blocks, words] -> [blocks, words]. */
export function sumBlocks(x: Tensor): Tensor {
  const { pieces, blocks, words } = axes("sumBlocks x", x, "pieces", "blocks", "words");
  const out = transient([blocks, words], "u32");
  summing({ x, out }, { PIECES: pieces }, elementGrid(blocks));
  return out;
}

/** Writes what is in blocks [..., words] into `y` [elements]; infinity throughout a block that had a number that is not finite. */
export function unpackBlocks(x: Tensor, y: Tensor): void {
  const { elements } = axes("unpackBlocks y", y, "elements");
  unpacking({ x, y }, { ELEMENTS: elements }, elementGrid(sizeOf(x.shape) / WORDS));
}
