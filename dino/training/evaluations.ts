/** Evaluation of the teacher during a run. */
import { type Device, DeviceLostError, isCausedBy } from "../../engine/index.js";
import type { Config } from "../config/settings.js";
import { type KnnSplits, knnSplits } from "../evaluation/knn-splits.js";
import { featuresOf, knnOf, linearOf, type Looking, type OnLooked } from "../evaluation/online-evaluation.js";
import type { Splits } from "../images/split.js";
import type { Network } from "../model/network.js";
import type { World } from "../mpi/world.js";
import type { Accuracies } from "../run/log.js";
import { gatherFeatures, sliceOf } from "./shared-state.js";

/** The end of an epoch, or of the run. */
export interface EpochEnd {
  readonly epochsDone: number;
  /** Whether the run ends; all evaluations in use are then due. */
  readonly ends: boolean;
}

/** Returns whether something scheduled every `every` epochs is due; 0 for never. */
export function isDue(every: number, { epochsDone, ends }: EpochEnd): boolean {
  return every > 0 && (epochsDone % every === 0 || ends);
}

export interface EvaluationOptions extends EpochEnd {
  readonly device: Device;
  readonly config: Config;
  readonly splits: Splits;
  readonly world: World;
  /** Images processed by all steps of the run, repetitions included. */
  readonly trainedOn: number;
  readonly onEvaluating: OnLooked;
  readonly onWarning: (words: string) => void;
}

/**
 * Runs the evaluations that are due: k-NN, a linear classifier, both, or none. With several ranks, all extract features
 * and the first evaluates them. If an evaluation fails that the user did not request, it only warns; with several ranks
 * it throws, since the others would wait.
 */
export async function evaluateDue(network: Network, options: EvaluationOptions): Promise<Accuracies> {
  const { config, splits, world, onWarning } = options;
  const linear = isDue(config.linearEvery, options);
  const knn = config.knnEvery === null ? options.ends : isDue(config.knnEvery, options);
  const isRequested = linear || (knn && config.knnEvery !== null);
  if (!linear && !knn) return {};
  const compared = knnSplits(splits, config, options.trainedOn);
  const evaluated = linear ? splits : compared;
  if (!evaluated) return {};
  const areTrainedOn = compared?.areTrainedOn ?? false;
  try {
    return await evaluate(network, { ...options, splits: evaluated, knn, linear, areTrainedOn });
  } catch (error) {
    if (isRequested || world.size > 1 || isCausedBy(error, DeviceLostError)) throw error;
    onWarning(`k-NN could not be measured: ${(error as Error).message}`);
    return {};
  }
}

async function evaluate(
  network: Network,
  options: EvaluationOptions & Pick<KnnSplits, "areTrainedOn"> & { readonly knn: boolean; readonly linear: boolean },
): Promise<Accuracies> {
  const { world, knn, linear } = options;
  const looking: Looking | undefined =
    world.size === 1
      ? undefined
      : { shareOf: (indices) => sliceOf(indices, world), gather: (own) => gatherFeatures(world, own) };
  const features = await featuresOf(network, { ...options, looking, onLooked: options.onEvaluating });
  if (world.rank > 0) return {};
  const ofLinear = linear && { linear: await linearOf(features, options) }; // before k-NN normalizes the features in place
  return { ...(knn && { knn: await knnOf(features, options) }), ...ofLinear };
}
