import { compareRows, dotProducts, selectRows, topK } from "../math/feature-rows.js";
import type { ComparingOptions } from "../retrieval/neighbors.js";
import type { GivenLabels } from "./given-labels.js";

/** A neighbour of similarity s has exp(s / TEMPERATURE) votes, as in knnClassify. */
export const TEMPERATURE = 0.07;

/** Options of `neighborVotes`. */
export interface VoteOptions extends ComparingOptions {
  readonly given: GivenLabels;
  /** Neighbours that vote; default 10. */
  readonly k?: number | undefined;
}

/**
 * Returns the share of the votes that each class gets from the nearest labelled images: [rows, classes]. An image does not
 * vote for itself, so that the votes for labelled images are those of a leave-one-out test.
 */
export async function neighborVotes(options: VoteOptions): Promise<Float64Array> {
  const { features, given, k = 10, similarities = dotProducts, onProgress } = options;
  const { rows, labels, classes } = given;
  if (!Number.isInteger(k) || k < 1) throw new Error(`votes: expected 1 neighbour or more, got ${k}`);
  const areAll = rows.length === features.rows && rows.every((row, i) => row === i);
  const voters = areAll ? features : selectRows(features, rows);
  const placeOf = new Map(Array.from(rows, (row, place) => [row, place]));
  const votes = new Float64Array(features.rows * classes);
  for await (const { row, similarity } of compareRows(features, voters, areAll ? similarities : dotProducts)) {
    const ownPlace = placeOf.get(row);
    if (ownPlace !== undefined) similarity[ownPlace] = -Infinity;
    const nearest = topK(similarity, Math.min(k, voters.rows)).filter((voter) => voter !== ownPlace);
    const [first] = nearest;
    let sum = 0;
    const own = votes.subarray(row * classes, (row + 1) * classes);
    for (const voter of nearest) {
      const weight = Math.exp((similarity[voter]! - similarity[first!]!) / TEMPERATURE);
      own[labels[voter]!]! += weight;
      sum += weight;
    }
    for (let c = 0; c < classes; c++) own[c]! /= sum;
    onProgress?.(row + 1, features.rows);
  }
  return votes;
}
