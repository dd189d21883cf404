/** Devices that share each batch, and how their numbers meet in the middle of a step. */
import {
  copy,
  differentiable,
  type Gradients,
  type HostWork,
  layoutOf,
  onHost,
  packBlocks,
  rowsOf,
  slice,
  stopGradient,
  sumBlocks,
  type Tensor,
  transient,
  unpackBlocks,
} from "../../engine/index.js";

/** This device among those that share each batch; all record the same step, and their numbers meet in the order noted. */
export interface Peers {
  readonly rank: number;
  readonly size: number;
  /** The sum over all of them, the same at each. */
  readonly sum: HostWork;
  /** What each has, one after another. */
  readonly allGather: HostWork;
  /** One piece for each of them, in return for those that they have for this one. */
  readonly allToAll: HostWork;
}

/** The sum over all devices: [...] -> [...]. No gradient flows. */
export function allReduce({ sum }: Peers, x: Tensor): Tensor {
  const total = transient(x.shape);
  onHost(x, total, sum);
  return total;
}

/** The sums of several tensors over all devices, in one exchange. No gradient flows. */
export function allReduceTogether<Names extends string>(
  peers: Peers,
  tensors: Readonly<Record<Names, Tensor>>,
): Record<Names, Tensor> {
  const names = Object.keys(tensors) as Names[];
  const layout = layoutOf(names.map((name) => ({ name, shape: tensors[name].shape, trainable: false })));
  const all = transient([layout.size]);
  const partOf = ({ offset, size, shape }: (typeof layout.entries)[number]) => ({
    ...rowsOf(all, offset, size),
    shape,
  });
  layout.entries.forEach((entry, i) => copy(tensors[names[i]!], partOf(entry)));
  onHost(all, all, peers.sum);
  return Object.fromEntries(layout.entries.map((entry, i) => [names[i]!, partOf(entry)])) as Record<Names, Tensor>;
}

/** What all devices have, in the order of ranks: [...] -> [devices, ...]. No gradient flows. */
export function allGather(peers: Peers, x: Tensor): Tensor {
  const all = transient([peers.size, ...x.shape]);
  onHost(x, all, peers.allGather);
  return all;
}

/**
 * The rows of all devices, in the order of ranks, for a loss that each computes of all of them: [rows, cols] -> [devices * rows,
 * cols]. Each takes the gradient of its own rows, so that the sum over all devices is that of the loss, counted once.
 */
export function allGatherRows(peers: Peers, x: Tensor): Tensor {
  const [rows, cols] = [x.shape[0]!, x.shape[1]!];
  const all: Tensor = { ...allGather(peers, stopGradient(x)), shape: [peers.size * rows, cols] };
  return differentiable(all, [x], (dAll) => [slice(dAll, 0, peers.rank * rows, rows)]);
}

/** Bytes of gradients that meet at a time: the first of them do while the rest of the backward still runs. */
const PART_BYTES = 2 ** 24;

/**
 * In place, the sum of the gradients over all devices, part by part, those of the last layers first as the backward makes them.
 * `compress` sends half the bytes: each device adds up one piece of all, which it then gives to the others.
 */
export function allReduceGradients(
  peers: Peers,
  { flat, layout }: Gradients,
  { compress }: { readonly compress: boolean },
): void {
  const each = PART_BYTES / 4;
  const parts = Array.from({ length: Math.ceil(layout.size / each) }, (_, i) => {
    const end = layout.size - i * each;
    const start = Math.max(0, end - each);
    return rowsOf(flat, start, end - start);
  });
  if (!compress) {
    for (const part of parts) onHost(part, part, peers.sum);
    return;
  }
  const sums = parts.map((part) => {
    const packed = packBlocks(part, peers.size);
    const pieces = transient(packed.shape, "u32");
    onHost(packed, pieces, peers.allToAll);
    return sumBlocks(pieces);
  });
  sums.forEach((sum, i) => {
    const all = transient([peers.size, ...sum.shape], "u32");
    onHost(sum, all, peers.allGather);
    unpackBlocks(all, parts[i]!);
  });
}
