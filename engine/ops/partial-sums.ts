import { grid, kernel } from "../core/kernel.js";
import { constant, type Gradient, type PartialSums, recording, transient } from "../core/recording.js";
import { sizeOf, type Tensor } from "../core/tensor.js";

const adding = kernel("add-parts", { reads: ["items", "parts"], writes: [], updates: ["out"], constants: [] });

/** Partial sums, and where their sum goes. */
export interface Placed {
  readonly sums: PartialSums;
  /** Element of `out`; a multiple of four. */
  readonly place: number;
  /** Whether the sum is added to what `out` holds. */
  readonly adds: boolean;
}

/** Columns of an item, the work of one workgroup. */
const ITEM_COLS = 1024;
/** With more parts than this, the threads of a GPU lie over `ROWS` of them at a time, with fewer columns. */
const FEW_PARTS = 16;
const ROWS = 16;
const TALL_COLS = 16;

/** Adds up partial sums whose parts lie in `source`, which `first` refers to, into places of `out`, all in one dispatch. */
export function addUp(source: Tensor, out: Tensor, placed: readonly Placed[]): void {
  const { kernels } = recording("addUp").device;
  const rows = placed.flatMap(({ sums, place, adds }) => {
    const [count, stride] = sums.parts.shape as readonly [number, number];
    const isTall = kernels === "gpu" && count > FEW_PARTS;
    const [size, most] = [sizeOf(sums.shape), isTall ? TALL_COLS : ITEM_COLS];
    return Array.from({ length: Math.ceil(size / most) }, (_, i) => {
      const done = i * most;
      const columns = Math.min(most, size - done);
      return [
        (sums.first + done) / 4,
        stride / 4,
        count,
        columns / 4,
        (place + done) / 4,
        isTall ? ROWS : 1,
        adds ? 1 : 0,
        0,
      ];
    });
  });
  const items = constant([rows.length, 8], rows.flat(), { dtype: "u32", label: "sums to add up" });
  adding({ items, parts: source, out }, {}, grid(rows.length));
}

/** Returns a gradient as a tensor: adds up partial sums. */
export function wholeOf(gradient: Gradient): Tensor {
  if (!("parts" in gradient)) return gradient;
  const { parts, shape, onTape } = gradient;
  const out = transient(shape);
  addUp(parts, out, [{ sums: gradient, place: 0, adds: false }]);
  return onTape ? onTape(out) : out;
}
