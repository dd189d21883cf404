/** A row of the bench and its inputs. */
import { rng } from "../../dino/math/random.js";
import type { Device } from "../../engine/core/device.js";
import { gradients, type Shape, sizeOf, type Tensor } from "../../engine/index.js";

/** A tensor on the host. */
export interface HostTensor {
  readonly shape: Shape;
  readonly data: Float32Array;
}

/** One line of the bench: what is built, on which shapes, and the expected result. */
export interface BenchRow {
  readonly name: string;
  readonly inputs: readonly Shape[];
  /** Description of the size; by default the shapes of the inputs. */
  readonly shape?: string;
  /** Records the computation; the first tensor is checked, the others are only kept from being pruned. */
  readonly build: (...inputs: Tensor[]) => readonly [Tensor, ...Tensor[]];
  /** The kernels whose time counts; by default all. */
  readonly kernels?: RegExp;
  readonly flops?: number;
  /** Bytes that have to be read or written once. */
  readonly bytes?: number;
  /** Returns the largest deviation from the float64 reference over the largest expected value. */
  readonly check: (inputs: readonly HostTensor[], result: HostTensor) => number;
  /** The maximum that `check` may return; default 1e-5. */
  readonly tolerance?: number;
  /** Present if the row computes in f16, which not every device supports. */
  readonly half?: true;
}

/** A row that owns device memory. */
export interface OwningRow {
  readonly name: string;
  make(device: Device): BenchRow & Disposable;
}

/** Records gradients that all exist, as `build` returns them. */
export function gradientsOf(
  y: Tensor,
  dy: Tensor,
  wrt: readonly [Tensor, ...Tensor[]],
): readonly [Tensor, ...Tensor[]] {
  return gradients(y, dy, wrt).map((g) => g!) as [Tensor, ...Tensor[]];
}

/** Draws standard normal numbers; they repeat with a prime period, since drawing is slower than the GPU. */
export function numbers(shape: Shape, seed: number): HostTensor {
  const random = rng({ seed, purpose: "bench" });
  const period = 65537;
  const drawn = Float32Array.from({ length: Math.min(sizeOf(shape), period) }, () => random.normal());
  const data = new Float32Array(sizeOf(shape));
  for (let start = 0; start < data.length; start += period) {
    data.set(drawn.subarray(0, Math.min(period, data.length - start)), start);
  }
  return { shape, data };
}
