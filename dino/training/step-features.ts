/** What the training steps compute from the crops of a batch. */
import {
  koleo,
  l2Normalize,
  meanLeading,
  mul,
  scale,
  slice,
  stopGradient,
  sum,
  add,
  type Tensor,
} from "../../engine/index.js";
import { GLOBAL_CROPS } from "../batches/crop-layout.js";
import { allGatherRows, type Peers } from "./collectives.js";

/** Returns one part of the crops of a batch: [rows, ...] -> [rows / parts, ...]. */
export function partOf(crops: Tensor, part: number, parts: number): Tensor {
  const rows = crops.shape[0]! / parts;
  return parts === 1 ? crops : slice(crops, 0, part * rows, rows);
}

/**
 * Computes the KoLeo loss of the global crops, which are the first rows, per view: features [crops * images, dim] ->
 * []. With peers, each device computes it on the rows of all devices.
 */
export function koleoOf(features: Tensor, globalCrops: number, peers: Peers | undefined): Tensor {
  if (!peers) return koleo(l2Normalize(slice(features, 0, 0, globalCrops)), GLOBAL_CROPS);
  const images = globalCrops / GLOBAL_CROPS;
  const views = Array.from({ length: GLOBAL_CROPS }, (_, view) =>
    koleo(allGatherRows(peers, l2Normalize(slice(features, 0, view * images, images)))),
  );
  return scale(
    views.reduce((before, x) => add(before, x)),
    1 / GLOBAL_CROPS,
  );
}

/** Computes the mean of the unit vectors of the rows, without gradient: [rows, dim] -> [dim]. */
export function direction(features: Tensor): Tensor {
  return meanLeading(l2Normalize(stopGradient(features)), features.shape.slice(1));
}

/** Computes |mean of unit vectors|^2: [dim] -> [], 1 if all are the same. */
export function coherence(mean: Tensor): Tensor {
  return sum(mul(mean, mean));
}
