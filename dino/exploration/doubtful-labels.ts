/**
 * Doubtful labels: images whose label other images contradict.
 * Northcutt, Jiang and Chuang, Confident learning (2021), https://arxiv.org/abs/1911.00068
 */
import { checkRows } from "./check-rows.js";
import { checkGivenLabels } from "./given-labels.js";
import { classVotes, mostVotes, type VotingOptions } from "./spread-labels.js";

/** An image whose label is doubtful. */
export interface Doubt {
  readonly row: number;
  /** Its class as given. */
  readonly label: number;
  /** The class that the other images vote for. */
  readonly suggested: number;
  /** Share of the votes for `suggested`, 0 to 1. */
  readonly confidence: number;
  /** Share of the votes for `label`. */
  readonly support: number;
  /**
   * Whether the votes for `suggested` reach the mean of the images that have this label, the rule of confident learning.
   */
  readonly isLikely: boolean;
}

/** Finds the labelled images whose label gets fewer votes than another; the largest difference of votes comes first. */
export async function doubtfulLabels(options: VotingOptions): Promise<readonly Doubt[]> {
  const { features, given } = options;
  checkRows("audit", features);
  checkGivenLabels("audit", given, features.rows);
  const votes = await classVotes(options);
  const { rows, labels, classes } = given;
  const share = (row: number, label: number): number => votes[row * classes + label]!;
  const sums = new Float64Array(classes);
  const counts = new Float64Array(classes);
  for (const [i, row] of rows.entries()) {
    sums[labels[i]!]! += share(row, labels[i]!);
    counts[labels[i]!]!++;
  }
  const doubts: Doubt[] = [];
  for (const [i, row] of rows.entries()) {
    const label = labels[i]!;
    const suggested = mostVotes(votes.subarray(row * classes, (row + 1) * classes));
    if (suggested === label) continue;
    const confidence = share(row, suggested);
    const isLikely = confidence >= sums[suggested]! / counts[suggested]!;
    doubts.push({ row, label, suggested, confidence, support: share(row, label), isLikely });
  }
  return doubts.sort((a, b) => b.confidence - b.support - (a.confidence - a.support) || a.row - b.row);
}
