/** `dino dedupe` */
import { type Command, InvalidArgumentError, Option } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import type { Device } from "../../engine/index.js";
import { readingOf, shownChannels } from "../config/derive.js";
import { readFeatures } from "../evaluation/feature-files.js";
import { lazyProgress } from "../files/progress.js";
import type { DecodeFailure } from "../images/image-location.js";
import { openSubset } from "../images/sources/open-splits.js";
import { type FeatureRows, normalizeRows } from "../math/feature-rows.js";
import type { Which } from "../model/backbone.js";
import { type Duplicates, duplicatesSheet, findDuplicates } from "../retrieval/duplicates.js";
import { type IndexedImages, indexedImages } from "../retrieval/indexed-images.js";
import { loadModel } from "../weights/load-model.js";
import { pngFile, UsageError, wholeNumber } from "./flags.js";
import { extractor } from "./model.js";
import { print, printJson, reportFailures, writePicture } from "./output.js";
import { addReadingFlags, type ReadingFlags, readingWith } from "./reading-flags.js";

interface DedupeFlags extends ReadingFlags {
  readonly index?: string;
  readonly data?: string;
  readonly checkpoint?: string;
  readonly which: Which;
  readonly batch: number;
  readonly threshold: number;
  readonly out?: string;
  readonly json?: true;
}

export function addDedupe(dino: Command): void {
  addReadingFlags(dino.command("dedupe"))
    .description("report near-duplicate images; nothing is changed or deleted")
    .option("--index <file.npy>", "features that dino embed wrote, with their .json list beside them")
    .option("--data <images>", "images to compare, with --checkpoint; with --index, the current place of its images")
    .option("--checkpoint <file>", "checkpoint.safetensors of a run, or a model that dino import wrote")
    .addOption(
      new Option("--which <network>", "network to use; the teacher's features are usually better")
        .choices(["teacher", "student"])
        .default("teacher"),
    )
    .option("--batch <images>", "images per forward pass; lower if memory runs out", wholeNumber, 64)
    .option(
      "--threshold <cosine>",
      "minimum similarity of duplicates; raise if different images are grouped, lower if copies are missed",
      cosine,
      0.96,
    )
    .option("--out <file.png>", "draw the groups, and the pairs on either side of the threshold", pngFile)
    .option("--json", "print the report as JSON and nothing else")
    .addHelpText(
      "after",
      "\nGroups are connected by pairs, so the first and the last image of a chain of similar images may differ.\n" +
        "The right threshold depends on the network and the images: draw the pairs on either side of it with --out, and move it\n" +
        "until the pairs above show the same and the pairs below do not.\n\nExamples:\n" +
        "  dino dedupe --index features.npy --out duplicates.png\n" +
        "  dino dedupe --checkpoint runs/photos/checkpoint.safetensors --data photos --threshold 0.98 --json",
    )
    .action(async (flags: DedupeFlags) => {
      checkSource(flags);
      using device = await openDevice();
      const { features, images, failures } = await openFeatures(device, flags);
      const { threshold, out } = flags;
      using comparing = lazyProgress("comparing");
      const duplicates = await findDuplicates({
        device,
        features: normalizeRows(features),
        threshold,
        onProgress: comparing.report,
      });
      if (out !== undefined) await writePicture(out, await duplicatesSheet(duplicates, images, threshold));
      if (flags.json) {
        printJson({ images: features.rows, threshold, ...withPaths(duplicates, images), sheet: out ?? null, failures });
        return;
      }
      reportFailures(failures);
      print(...describe(withPaths(duplicates, images), features.rows, threshold));
      if (out !== undefined) print("", `${out}   contact sheet`);
    });
}

function checkSource({ index, data, checkpoint }: DedupeFlags): void {
  if (index === undefined && (data === undefined || checkpoint === undefined)) {
    throw new UsageError("expected --index, or --data and --checkpoint together");
  }
  if (index !== undefined && checkpoint !== undefined) {
    throw new UsageError("--index already holds features; leave --checkpoint out");
  }
}

interface Opened {
  readonly features: FeatureRows;
  readonly images: IndexedImages;
  readonly failures: readonly DecodeFailure[];
}

/** Reads features, or computes them. */
async function openFeatures(device: Device, flags: DedupeFlags): Promise<Opened> {
  const { index, data, checkpoint, which, batch } = flags;
  if (index !== undefined) {
    const { features, list } = await readFeatures(index);
    return { features, images: await indexedImages(list, data), failures: [] };
  }
  using model = await loadModel(device, checkpoint!, which);
  const subset = await openSubset(data!, readingWith(flags, readingOf(model.config)));
  const { features, indices, failures } = await extractor(model, batch)(subset, "images");
  const files = Array.from(indices, (i) => subset.images.name(i));
  const { range, background } = subset.images.decoding;
  return {
    features,
    images: await indexedImages({ data: data!, files }, data, {
      ...{ range, background, channels: shownChannels(model.config) },
    }),
    failures,
  };
}

/** Replaces the rows of a report by paths. */
function withPaths({ groups, counts, above, below }: Duplicates, images: IndexedImages) {
  const pairs = (selected: Duplicates["above"]) =>
    selected.map(({ first, second, similarity }) => ({
      first: images.path(first),
      second: images.path(second),
      similarity,
    }));
  return {
    groups: groups.map((group) => group.map(({ row, similarity }) => ({ path: images.path(row), similarity }))),
    counts,
    above: pairs(above),
    below: pairs(below),
  };
}

function describe(
  { groups, counts, above, below }: ReturnType<typeof withPaths>,
  count: number,
  threshold: number,
): string[] {
  const number = (similarity: number): string => similarity.toFixed(4).padStart(9);
  const pairLines = (pairs: typeof above): string[] =>
    pairs.map(({ first, second, similarity }) => `${number(similarity)}   ${first}   ${second}`);
  const spare = groups.reduce((sum, group) => sum + group.length - 1, 0);
  return [
    `${groups.length} ${groups.length === 1 ? "group" : "groups"} of near-duplicates in ${count} images; keeping one of each group would save ${spare}`,
    ...groups.flatMap((group, i) => [
      "",
      `group ${i + 1}, ${group.length} images, each with its similarity to the most similar other`,
      ...group.map(({ path, similarity }) => `${number(similarity)}   ${path}`),
    ]),
    "",
    "pairs of at least this similarity",
    ...counts.map(({ atLeast, pairs }) => {
      const mark = atLeast === threshold ? "   <- the threshold" : "";
      return `${String(Number(atLeast.toFixed(4))).padStart(9)}${String(pairs).padStart(9)}${mark}`;
    }),
    ...(above.length > 0
      ? ["", "least similar above the threshold; raise it if these differ", ...pairLines(above)]
      : []),
    ...(below.length > 0
      ? ["", "closest below the threshold; lower it if these are the same", ...pairLines(below)]
      : []),
  ];
}

function cosine(word: string): number {
  const value = Number(word);
  if (!(word.trim() !== "" && value > 0 && value < 1)) {
    throw new InvalidArgumentError("Expected a cosine above 0 and below 1.");
  }
  return value;
}
