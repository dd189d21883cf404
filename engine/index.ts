/**
 * Tensors, differentiation and execution: the public API of the engine. `engine/node` opens a device under Node,
 * `engine/browser` in a browser.
 * @module dino-webgpu/engine
 */
export { withChoices } from "./core/kernel-choice.js";
export type { Choices } from "./core/device.js";
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
} from "./core/device.js";
export { type GradientOptions, gradients, type Gradients, parameterGradients } from "./gradients/gradients.js";
export { lossScale, type LossScale } from "./optimizers/loss-scale.js";
export { download, input, type Input, scalars, type Scalars, upload } from "./core/memory.js";
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
} from "./optimizers/optimizer.js";
export { dryRun, type DryRun } from "./core/dry-run.js";
export { createParams, type Layout, type LayoutEntry, layoutOf, type Params, type ParamSpec } from "./core/params.js";
export { evaluate, type Program, record, type RecordedDispatch } from "./core/program.js";
export type { NonFinite } from "./core/nonfinite.js";
export { byKernel, chromeTrace, type KernelTime, type Span } from "./core/profile.js";
export { onHost } from "./core/host-callback.js";
export { recompute } from "./gradients/recompute.js";
export { type Declaration, elementGrid, grid, kernel } from "./core/kernel.js";
export type { Grid } from "./core/recording.js";
export {
  type Backward,
  constant,
  type Decision,
  differentiable,
  type Gradient,
  type HostWork,
  type PartialSums,
  reshape,
  stopGradient,
  transient,
} from "./core/recording.js";
export {
  type DType,
  type HostDType,
  type Precision,
  rowsOf,
  type Shape,
  sizeOf,
  type Storage,
  type Tensor,
} from "./core/tensor.js";
export {
  encodeSafetensors,
  parseSafetensors,
  safetensorsHeader,
  safetensorsHeaderBytes,
  safetensorsMetadata,
  type SafeDtype,
  safeDtypeBytes,
  type SafeEntry,
  type SafeHeader,
  type SafeTensor,
} from "./core/safetensors.js";

export { add } from "./ops/add.js";
export { attention, attentionProbabilities } from "./ops/attention.js";
export {
  type Across,
  batchNorm,
  type BatchNormOptions,
  batchNormRunning,
  type RunningStatistics,
} from "./ops/batchnorm.js";
export { packBlocks, sumBlocks, unpackBlocks } from "./ops/gradient-compression.js";
export { cast, halfOfAll } from "./ops/cast.js";
export { concat, firstTokens, fitOneTensor, type Sequences, slice } from "./ops/concat.js";
export { crossEntropy, labelRank } from "./ops/cross-entropy.js";
export { distillation, type Distillation, type DistillationOptions, updateCenter } from "./ops/distillation/loss.js";
export { maskedDistillation, type MaskedDistillation, type MaskedRows } from "./ops/distillation/masked.js";
export { dropPath, type Samples } from "./ops/drop-path.js";
export { copy, fill } from "./ops/fill.js";
export { gelu } from "./ops/gelu.js";
export { koleo } from "./ops/koleo.js";
export { gem, type GemOptions } from "./ops/gem.js";
export { max } from "./ops/largest.js";
export { addLayernorm, layernorm, type LayernormOptions } from "./ops/layernorm.js";
export type { Logits, Projection } from "./ops/distillation/logits.js";
export { logSoftmax } from "./ops/log-softmax.js";
export { linear, matmul, type Transposed } from "./ops/matmul.js";
export { mul } from "./ops/mul.js";
export { scale } from "./ops/scale.js";
export { l2Normalize, scaleRows, weightNorm } from "./ops/normalize.js";
export { patches } from "./ops/patches.js";
export { type GridSize, resizeGrid, type ResizeOptions } from "./ops/resize-grid.js";
export { replaceRows } from "./ops/replace-rows.js";
export { rotate, type RotatedSequences, type Rotation } from "./ops/rotate.js";
export { addToSamples, takeSamples } from "./ops/samples.js";
export { scaleColumns } from "./ops/scale-columns.js";
export { softmax } from "./ops/softmax.js";
export type { Centering, Sinkhorn } from "./ops/distillation/targets.js";
export { packedSwiglu, swiglu } from "./ops/swiglu.js";
export { mean, meanLeading, repeat, sum, sumLeading } from "./ops/sum.js";
export { MOST_K, type TopK, topK } from "./ops/top-k.js";
