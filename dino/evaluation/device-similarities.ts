/** Similarities of features, computed on a device. */
import { type Device, input, matmul, type Program, record } from "../../engine/index.js";
import type { FeatureRows, Similarities } from "../math/feature-rows.js";

/** Similarities computed on a device, for knnClassify. Dispose of it to free its memory. */
export interface DeviceSimilarities extends Disposable {
  readonly similarities: Similarities;
}

/** Uploads train features to a device, split into parts that fit one binding, to multiply test rows with them. */
export function similaritiesOn(device: Device, train: FeatureRows): DeviceSimilarities {
  const { values, rows, dim } = train;
  const most = Math.max(1, Math.floor(device.limits.maxStorageBufferBindingSize / (4 * dim)));
  const starts = Array.from({ length: Math.ceil(rows / most) }, (_, i) => i * most);
  const parts = starts.map((start) => {
    const end = Math.min(start + most, rows);
    const part = input(device, [end - start, dim], { label: "train features" });
    part.write(values.subarray(start * dim, end * dim));
    return { start, rows: end - start, part };
  });
  let opened: Promise<Opened> | undefined;

  /** Records programs for blocks of `blockRows` rows, the size of the first block; smaller blocks are padded. */
  const open = async (blockRows: number): Promise<Opened> => {
    const block = input(device, [blockRows, dim], { label: "test features" });
    const programs: Opened["programs"][number][] = [];
    for (const { part } of parts) {
      programs.push(await record(device, () => ({ products: matmul(block, part, { b: true }) }))); // [block, part rows]
    }
    return { block, blockRows, programs };
  };

  const similarities: Similarities = async (block, others) => {
    if (others !== train) throw new Error("similaritiesOn: expected the train features that it was made for");
    opened ??= open(block.rows);
    const { block: uploaded, blockRows, programs } = await opened;
    if (block.rows > blockRows)
      throw new Error(`similaritiesOn: expected at most ${blockRows} rows, got ${block.rows}`);
    const padded = new Float32Array(blockRows * dim);
    padded.set(block.values);
    uploaded.write(padded);
    const out = new Float32Array(block.rows * rows);
    for (const [i, program] of programs.entries()) {
      const { start, rows: partRows } = parts[i]!;
      await program.run();
      const products = await program.read("products");
      for (let r = 0; r < block.rows; r++) {
        out.set(products.subarray(r * partRows, (r + 1) * partRows), r * rows + start);
      }
    }
    return out;
  };

  return {
    similarities,
    [Symbol.dispose]() {
      for (const { part } of parts) part[Symbol.dispose]();
      void opened?.then(({ block, programs }) => {
        block[Symbol.dispose]();
        for (const program of programs) program[Symbol.dispose]();
      });
    },
  };
}

interface Opened {
  readonly block: ReturnType<typeof input>;
  readonly blockRows: number;
  readonly programs: readonly Program<"products">[];
}
