/** Classification of all images by the labels of a few. */
import { checkRows } from "./check-rows.js";
import { checkGivenLabels } from "./given-labels.js";
import { linearVotes } from "./linear-head.js";
import { neighborVotes, type VoteOptions } from "./neighbor-votes.js";

/** How labelled images vote for the classes of others. */
export const VOTING = ["linear", "knn"] as const;

/** Options of functions that let labelled images vote. */
export interface VotingOptions extends VoteOptions {
  /** A linear classifier, or the nearest labelled images; default "linear". */
  readonly voting?: (typeof VOTING)[number] | undefined;
}

/** Returns the probability of each class, those of labelled images without their own label: [rows, classes]. */
export async function classVotes({ voting = "linear", ...options }: VotingOptions): Promise<Float64Array> {
  return voting === "knn" ? neighborVotes(options) : linearVotes(options.features, options.given);
}

/** Classes of all images. */
export interface Spread {
  /** The class of each image, as given or the one with the most votes: [rows]. */
  readonly labels: Int32Array;
  /** Share of the votes for this class, 1 for given labels: [rows]. */
  readonly confidence: Float64Array;
  /** Share of the labelled images that the others classify correctly (leave-one-out), 0 to 1. */
  readonly accuracy: number;
}

/** Labels all images by a few labelled ones. Throws as `checkRows` and `checkGivenLabels` do. */
export async function spreadLabels(options: VotingOptions): Promise<Spread> {
  const { features, given } = options;
  checkRows("classify", features);
  checkGivenLabels("classify", given, features.rows);
  const votes = await classVotes(options);
  const { classes } = given;
  const labels = new Int32Array(features.rows);
  const confidence = new Float64Array(features.rows);
  for (let row = 0; row < features.rows; row++) {
    labels[row] = mostVotes(votes.subarray(row * classes, (row + 1) * classes));
    confidence[row] = votes[row * classes + labels[row]!]!;
  }
  let hits = 0;
  for (const [i, row] of given.rows.entries()) {
    if (labels[row] === given.labels[i]) hits++;
    labels[row] = given.labels[i]!;
    confidence[row] = 1;
  }
  return { labels, confidence, accuracy: hits / given.rows.length };
}

/** Returns the class with the most votes; ties go to the lower class. */
export function mostVotes(votes: ArrayLike<number>): number {
  let best = 0;
  for (let c = 1; c < votes.length; c++) if (votes[c]! > votes[best]!) best = c;
  return best;
}
