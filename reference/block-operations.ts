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
