/** Float64 forwards of the operations that DINOv2 and DINOv3 add to the blocks of a ViT. */
import { type Values, values } from "./operations.js";

/**
 * Rotary position embedding of the last tokens: qkv [batch, tokens, 3 * dim], angles [patches, headDim / 2] -> the same. Each pair of a
 * head, a complex number of element i and i + headDim / 2, is multiplied by exp(angle * sqrt(-1)) in queries and keys.
 */
export const rotate =
  (heads: number, angles: Values) =>
  (qkv: Values): Values => {
    const [, tokens, width] = qkv.shape as [number, number, number];
    const [patches, pairs] = angles.shape as [number, number];
    return values(qkv.shape, (i) => {
      const column = i % width;
      const patch = (Math.floor(i / width) % tokens) - (tokens - patches);
      if (patch < 0 || column >= 2 * pairs * 2 * heads) return qkv.data[i]!;
      const element = column % (2 * pairs);
      const angle = angles.data[patch * pairs + (element % pairs)]!;
      return element < pairs
        ? qkv.data[i]! * Math.cos(angle) - qkv.data[i + pairs]! * Math.sin(angle)
        : qkv.data[i]! * Math.cos(angle) + qkv.data[i - pairs]! * Math.sin(angle);
    });
  };

export const swiglu = (gate: Values, value: Values): Values =>
  values(gate.shape, (i) => (gate.data[i]! / (1 + Math.exp(-gate.data[i]!))) * value.data[i]!);

/** Rows [..., cols] where the mask [...] is not 0 give way to one row [cols]. */
export const replaceRows = (x: Values, mask: Values, row: Values): Values => {
  const cols = row.data.length;
  return values(x.shape, (i) => (mask.data[Math.floor(i / cols)] !== 0 ? row.data[i % cols]! : x.data[i]!));
};

/** Cubic convolution with coefficient a: Keys 1981, eq. 4, by its two halves. */
const keys = (a: number, s: number): number => {
  if (s < 1) return (a + 2) * s ** 3 - (a + 3) * s ** 2 + 1;
  return s < 2 ? a * (s ** 3 - 5 * s ** 2 + 8 * s - 4) : 0;
};

/**
 * A grid [rows * cols, dim] resampled to another, of sizes [rows, cols]: each cell is a mean of all source cells. Without antialias, the
 * border repeats for ever; with it, nothing lies beyond, and weights are divided by their sum.
 */
export const resizeGrid =
  (from: readonly [number, number], to: readonly [number, number], antialias: boolean) =>
  (x: Values): Values => {
    const weight = (axis: 0 | 1, target: number, source: number): number => {
      const ratio = from[axis] / to[axis];
      const center = (target + 0.5) * ratio - 0.5;
      if (!antialias) {
        let sum = 0; // over all cells that repeat this one
        for (let i = -3; i < from[axis] + 3; i++)
          if (Math.min(Math.max(i, 0), from[axis] - 1) === source) sum += keys(-0.75, Math.abs(i - center));
        return sum;
      }
      const at = (i: number) => keys(-0.5, Math.abs(i - center) / Math.max(ratio, 1));
      let total = 0;
      for (let i = 0; i < from[axis]; i++) total += at(i);
      return at(source) / total;
    };
    const dim = x.shape[1]!;
    return values([to[0] * to[1], dim], (i) => {
      const cell = Math.floor(i / dim);
      let sum = 0;
      for (let row = 0; row < from[0]; row++)
        for (let col = 0; col < from[1]; col++)
          sum +=
            weight(0, Math.floor(cell / to[1]), row) *
            weight(1, cell % to[1], col) *
            x.data[(row * from[1] + col) * dim + (i % dim)]!;
      return sum;
    });
  };

/** The samples [batch, ...] of the given numbers, in this order. */
export const takeSamples =
  (kept: readonly number[]) =>
  (x: Values): Values => {
    const size = x.data.length / x.shape[0]!;
    return values(x.shape.with(0, kept.length), (i) => x.data[kept[Math.floor(i / size)]! * size + (i % size)]!);
  };

/** x [batch, ...], and factor times a branch [kept, ...] on the samples of the given numbers. */
export const addToSamples =
  (kept: readonly number[], factor: number) =>
  (x: Values, branch: Values): Values => {
    const size = x.data.length / x.shape[0]!;
    return values(x.shape, (i) => {
      const j = kept.indexOf(Math.floor(i / size));
      return x.data[i]! + (j < 0 ? 0 : factor * branch.data[j * size + (i % size)]!);
    });
  };
