/** The functions of the package that find groups, outliers and doubtful labels, and label images by a few. */
import { similaritiesOn } from "./evaluation/device-similarities.js";
import { densityGroups } from "./exploration/density-groups.js";
import { doubtfulLabels } from "./exploration/doubtful-labels.js";
import { describeGroups, groupNames } from "./exploration/groups.js";
import { kMeans } from "./exploration/k-means.js";
import { type NamedLabels, namedLabels } from "./exploration/label-files.js";
import { outlierScores } from "./exploration/outliers.js";
import { chooseRows } from "./exploration/select-rows.js";
import { spreadLabels } from "./exploration/spread-labels.js";
import type { DecodeFailure } from "./images/image-location.js";
import { embed, type Images, type LookOptions, openSet } from "./library.js";
import { normalizeRows } from "./math/feature-rows.js";
import type { Model } from "./model/backbone.js";
import type { ComparingOptions } from "./retrieval/neighbors.js";

/** Options of `clusterImages`. */
export interface ClusterOptions extends LookOptions {
  /** Number of groups, by k-means; without it, dense groups are found, and images between them are noise. */
  readonly groups?: number;
  /** Smallest dense group; default 10. */
  readonly minSize?: number;
  /** Seed of k-means; default 0. */
  readonly seed?: number;
}

/** A group of similar images. */
export interface ImageGroup {
  /** Its number and its most typical image. */
  readonly name: string;
  /** Names of its images, the most typical first. */
  readonly images: readonly string[];
  /** Mean cosine of the features of its images with their mean, up to 1. */
  readonly tightness: number;
}

/** Groups of images. */
export interface ImageGroups {
  /** The largest first. */
  readonly groups: readonly ImageGroup[];
  /** Images in no group. */
  readonly noise: readonly string[];
  /** Images that could not be decoded. */
  readonly failures: readonly DecodeFailure[];
}

/** Finds groups of similar images as `dino cluster` does. Throws for more groups than images, and if all are alike. */
export async function clusterImages(model: Model, images: Images, options: ClusterOptions = {}): Promise<ImageGroups> {
  const { groups, minSize = 10, seed, ...look } = options;
  return explored(model, images, look, async ({ features, ...comparing }, names, failures) => {
    const labels =
      groups === undefined
        ? await densityGroups({ features, ...comparing, minSize })
        : (await kMeans({ features, ...comparing, groups, seed })).labels;
    const grouping = describeGroups(features, labels);
    const called = groupNames(grouping, names);
    return {
      groups: grouping.groups.map(({ rows, tightness }, i) => ({
        name: called[i]!,
        images: rows.map((row) => names[row]!),
        tightness,
      })),
      noise: grouping.noise.map((row) => names[row]!),
      failures,
    };
  });
}

/** Options of `findOutliers`. */
export interface OutlierSearch extends LookOptions {
  /** Nearest images that count; default 10. */
  readonly k?: number;
}

/** Images by strangeness. */
export interface Outliers {
  /** All images, the strangest first, with their mean distance from the nearest others, 0 to 2. */
  readonly outliers: readonly { readonly image: string; readonly score: number }[];
  /** Images that could not be decoded. */
  readonly failures: readonly DecodeFailure[];
}

/** Scores images as `dino outliers` does. */
export async function findOutliers(model: Model, images: Images, options: OutlierSearch = {}): Promise<Outliers> {
  const { k, ...look } = options;
  return explored(model, images, look, async (comparing, names, failures) => {
    const scores = await outlierScores({ ...comparing, k });
    const order = Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b);
    return { outliers: order.map((row) => ({ image: names[row]!, score: scores[row]! })), failures };
  });
}

/** Labels of images by name. */
export type ImageLabels = Readonly<Record<string, string>>;

/** Options of functions that let labelled images vote. */
export interface VotingSettings extends LookOptions {
  /** A linear classifier, or the nearest labelled images; default "linear". */
  readonly by?: "linear" | "knn";
  /** Nearest labelled images that vote with "knn"; default 10. */
  readonly k?: number;
}

/** An image whose label is doubtful. */
export interface DoubtfulImage {
  readonly image: string;
  readonly label: string;
  /** The class that similar images vote for. */
  readonly suggested: string;
  /** Share of the votes for it, 0 to 1. */
  readonly confidence: number;
  /** Whether it gets as many votes as its own images do on average. */
  readonly isLikely: boolean;
}

