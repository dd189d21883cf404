/** Similarities of features, and the nearest of them, computed on a device. */
import { type Device, type Input, input, matmul, MOST_K, record, type TopK, topK } from "../../engine/index.js";
import type { FeatureRows, Similarities } from "../math/feature-rows.js";
import { type FindNearest, nearestIn } from "../math/nearest-rows.js";

/** Comparisons with train features on a device. Dispose of it to free its memory. */
export interface DeviceSimilarities extends Disposable {
  /** Computes all similarities. */
  readonly similarities: Similarities;
  /** Finds the nearest train features, and reads nothing else back. Throws where similarities are no numbers. */
  readonly nearest: FindNearest;
}

/** Maximum number of train features in a part, whose products with 256 rows take 64 MiB. */
const PART_ROWS = 65_536;
/** Maximum number of neighbours that a device finds faster than the host does among all similarities. */
const MOST_NEAREST = { gpu: MOST_K, cpu: 32 };
/** The column that `topK` returns for want of numbers. */
const NONE = 2 ** 32 - 1;

/** Uploads train features to a device, split into parts that fit one binding, to compare test rows with them. */
export function similaritiesOn(device: Device, train: FeatureRows): DeviceSimilarities {
  const { rows, dim } = train;
  const shape: FeatureRows = { values: new Float32Array(), rows, dim };
  const known = new WeakSet([train, shape]); // the values themselves are not kept
  const parts = uploadParts(device, train);
  const products = openBlocks(device, dim, (block) =>
    Promise.all(
      parts.map(({ part }) => record(device, () => ({ products: matmul(block, part, { b: true }) }))), // [block, part]
    ),
  );
  const openLargest = (k: number) =>
    openBlocks(device, dim, async (block) => {
      const program = await record(device, () => {
        let found: TopK | undefined;
        for (const { part } of parts) found = topK(matmul(block, part, { b: true }), k, found);
        return { values: found!.values, columns: found!.columns }; // [block, k]
      });
      return [program];
    });
  const largest = new Map<number, ReturnType<typeof openLargest>>();

  const similarities: Similarities = async (block, others) => {
    if (!known.has(others)) throw new Error("similaritiesOn: expected the train features that it was made for");
    const out = new Float32Array(block.rows * rows);
    for (const [i, program] of (await products.write(block)).entries()) {
      const { start, rows: partRows } = parts[i]!;
      await program.run();
      const values = await program.read("products");
      for (let r = 0; r < block.rows; r++) {
        out.set(values.subarray(r * partRows, (r + 1) * partRows), r * rows + start);
      }
    }
    return out;
  };

  const nearestOfAll = nearestIn(shape, similarities);
  const nearest: FindNearest = async (block, k) => {
    if (k > MOST_NEAREST[device.kernels]) return nearestOfAll(block, k);
    if (!largest.has(k)) largest.set(k, openLargest(k));
    const [program] = await largest.get(k)!.write(block);
    await program!.run();
    const columns = (await program!.readIntegers("columns")).subarray(0, block.rows * k);
    if (columns.includes(NONE)) throw new Error("nearest: expected features of finite numbers; compute them again");
    const values = (await program!.read("values")).subarray(0, block.rows * k);
    return { k, rows: Int32Array.from(columns), similarities: values };
  };

  return {
    similarities,
    nearest,
    [Symbol.dispose]() {
      for (const { part } of parts) part[Symbol.dispose]();
      for (const opened of [products, ...largest.values()]) opened[Symbol.dispose]();
    },
  };
}

function uploadParts(device: Device, { values, rows, dim }: FeatureRows) {
  const most = Math.max(1, Math.min(PART_ROWS, Math.floor(device.limits.maxStorageBufferBindingSize / (4 * dim))));
  const starts = Array.from({ length: Math.ceil(rows / most) }, (_, i) => i * most);
  return starts.map((start) => {
    const end = Math.min(start + most, rows);
    const part = input(device, [end - start, dim], { label: "train features" });
    part.write(values.subarray(start * dim, end * dim));
    return { start, rows: end - start, part };
  });
}

/** Programs that take blocks of rows. */
interface Blocks<Compiled> extends Disposable {
  /** Writes a block for the programs to take. */
  readonly write: (block: FeatureRows) => Promise<readonly Compiled[]>;
}

/** Opens programs for blocks of the size of the first one, and again for a larger one; smaller ones are padded. */
function openBlocks<Compiled extends Disposable>(
  device: Device,
  dim: number,
  compile: (block: Input) => Promise<readonly Compiled[]>,
): Blocks<Compiled> {
  const open = async (blockRows: number) => {
    const block = input(device, [blockRows, dim], { label: "test features" });
    return { block, blockRows, programs: await compile(block) };
  };
  let opening: ReturnType<typeof open> | undefined;
  const close = ({ block, programs }: Awaited<ReturnType<typeof open>>) => {
    for (const owned of [block, ...programs]) owned[Symbol.dispose]();
  };
  return {
    async write({ rows, values }) {
      const opened = await opening;
      if (opened === undefined || rows > opened.blockRows) {
        if (opened) close(opened);
        opening = open(rows);
      }
      const { block, blockRows, programs } = await opening!;
      const padded = new Float32Array(blockRows * dim);
      padded.set(values);
      block.write(padded);
      return programs;
    },
    [Symbol.dispose]() {
      void opening?.then(close);
    },
  };
}
