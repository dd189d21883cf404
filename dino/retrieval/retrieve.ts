/** Image retrieval benchmarks. */
import type { Device } from "../../engine/index.js";
import { similaritiesOn } from "../evaluation/device-similarities.js";
import type { DecodeFailure } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import type { Box } from "../images/pixels.js";
import { normalizeRows } from "../math/feature-rows.js";
import type { Extracted } from "../model/extract.js";
import { meanScores, type QueryScore, rankAll, scoreRanking, type Scores, type Truth } from "./ranking.js";
import { queryBox, type Revisited, setups } from "./revisited.js";

/** Queries, the database to search, and the ground truth. */
export interface Benchmark {
  readonly database: ImageSet;
  /** The database itself if each of its images is a query for the others. */
  readonly queries: ImageSet;
  /** Crop of each query; default: the whole image. */
  readonly boxes?: readonly Box[];
  /** Setups by name: the ground truth of a query, by index. */
  readonly setups: Readonly<Record<string, (query: number) => Truth>>;
}

/**
 * Creates the benchmark with queries cropped to the building, as in its protocol, or whole, as in the official DINO
 * code.
 */
export function revisitedBenchmark(
  { database, queries, truth }: Revisited,
  { wholeQueries }: { readonly wholeQueries: boolean },
): Benchmark {
  const judged = Object.entries(setups).map(
    ([name, truthOf]) => [name, (query: number) => truthOf(truth.gnd[query]!)] as const,
  );
  return {
    database,
    queries,
    setups: Object.fromEntries(judged),
    ...(!wholeQueries && { boxes: truth.gnd.map(queryBox) }),
  };
}

/**
 * Creates a benchmark in which each image is a query for the others of its class. Throws for images without classes.
 */
export function classBenchmark(images: ImageSet): Benchmark {
  const { labels } = images;
  if (labels === undefined) {
    const advice = images.whyUnlabelled ?? "put the images of each class into a subfolder of its name";
    throw new Error(`retrieval: the images have no classes; ${advice}`);
  }
  const members = images.classes.map((): number[] => []);
  for (const [image, label] of labels.entries()) members[label]!.push(image);
  const classes = (query: number): Truth => ({
    relevant: members[labels[query]!]!.filter((i) => i !== query),
    junk: [query],
  });
  return { database: images, queries: images, setups: { classes } };
}

export interface RetrievalOptions {
  readonly benchmark: Benchmark;
  /** Extracts the features of images, not normalised. */
  readonly extract: (images: ImageSet, title: string, boxes?: readonly Box[]) => Promise<Extracted>;
  readonly ks: readonly number[];
  readonly device: Device;
  readonly onRanked?: (done: number, total: number) => void;
}

export interface RetrievalReport {
  readonly setups: readonly (Scores & { readonly name: string })[];
  /** Numbers of images in the database, and of queries. */
  readonly databaseImages: number;
  readonly queryImages: number;
  readonly failures: readonly DecodeFailure[];
}

/** Runs a benchmark; images without features are left out of queries and database. */
export async function retrieve(options: RetrievalOptions): Promise<RetrievalReport> {
  const { benchmark, extract, ks, device, onRanked } = options;
  const { database, queries, boxes } = benchmark;
  const searched = await extract(database, "database");
  const queried = queries === database ? searched : await extract(queries, "queries", boxes);

  const names = Object.keys(benchmark.setups);
  const scores = names.map((): (QueryScore | undefined)[] => []);
  const present = new Set(searched.indices);
  const rows = normalizeRows(searched.features);
  using multiplied = similaritiesOn(device, rows);
  await rankAll({
    queries: queried === searched ? rows : normalizeRows(queried.features),
    database: rows,
    similarities: multiplied.similarities,
    onRanked: (query, order) => {
      const images = order.map((row) => searched.indices[row]!);
      for (const [i, name] of names.entries()) {
        const { relevant, junk } = benchmark.setups[name]!(queried.indices[query]!);
        const truth = { relevant: relevant.filter((image) => present.has(image)), junk };
        scores[i]!.push(scoreRanking(images, truth, ks));
      }
      onRanked?.(query + 1, queried.indices.length);
    },
  });
  return {
    setups: names.map((name, i) => ({ name, ...meanScores(scores[i]!) })),
    databaseImages: searched.indices.length,
    queryImages: queried.indices.length,
    failures: queried === searched ? searched.failures : [...searched.failures, ...queried.failures],
  };
}
