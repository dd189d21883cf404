/** Descriptions of groups of images. */
import type { FeatureRows } from "../math/feature-rows.js";
import { groupMeans } from "./k-means.js";

/** A group of images. */
export interface Group {
  /** Its images, the most typical (closest to the mean of the group) first. */
  readonly rows: readonly number[];
  /** Cosine of each of these images with the mean. */
  readonly similarities: readonly number[];
  /** Mean of these cosines: 1 if all images are the same. */
  readonly tightness: number;
}

/** Groups of images, the largest first, and the images in none. */
export interface Grouping {
  readonly groups: readonly Group[];
  readonly noise: readonly number[];
}

/** Describes groups by labels, one per row; a label below 0 is noise. Features are rows of length one. */
export function describeGroups(features: FeatureRows, labels: Int32Array): Grouping {
  const count = labels.reduce((most, label) => Math.max(most, label + 1), 0);
  const means = groupMeans(features, labels, count);
  const found = Array.from({ length: count }, (): { row: number; similarity: number }[] => []);
  const noise: number[] = [];
  for (const [row, label] of labels.entries()) {
    if (label < 0) noise.push(row);
    else found[label]!.push({ row, similarity: cosine(features, row, means, label) });
  }
  const groups = found.map((members): Group => {
    members.sort((a, b) => b.similarity - a.similarity || a.row - b.row);
    const similarities = members.map(({ similarity }) => similarity);
    const tightness = similarities.reduce((sum, value) => sum + value, 0) / members.length;
    return { rows: members.map(({ row }) => row), similarities, tightness };
  });
  groups.sort((a, b) => b.rows.length - a.rows.length || a.rows[0]! - b.rows[0]!);
  return { groups, noise };
}

function cosine(a: FeatureRows, row: number, b: FeatureRows, other: number): number {
  let sum = 0;
  for (let c = 0; c < a.dim; c++) sum += a.values[row * a.dim + c]! * b.values[other * b.dim + c]!;
  return sum;
}

/** Maximum length of the part of a name that comes from an image. */
const MAX_STEM = 40;

/**
 * Names each group by its number and its most typical image, unique and fit for a file: "02-red-cat". `files` has the
 * path of each row.
 */
export function groupNames({ groups }: Grouping, files: readonly string[]): readonly string[] {
  const digits = Math.max(2, `${groups.length}`.length);
  return groups.map(({ rows }, i) => {
    const stem = files[rows[0]!]!.replace(/\.\w+$/, "");
    const plain = stem.replaceAll(/[^\p{L}\p{N}]+/gu, "-").replaceAll(/^-|-$/g, "");
    return [`${i + 1}`.padStart(digits, "0"), ...(plain === "" ? [] : [plain.slice(-MAX_STEM)])].join("-");
  });
}
