/**
 * The order in which thumbnails appear on the map as one comes nearer. On level L the map is a grid of 8 x 2^L cells a side, and
 * in every cell that shows no image yet, the one nearest its middle appears.
 */

export interface PictureLevels {
  /** The level from which on each row has a thumbnail, [rows]. */
  readonly levels: Uint8Array;
  /** All rows by level, and within a level by their part of the map: thumbnails are fetched in groups of this order. */
  readonly order: Int32Array;
}

/** Cells along a side on level 0. */
export const FIRST_CELLS = 8;
/** The last level shows all images. */
const LAST_LEVEL = 15;

/** The square that holds all places. */
export interface Square {
  readonly left: number;
  readonly top: number;
  readonly side: number;
}

export function squareOf(places: Float32Array): Square {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < places.length; i += 2) {
    left = Math.min(left, places[i]!);
    right = Math.max(right, places[i]!);
    top = Math.min(top, places[i + 1]!);
    bottom = Math.max(bottom, places[i + 1]!);
  }
  const side = Math.max(right - left, bottom - top) || 1;
  return { left: (left + right - side) / 2, top: (top + bottom - side) / 2, side };
}

/** Computes levels and order of places [rows, 2]. */
export function pictureLevels(places: Float32Array): PictureLevels {
  const rows = places.length / 2;
  const { left, top, side } = squareOf(places);
  const levels = new Uint8Array(rows).fill(LAST_LEVEL);
  let waiting = Int32Array.from({ length: rows }, (_, row) => row);
  for (let level = 0; level < LAST_LEVEL && waiting.length > 0; level++) {
    const cells = FIRST_CELLS * 2 ** level;
    const along = (value: number) => Math.min(cells - 1, Math.max(0, Math.floor(value * cells)));
    const cellOf = (row: number) =>
      along((places[2 * row + 1]! - top) / side) * cells + along((places[2 * row]! - left) / side);
    const offMiddle = (row: number, cell: number) => {
      const x = ((places[2 * row]! - left) / side) * cells - ((cell % cells) + 0.5);
      const y = ((places[2 * row + 1]! - top) / side) * cells - (Math.floor(cell / cells) + 0.5);
      return x * x + y * y;
    };
    const taken = new Set<number>();
    for (let row = 0; row < rows; row++) if (levels[row]! < level) taken.add(cellOf(row));
    const chosen = new Map<number, { readonly row: number; readonly off: number }>();
    for (const row of waiting) {
      const cell = cellOf(row);
      if (taken.has(cell)) continue;
      const off = offMiddle(row, cell);
      if (off < (chosen.get(cell)?.off ?? Infinity)) chosen.set(cell, { row, off });
    }
    for (const { row } of chosen.values()) levels[row] = level;
    waiting = waiting.filter((row) => levels[row] === LAST_LEVEL);
  }
  const curve = Float64Array.from({ length: rows }, (_, row) =>
    interleaved((places[2 * row]! - left) / side, (places[2 * row + 1]! - top) / side),
  );
  const order = Int32Array.from({ length: rows }, (_, row) => row).sort(
    (a, b) => levels[a]! - levels[b]! || curve[a]! - curve[b]! || a - b,
  );
  return { levels, order };
}

/** Position on a Z-order curve of a point in the unit square, 12 bits an axis. */
function interleaved(x: number, y: number): number {
  const [i, j] = [Math.floor(x * 4095), Math.floor(y * 4095)];
  let code = 0;
  for (let bit = 11; bit >= 0; bit--) code = 4 * code + 2 * ((j >> bit) & 1) + ((i >> bit) & 1);
  return code;
}