/** The doubtful labels of a set of images. */
export interface Audit {
  /** The most doubtful first. */
  readonly doubtful: readonly DoubtfulImage[];
  /** Images that could not be decoded. */
  readonly failures: readonly DecodeFailure[];
}

/**
 * Lists doubtful labels as `dino audit` does: of `labels`, or of the classes of the images. Throws for labels of unknown
 * images, and for less than two classes.
 */
export async function auditLabels(
  model: Model,
  images: Images,
  options: VotingSettings & { readonly labels?: ImageLabels } = {},
): Promise<Audit> {
  const { labels, by, k, ...look } = options;
  const set = await openSet(model, images);
  const { classes } = set;
  if (labels === undefined && set.labels === undefined) {
    throw new Error(`auditLabels ${set.title}: expected labels, since the images have no classes`);
  }
  const ofClass = Array.from(set.labels ?? [], (label, i) => [set.name(i), classes[label]!] as const);
  return explored(model, set, look, async (comparing, names, failures) => {
    const decoded = new Set(names);
    const entries = labels ? Object.entries(labels) : ofClass.filter(([name]) => decoded.has(name));
    const given = namedLabels("auditLabels", entries, names);
    const doubts = await doubtfulLabels({ ...comparing, given, voting: by, k });
    const doubtful = doubts.map(({ row, label, suggested, confidence, isLikely }) => ({
      image: names[row]!,
      label: given.names[label]!,
      suggested: given.names[suggested]!,
      confidence,
      isLikely,
    }));
    return { doubtful, failures };
  });
}

/** Options of `selectImages`. */
export interface SelectionOptions extends LookOptions {
  readonly count: number;
  /** Images similar to many others, or images far from those before; default "cover". */
  readonly by?: "cover" | "farthest";
  /** Names of images that count as chosen before. */
  readonly given?: readonly string[];
}

/** Chooses images that represent a set as `dino select` does; returns their names in the order of their use. */
export async function selectImages(
  model: Model,
  images: Images,
  options: SelectionOptions,
): Promise<readonly string[]> {
  const { count, by, given = [], ...look } = options;
  return explored(model, images, look, async (comparing, names) => {
    const rows = given.map((name) => names.indexOf(name));
    const unknown = given.find((_, i) => rows[i]! < 0);
    if (unknown !== undefined) throw new Error(`selectImages: expected given images of the set, got ${unknown}`);
    const chosen = await chooseRows({ ...comparing, count, by, given: rows });
    return Array.from(chosen, (row) => names[row]!);
  });
}

/** Labels of all images. */
export interface Classified {
  /** All images that could be decoded, in their order; given labels have the confidence 1. */
  readonly images: readonly { readonly image: string; readonly label: string; readonly confidence: number }[];
  /** Share of the labelled images that the others classify correctly, 0 to 1. */
  readonly accuracy: number;
  /** Images that could not be decoded. */
  readonly failures: readonly DecodeFailure[];
}

/** Labels all images by a few as `dino classify` does. Throws as `auditLabels` does. */
export async function classifyImages(
  model: Model,
  images: Images,
  options: VotingSettings & { readonly labels: ImageLabels },
): Promise<Classified> {
  const { labels, by, k, ...look } = options;
  return explored(model, images, look, async (comparing, names, failures) => {
    const given: NamedLabels = namedLabels("classifyImages", Object.entries(labels), names);
    const spread = await spreadLabels({ ...comparing, given, voting: by, k });
    const classified = names.map((image, row) => ({
      image,
      label: given.names[spread.labels[row]!]!,
      confidence: spread.confidence[row]!,
    }));
    return { images: classified, accuracy: spread.accuracy, failures };
  });
}

/** Extracts the features of images, and calls `then` with them, scaled to length one. */
async function explored<Result>(
  model: Model,
  images: Images,
  look: LookOptions,
  then: (comparing: ComparingOptions, names: readonly string[], failures: readonly DecodeFailure[]) => Promise<Result>,
): Promise<Result> {
  const { features, names, failures } = await embed(model, images, look);
  normalizeRows(features);
  using onDevice = similaritiesOn(model.device, features);
  const { similarities, nearest } = onDevice;
  return await then({ features, similarities, nearest }, names, failures);
}
