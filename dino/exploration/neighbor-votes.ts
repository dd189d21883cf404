import { selectRows } from "../math/feature-rows.js";
import { nearestIn, nearestRows } from "../math/nearest-rows.js";
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
  const { features, given, k = 10, nearest: find, onProgress } = options;
  const { rows, labels, classes } = given;
  if (!Number.isInteger(k) || k < 1) throw new Error(`votes: expected 1 neighbour or more, got ${k}`);
  const areAll = rows.length === features.rows && rows.every((row, i) => row === i);
  const voters = areAll ? features : selectRows(features, rows);
  const placeOf = new Map(Array.from(rows, (row, place) => [row, place]));
  const votes = new Float64Array(features.rows * classes);
  const findVoters = (areAll ? find : undefined) ?? nearestIn(voters);
  for await (const { row, nearest, similarities } of nearestRows(features, Math.min(k + 1, voters.rows), findVoters)) {
    const ownPlace = placeOf.get(row);
    const others = Array.from(nearest.keys()).filter((n) => nearest[n] !== ownPlace);
    let sum = 0;
    const own = votes.subarray(row * classes, (row + 1) * classes);
    for (const n of others.slice(0, k)) {
      const weight = Math.exp((similarities[n]! - similarities[others[0]!]!) / TEMPERATURE);
      own[labels[nearest[n]!]!]! += weight;
      sum += weight;
    }
    for (let c = 0; c < classes; c++) own[c]! /= sum;
    onProgress?.(row + 1, features.rows);
  }
  return votes;
}
