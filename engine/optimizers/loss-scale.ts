import type { Device } from "../core/device.js";
import { grid, kernel } from "../core/kernel.js";
import { input, type Input } from "../core/memory.js";
import { transient } from "../core/recording.js";
import type { Tensor } from "../core/tensor.js";

const settling = kernel("loss-scale", {
  reads: ["sums", "frozen"],
  writes: ["verdict"],
  updates: ["state"],
  constants: ["GROW_EVERY"],
});

/**
 * A factor of the loss that keeps gradients in f16 from vanishing; the GPU adjusts it after each step, as
 * torch.cuda.amp.GradScaler does (Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740).
 */
export interface LossScale extends Disposable {
  /** Gradient of the loss, instead of 1: []. */
  readonly scale: Tensor;
  /** State for resuming: the scale, and the finite steps since its last change, [2]. */
  readonly state: Input;
  /** Finite steps after which the scale doubles. */
  readonly growEvery: number;
}

/** Creates a loss scale at its initial value. */
export function lossScale(
  device: Device,
  { initial = 65536, growEvery = 2000 }: { readonly initial?: number; readonly growEvery?: number } = {},
): LossScale {
  const state = input(device, [2], { label: "loss scale" });
  state.write([initial, 0]);
  const { dtype, storage, offset } = state;
  return {
    scale: { shape: [], dtype, storage, offset },
    state,
    growEvery,
    [Symbol.dispose]: () => state[Symbol.dispose](),
  };
}

/**
 * Decides by sums over the gradients whether to skip a step, and adjusts the scale of the next one:
 * sums [...], frozen [] -> [frozen, 1 if the step is skipped else 0, 1 / scale].
 */
export function settle({ state, growEvery }: LossScale, sums: Tensor, frozen: Tensor): Tensor {
  const verdict = transient([3]);
  settling({ sums, frozen, verdict, state }, { GROW_EVERY: growEvery }, grid(1));
  return verdict;
}
