/** Post-processing of the cls token's attention, as in the official visualisation script. */

/** Averages over heads: [heads, patches] -> [patches]. */
export function meanOfHeads(attention: Float32Array, heads: number): Float32Array {
  const patches = attention.length / heads;
  const mean = new Float32Array(patches);
  for (let i = 0; i < attention.length; i++) mean[i % patches]! += attention[i]! / heads;
  return mean;
}

/** Scales values to the range 0 to 1; all 0 if they are equal. */
export function toUnitRange(values: Float32Array): Float32Array {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return values.map((value) => (high > low ? (value - low) / (high - low) : 0));
}

export interface MaskOptions {
  /** Attention of the cls token, [heads, patches]; see `clsAttention`. */
  readonly attention: Float32Array;
  readonly heads: number;
  /** Share of each head's mass to keep, in (0, 1]: the script's `--threshold`. */
  readonly share: number;
}

/**
 * Returns the fewest patches per head that hold the share of its mass: [heads, patches] -> [heads, patches] of 0 and 1.
 * Values are sorted in ascending order, normalised and cumulated, and kept where the sum exceeds 1 - share. Throws for
 * a share out of range. https://github.com/facebookresearch/dino/blob/main/visualize_attention.py
 */
export function attentionMask({ attention, heads, share }: MaskOptions): Uint8Array {
  if (!(share > 0 && share <= 1)) throw new Error(`attentionMask share: expected above 0 to 1, got ${share}`);
  const patches = attention.length / heads;
  if (!Number.isInteger(patches)) {
    throw new Error(`attentionMask: expected [${heads}, patches], but ${heads} does not divide ${attention.length}`);
  }
  const mask = new Uint8Array(attention.length);
  for (let head = 0; head < heads; head++) {
    const values = attention.subarray(head * patches, (head + 1) * patches);
    const upwards = Array.from(values.keys()).sort((a, b) => values[a]! - values[b]! || a - b);
    const mass = values.reduce((sum, value) => sum + value, 0);
    let cumulated = 0;
    for (const patch of upwards) {
      cumulated += values[patch]! / mass;
      if (cumulated > 1 - share) mask[head * patches + patch] = 1;
    }
  }
  return mask;
}

export interface EnlargeOptions<Values extends Float32Array | Uint8Array> {
  /** Any number of maps, [maps, rows, cols]. */
  readonly maps: Values;
  readonly rows: number;
  readonly cols: number;
  /** Pixels per patch, in both directions. */
  readonly factor: number;
}

/** Enlarges maps by nearest neighbour: [maps, rows, cols] -> [maps, rows * factor, cols * factor]. */
export function enlarge<Values extends Float32Array | Uint8Array>(options: EnlargeOptions<Values>): Values {
  const { maps, rows, cols, factor } = options;
  const height = (maps.length / cols) * factor;
  const width = cols * factor;
  if (!Number.isInteger(maps.length / (rows * cols)) || !Number.isInteger(factor) || factor < 1) {
    throw new Error(
      `blowUp: expected [maps, ${rows}, ${cols}] and a whole factor, got ${maps.length} values, ${factor}`,
    );
  }
  const out = maps instanceof Uint8Array ? new Uint8Array(height * width) : new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    const row = Math.floor(y / factor) * cols;
    for (let x = 0; x < width; x++) out[y * width + x] = maps[row + Math.floor(x / factor)]!;
  }
  return out as Values;
}
