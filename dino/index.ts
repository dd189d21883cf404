/** What a program may import that trains networks and looks at images with them, under Node; the engine is `dino-webgpu/engine`. */
export type { Device } from "../engine/index.js";
export { openDevice } from "../engine/node.js";
export type { Config, PartialConfig } from "./config.js";
export type { KnnReport } from "./evaluate.js";
export type { Model, Which } from "./features.js";
export { type DecodeFailure, type ImageSet, listedImages, memoryImages, openImages } from "./images.js";
export { dotProducts, type FeatureRows, type KnnResult, normalizeRows } from "./knn.js";
export {
  type AttentionMaps,
  attentionMaps,
  embed,
  type Embedded,
  type Images,
  knn,
  type KnnMeasure,
  loadModel,
  type LoadOptions,
  type LookOptions,
  train,
  type TrainingOptions,
} from "./library.js";
export type { Image, Size } from "./pixels.js";
export { nearest, type Neighbor } from "./retrieval/nearest.js";
export { readImage } from "./subjects.js";
