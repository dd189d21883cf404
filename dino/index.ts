/**
 * The Node API: training networks, computing features and attention of images with them, and exploring images.
 *
 * @module dino-webgpu
 */
export type { Choice } from "./config/auto.js";
export type { Device } from "../engine/index.js";
export { openDevice } from "../engine/adapters/node.js";
export type { Config, PartialConfig, SettingName } from "./config/settings.js";
export type { KnnReport } from "./evaluation/evaluate.js";
export type { Model, Which } from "./model/backbone.js";
export { listedImages, openImages, type OpenOptions } from "./images/sources/folder-images.js";
export type { LeftOut } from "./images/sources/folder-list.js";
export type { DecodeFailure } from "./images/image-location.js";
export { type ImageSet, memoryImages, type MixturePart } from "./images/image-set.js";
export { type KnnResult } from "./evaluation/knn.js";
export { type FeatureRows, normalizeRows } from "./math/feature-rows.js";
export type { FindNearest, NeighborRows } from "./math/nearest-rows.js";
export {
  type AttentionMaps,
  attentionMaps,
  embed,
  type Embedded,
  type EmbeddedPatches,
  embedPatches,
  type Images,
  knn,
  type KnnMeasure,
  loadModel,
  type LoadOptions,
  type LookOptions,
  type PatchOptions,
  train,
  type TrainingOptions,
} from "./library.js";
export {
  type Audit,
  auditLabels,
  type Classified,
  classifyImages,
  clusterImages,
  type ClusterOptions,
  type DoubtfulImage,
  findOutliers,
  type ImageGroup,
  type ImageGroups,
  type ImageLabels,
  type Outliers,
  type OutlierSearch,
  selectImages,
  type SelectionOptions,
  type VotingSettings,
} from "./library-exploration.js";
export type { Accuracies, EpochLine, EvaluationLine } from "./run/log.js";
export type { KnnAccuracy, LinearAccuracy, OnLooked } from "./evaluation/online-evaluation.js";
export type { Box, Image, Size } from "./images/pixels.js";
export { nearest, type Neighbor } from "./retrieval/nearest.js";
export type { Finished } from "./training/start.js";
export type { Cutting, Reading } from "./images/reading.js";
export { readImage } from "./images/sources/image-files.js";
export type { Progress } from "./training/trainer.js";
export type { LearnedPositions, Lookup, RotaryPositions, VitConfig } from "./model/vit-config.js";
export type { Background, Decoding, ImageLocation, ImagePart, Levels, ShownChannels } from "./images/image-location.js";
