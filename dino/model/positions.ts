import {
  concat,
  constant,
  type GridSize,
  reshape,
  resizeGrid,
  type Rotation,
  slice,
  type Tensor,
} from "../../engine/index.js";
import type { LearnedPositions, RotaryPositions, VitConfig } from "./vit-config.js";

/** Returns the number of whole patches of an image. Throws if it holds none. */
export function patchGrid(config: VitConfig, imageRows: number, imageCols: number): GridSize {
  const rows = Math.floor(imageRows / config.patch);
  const cols = Math.floor(imageCols / config.patch);
  if (rows < 1 || cols < 1)
    throw new Error(`vit: an image of ${imageRows} x ${imageCols} holds no whole patch of ${config.patch}`);
  return { rows, cols };
}

/** Positions of DINO, the default. */
export const learnedPositions: LearnedPositions = { kind: "learned", offset: 0.1, antialias: false };

/**
 * Returns the position embedding of an image of rows x cols pixels: [1, 1 + base patches, dim] -> [1 + patches, dim].
 * Other grids than the one of the embedding are resampled bicubically, by the rule of `positions`. The official code skips
 * this only for square images of the same patch count; this code also skips it for the training size.
 */
export function positionEmbedding(config: VitConfig, embedding: Tensor, imageRows: number, imageCols: number): Tensor {
  const { positions = learnedPositions } = config;
  if (positions.kind !== "learned") throw new Error("vit: rotary positions have no embedding");
  const [, tokens, dim] = embedding.shape as readonly [number, number, number];
  const flat = reshape(embedding, [tokens, dim]);
  const base = patchGrid(config, config.imageRows, config.imageCols);
  const wanted = patchGrid(config, imageRows, imageCols);
  const sameGrid = wanted.rows === base.rows && wanted.cols === base.cols;
  const trainingSize = imageRows === config.imageRows && imageCols === config.imageCols;
  if (sameGrid && (imageRows === imageCols || trainingSize)) return flat;
  const { offset, antialias } = positions;
  const scale = { rows: (wanted.rows + offset) / base.rows, cols: (wanted.cols + offset) / base.cols };
  const resized = resizeGrid(slice(flat, 0, 1, tokens - 1), base, wanted, { scale, antialias });
  return concat([slice(flat, 0, 0, 1), resized], 0);
}

/** A change of all coordinates, which training draws: the shift is added, then the factor multiplies; [rows, cols]. */
export interface CoordinateChange {
  readonly shift: readonly [number, number];
  readonly factor: readonly [number, number];
}

/** Returns the periods of rotary positions, one for four channels of a head: [headDim / 4]. */
export function rotaryPeriods({ periods }: RotaryPositions, headDim: number): Float64Array {
  const count = headDim / 4;
  if (!Number.isInteger(count)) throw new Error(`vit: rotary positions need heads of whole fours, got ${headDim}`);
  if ("base" in periods) return Float64Array.from({ length: count }, (_, j) => periods.base ** (j / count));
  const { min, max } = periods;
  return Float64Array.from({ length: count }, (_, j) => min * (max / min) ** (j / Math.max(count - 1, 1)));
}

/**
 * Returns the angles by which patches turn the pairs of a head, those of rows before those of columns:
 * [patches * headDim / 2].
 */
export function rotaryAngles(
  positions: RotaryPositions,
  headDim: number,
  { rows, cols }: GridSize,
  { shift, factor }: CoordinateChange = { shift: [0, 0], factor: [1, 1] },
): Float64Array {
  const periods = rotaryPeriods(positions, headDim);
  const { normalize } = positions;
  const [down, across] = normalize === "separate" ? [rows, cols] : Array<number>(2).fill(Math[normalize](rows, cols));
  const angles = new Float64Array(rows * cols * 2 * periods.length);
  for (let patch = 0; patch < rows * cols; patch++) {
    const ends = [(Math.floor(patch / cols) + 0.5) / down!, ((patch % cols) + 0.5) / across!];
    ends.forEach((end, axis) => {
      const coordinate = (2 * end - 1 + shift[axis]!) * factor[axis]!;
      const start = (2 * patch + axis) * periods.length;
      periods.forEach((period, j) => (angles[start + j] = (2 * Math.PI * coordinate) / period));
    });
  }
  return angles;
}

/** Returns the rotation of queries and keys for images of rows x cols pixels; undefined with learned positions. */
export function rotationOf(config: VitConfig, imageRows: number, imageCols: number): Rotation | undefined {
  const { positions = learnedPositions, dim, heads } = config;
  if (positions.kind === "learned") return undefined;
  const grid = patchGrid(config, imageRows, imageCols);
  const angles = rotaryAngles(positions, dim / heads, grid);
  const shape = [grid.rows * grid.cols, dim / heads / 2];
  return {
    cosines: constant(shape, angles.map(Math.cos), { label: "cosines of positions" }),
    sines: constant(shape, angles.map(Math.sin), { label: "sines of positions" }),
  };
}
