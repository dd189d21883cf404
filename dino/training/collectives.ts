/** Collective operations inside a step, between devices that share each batch. */
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

/**
 * This device among those that share each batch. All record the same step and run its collectives in the same order.
 */
export interface Peers {
  readonly rank: number;
  readonly size: number;
  /** All-reduce: the sum over all devices, identical on each. */
  readonly sum: HostWork;
  /** All-gather: the values of all devices, in rank order. */
  readonly allGather: HostWork;
  /** All-to-all: sends one piece to each device and receives one from each. */
  readonly allToAll: HostWork;
}

/** Sums a tensor over all devices: [...] -> [...]. No gradient flows. */
export function allReduce({ sum }: Peers, x: Tensor): Tensor {
  const total = transient(x.shape);
  onHost(x, total, sum);
  return total;
}

/** Sums several tensors over all devices in one exchange. No gradient flows. */
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

/** Gathers a tensor from all devices, in rank order: [...] -> [devices, ...]. No gradient flows. */
export function allGather(peers: Peers, x: Tensor): Tensor {
  const all = transient([peers.size, ...x.shape]);
  onHost(x, all, peers.allGather);
  return all;
}

/**
 * Gathers the rows of all devices, in rank order, for a loss that each device computes on all rows: [rows, cols] ->
 * [devices * rows, cols]. Each device takes the gradient of its own rows, so that the sum over all devices is the
 * gradient of the loss, counted once.
 */
export function allGatherRows(peers: Peers, x: Tensor): Tensor {
  const [rows, cols] = [x.shape[0]!, x.shape[1]!];
  const all: Tensor = { ...allGather(peers, stopGradient(x)), shape: [peers.size * rows, cols] };
  return differentiable(all, [x], (dAll) => [slice(dAll, 0, peers.rank * rows, rows)]);
}

/** Bytes of gradients per all-reduce; the first ones overlap with the rest of the backward. */
const PART_BYTES = 2 ** 24;

/**
 * Sums gradients over all devices in place, in parts, those of the last layers first, as the backward computes them.
 * `compress` halves the bytes: each device sums one piece and distributes the result.
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
