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
 * What the loss is multiplied by so that gradients in f16 do not vanish; the GPU settles it from step to step, as
 * torch.cuda.amp.GradScaler does (Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740).
 */
export interface LossScale extends Disposable {
  /** The gradient to begin with, instead of 1: []. */
  readonly scale: Tensor;
  /** The scale, and the good steps since it last changed: [2]; what resuming needs. */
  readonly state: Input;
  /** Good steps after which it doubles. */
  readonly growEvery: number;
}

/** A loss scale at its start. */
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
 * Judges a step by sums over its gradients, and settles the scale of the next one:
 * sums [...], frozen [] -> [frozen, 1 where the step is to be skipped, 1 / scale].
 */
export function settle({ state, growEvery }: LossScale, sums: Tensor, frozen: Tensor): Tensor {
  const verdict = transient([3]);
  settling({ sums, frozen, verdict, state }, { GROW_EVERY: growEvery }, grid(1));
  return verdict;
}
