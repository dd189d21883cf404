/**
 * Tensors, differentiation and execution: what a program built on the engine may import. `engine/node` opens a device under Node,
 * `createDevice` one in a browser.
 * @module dino-webgpu/engine
 */
export { withChoices } from "./choices.js";
export type { Choices } from "./device.js";
export {
  type AdapterKind,
  createDevice,
  type Device,
  DeviceLostError,
  type DeviceOptions,
  HungDeviceError,
  isCausedBy,
  type KernelSet,
  OutOfMemoryError,
} from "./device.js";
export { type GradientOptions, gradients, type Gradients, parameterGradients } from "./gradients.js";
export { lossScale, type LossScale } from "./loss-scale.js";
export { download, input, type Input, scalars, type Scalars, upload } from "./memory.js";
export {
  adamw,
  type AdamWOptions,
  ema,
  lars,
  type LarsOptions,
  type Optimizer,
  type OptimizerOptions,
  sgd,
  type SgdOptions,
  type StepSettings,
} from "./optimizer.js";
export { onPaper, type Paper } from "./paper.js";
export { createParams, type Layout, type LayoutEntry, layoutOf, type Params, type ParamSpec } from "./params.js";
export { evaluate, type Program, record } from "./program.js";
export type { NonFinite } from "./nonfinite.js";
export { byKernel, chromeTrace, type KernelTime, type Span } from "./profile.js";
export { onHost } from "./crossing.js";
export { recompute } from "./recompute.js";
export { type Declaration, elementGrid, grid, kernel } from "./kernel.js";
export type { Grid } from "./recording.js";
export {
  type Backward,
  constant,
  type Decision,
  differentiable,
  type HostWork,
  reshape,
  stopGradient,
  transient,
} from "./recording.js";
export {
  type DType,
  type HostDType,
  type Precision,
  rowsOf,
  type Shape,
  sizeOf,
  type Storage,
  type Tensor,
} from "./tensor.js";
export {
  encodeSafetensors,
  parseSafetensors,
  safetensorsHeader,
  safetensorsHeaderBytes,
  safetensorsMetadata,
  type SafeDtype,
  type SafeEntry,
  type SafeHeader,
  type SafeTensor,
} from "./safetensors.js";

export { add } from "./ops/add.js";
export { attention, attentionProbabilities } from "./ops/attention.js";
export {
  type Across,
  batchNorm,
  type BatchNormOptions,
  batchNormRunning,
  type RunningStatistics,
} from "./ops/batchnorm.js";
export { packBlocks, sumBlocks, unpackBlocks } from "./ops/blocks.js";
export { cast } from "./ops/cast.js";
export { concat, slice } from "./ops/concat.js";
export { crossEntropy, labelRank } from "./ops/cross-entropy.js";
export { distillation, type Distillation, type DistillationOptions, updateCenter } from "./ops/distillation.js";
export { dropPath } from "./ops/drop-path.js";
export { copy, fill } from "./ops/fill.js";
export { gelu } from "./ops/gelu.js";
export { koleo } from "./ops/koleo.js";
export { gem, type GemOptions } from "./ops/gem.js";
export { largest } from "./ops/largest.js";
export { layernorm, type LayernormOptions } from "./ops/layernorm.js";
export type { Logits, Projection } from "./ops/logits.js";
export { logSoftmax } from "./ops/log-softmax.js";
export { linear, matmul, type Transposed } from "./ops/matmul.js";
export { mul } from "./ops/mul.js";
export { scale } from "./ops/scale.js";
export { l2Normalize, scaleRows, weightNorm } from "./ops/normalize.js";
export { patches } from "./ops/patches.js";
export { type GridSize, resizeGrid } from "./ops/resize-grid.js";
export { softmax } from "./ops/softmax.js";
export type { Centering, Sinkhorn } from "./ops/targets.js";
export { mean, meanLeading, repeat, sum, sumLeading } from "./ops/sum.js";
