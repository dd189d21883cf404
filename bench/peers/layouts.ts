/** Conversions between the memory layouts of engines. */
import type { HostTensor } from "../steps/row.js";

/** Transposes a matrix: [rows, cols] -> [cols, rows]. */
export function transpose({ shape, data }: HostTensor): HostTensor {
  const [rows, cols] = shape as readonly [number, number];
  return { shape: [cols, rows], data: data.map((_, i) => data[(i % rows) * cols + Math.floor(i / rows)]!) };
}

/** Swaps heads and tokens: [batch, m, n, d] -> [batch, n, m, d]. */
export function swapMiddle({ shape, data }: HostTensor): HostTensor {
  const [batch, m, n, d] = shape as readonly [number, number, number, number];
  const swapped = new Float32Array(data.length);
  for (let i = 0; i < batch * n * m; i++) {
    const from = (Math.floor(i / (n * m)) * m + (i % m)) * n + (Math.floor(i / m) % n);
    swapped.set(data.subarray(from * d, (from + 1) * d), i * d);
  }
  return { shape: [batch, n, m, d], data: swapped };
}

/** Packs queries, keys and values of [batch, heads, tokens, headDim] each into [batch, tokens, 3 * heads * headDim]. */
export function packHeads(...qkv: readonly [HostTensor, HostTensor, HostTensor]): HostTensor {
  const [batch, heads, tokens, headDim] = qkv[0].shape as readonly [number, number, number, number];
  const dim = heads * headDim;
  const data = new Float32Array(batch * tokens * 3 * dim);
  qkv.map(swapMiddle).forEach((part, which) => {
    for (let token = 0; token < batch * tokens; token++)
      data.set(part.data.subarray(token * dim, (token + 1) * dim), (3 * token + which) * dim);
  });
  return { shape: [batch, tokens, 3 * dim], data };
}
