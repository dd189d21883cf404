/** `dino dedupe` */
import { type Command, InvalidArgumentError, Option } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import type { Device } from "../../engine/index.js";
import { readFeatures } from "../evaluation/feature-files.js";
import { takeReports } from "../files/progress.js";
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

interface DedupeFlags {
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
  dino
    .command("dedupe")
    .description("report images that are nearly the same; nothing is changed or deleted")
    .option("--index <file.npy>", "features that dino embed wrote, with the list beside them")
    .option("--data <images>", "images to look at with --checkpoint; with --index, where its images lie now")
    .option("--checkpoint <file>", "a checkpoint.safetensors of training, or a model of dino import")
    .addOption(
      new Option("--which <network>", "whose features to take").choices(["teacher", "student"]).default("teacher"),
    )
    .option("--batch <images>", "images at once", wholeNumber, 64)
    .option("--threshold <cosine>", "two images count as the same from this similarity on", cosine, 0.96)
    .option("--out <file.png>", "draw the groups, and the pairs on either side of the threshold", pngFile)
    .option("--json", "print the report as JSON and nothing else")
    .addHelpText(
      "after",
      "\nGroups are linked by pairs: of a row of images, each like the next, the first and the last may differ.\n" +
        "How similar different images are depends on the network and on the images. Look at the pairs on either side of the threshold\n" +
        "(--out draws them) and move it until those above are the same to you and those below are not.\n\nExamples:\n" +
        "  dino dedupe --index features.npy --out duplicates.png\n" +
        "  dino dedupe --checkpoint runs/photos/checkpoint.safetensors --data photos --threshold 0.98 --json",
    )
    .action(async (flags: DedupeFlags) => {
      checkSource(flags);
      using device = await openDevice();
      const { features, images, failures } = await openFeatures(device, flags);
      const { threshold, out } = flags;
      using comparing = takeReports("comparing");
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
      if (out !== undefined) print("", `${out}   shows them`);
    });
}

function checkSource({ index, data, checkpoint }: DedupeFlags): void {
  if (index === undefined && (data === undefined || checkpoint === undefined)) {
    throw new UsageError("expected --index, or --data and --checkpoint together");
  }
  if (index !== undefined && checkpoint !== undefined) {
    throw new UsageError("--index holds features already; leave --checkpoint out");
  }
}

interface Opened {
  readonly features: FeatureRows;
  readonly images: IndexedImages;
  readonly failures: readonly DecodeFailure[];
}

/** Reads features, or makes them. */
async function openFeatures(device: Device, { index, data, checkpoint, which, batch }: DedupeFlags): Promise<Opened> {
  if (index !== undefined) {
    const { features, list } = await readFeatures(index);
    return { features, images: await indexedImages(list, data), failures: [] };
  }
  using model = await loadModel(device, checkpoint!, which);
  const subset = await openSubset(data!);
  const { features, indices, failures } = await extractor(model, batch)(subset, "images");
  const files = Array.from(indices, (i) => subset.images.name(i));
  return { features, images: await indexedImages({ data: data!, files }), failures };
}

/** The report with paths instead of rows. */
function withPaths({ groups, counts, above, below }: Duplicates, images: IndexedImages) {
  const pairs = (some: Duplicates["above"]) =>
    some.map(({ first, second, similarity }) => ({
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
    `${groups.length} ${groups.length === 1 ? "group" : "groups"} of nearly the same among ${count} images; keeping one of each group would spare ${spare}`,
    ...groups.flatMap((group, i) => [
      "",
      `group ${i + 1}, ${group.length} images, each with its similarity to the nearest other`,
      ...group.map(({ path, similarity }) => `${number(similarity)}   ${path}`),
    ]),
    "",
    "pairs that are at least so similar",
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
