/** `dino retrieve` */
import { type Command, Option } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { readingOf } from "../config/derive.js";
import type { Config } from "../config/settings.js";
import { lazyProgress } from "../files/progress.js";
import { decodingOf } from "../images/reading.js";
import { openSubset } from "../images/sources/open-splits.js";
import {
  type Benchmark,
  classBenchmark,
  retrieve,
  type RetrievalReport,
  revisitedBenchmark,
} from "../retrieval/retrieve.js";
import { openRevisited, type RevisitedName, revisitedNames } from "../retrieval/revisited.js";
import { SCALES, shapedFeatures } from "../retrieval/shaped-features.js";
import { loadModel } from "../weights/load-model.js";
import { UsageError, wholeNumber } from "./flags.js";
import { addModelOptions, type ModelOptions } from "./model.js";
import { print, printJson, reportFailures } from "./output.js";
import { addReadingFlags, type ReadingFlags, readingWith } from "./reading-flags.js";

interface RetrieveOptions extends ModelOptions, ReadingFlags {
  readonly data: string;
  readonly dataset?: RevisitedName;
  readonly imsize: number;
  readonly multiscale?: true;
  readonly wholeQueries?: true;
  readonly json?: true;
}

/** Ranks at which the benchmarks measure precision. */
const DEPTHS = [1, 5, 10];

export function addRetrieve(dino: Command): void {
  addReadingFlags(addModelOptions(dino.command("retrieve")))
    .description("measure image retrieval: on revisited Oxford and Paris, or on your own classes")
    .requiredOption(
      "--data <folder>",
      "images with one subfolder per class; with --dataset, the folder that contains roxford5k or rparis6k",
    )
    .addOption(
      new Option(
        "--dataset <name>",
        "benchmark, with its ground truth gnd_NAME.pkl and its folder jpg in --data/NAME",
      ).choices(revisitedNames),
    )
    .option(
      "--imsize <pixels>",
      "longer side that larger images are shrunk to; 512 is usual for buildings and takes five times the work of 224",
      wholeNumber,
      224,
    )
    .option("--multiscale", "average the features of each image at scales 1, 0.71 and 0.5; usually raises mAP")
    .option("--whole-queries", "do not crop queries to the building, as the official code; the protocol crops them")
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nImages keep their aspect ratio. With --dataset, mAP and mP@k follow Radenovic et al. 2018; without it, every image is a\n" +
        "query for the others of its class.\n\nExamples:\n" +
        "  dino retrieve --checkpoint runs/photos/checkpoint.safetensors --data photos\n" +
        "  dino retrieve --checkpoint runs/photos/checkpoint.safetensors --data benchmarks --dataset roxford5k --imsize 512 --multiscale",
    )
    .action(measureRetrieval);
}

/** Runs the command and prints its report. */
async function measureRetrieval(options: RetrieveOptions): Promise<void> {
  const { data, dataset, imsize, batch } = options;
  const wholeQueries = options.wholeQueries === true;
  if (wholeQueries && dataset === undefined) throw new UsageError("--whole-queries is for --dataset; leave it out");
  using device = await openDevice();
  using model = await loadModel(device, options.checkpoint, options.which);
  const benchmark = await openBenchmark(options, model.config);
  const scales = options.multiscale ? SCALES : [1];
  using ranking = lazyProgress("queries ranked");
  const report = await retrieve({
    benchmark,
    device,
    ks: DEPTHS,
    onRanked: ranking.report,
    extract: async (images, title, boxes) => {
      using progress = lazyProgress(title);
      return await shapedFeatures(model, images, {
        side: imsize,
        scales,
        normalization: model.config,
        batch,
        onProgress: progress.report,
        needsAll: dataset !== undefined,
        ...(boxes && { boxes }),
      });
    },
  });
  if (options.json) {
    printJson({
      checkpoint: options.checkpoint,
      which: options.which,
      data,
      dataset: dataset ?? null,
      imsize,
      scales,
      ...(dataset !== undefined && { wholeQueries }),
      databaseImages: report.databaseImages,
      queryImages: report.queryImages,
      results: report.setups.map(({ name, queries, meanAveragePrecision, meanPrecisions }) => ({
        setup: name,
        queries,
        map: 100 * meanAveragePrecision,
        mp: Object.fromEntries(DEPTHS.map((k, i) => [k, 100 * meanPrecisions[i]!])),
      })),
      failures: report.failures,
      device: device.name,
    });
    return;
  }
  reportFailures(report.failures);
  print(...describe(report));
}

async function openBenchmark(
  { data, dataset, wholeQueries, ...rest }: RetrieveOptions,
  config: Config,
): Promise<Benchmark> {
  if (dataset === undefined)
    return classBenchmark((await openSubset(data, readingWith(rest, readingOf(config)))).images);
  if (rest.pages !== undefined || rest.tile !== undefined)
    throw new UsageError("--pages and --tile are for your own images; leave them out with --dataset");
  return revisitedBenchmark(await openRevisited(data, dataset, decodingOf(config)), {
    wholeQueries: wholeQueries === true,
  });
}

function describe({ setups, databaseImages, queryImages }: RetrievalReport): string[] {
  const percent = (share: number): string => (Number.isNaN(share) ? "-" : (100 * share).toFixed(2)).padStart(8);
  return [
    `${queryImages} queries among ${databaseImages} images, in percent`,
    ["       ", ...["mAP", ...DEPTHS.map((k) => `mP@${k}`), "queries"].map((title) => title.padStart(8))].join(""),
    ...setups.map(({ name, meanAveragePrecision, meanPrecisions, queries }) => {
      const numbers = [meanAveragePrecision, ...DEPTHS.map((_, i) => meanPrecisions[i] ?? NaN)].map(percent).join("");
      return `${name.padEnd(7)}${numbers}${String(queries).padStart(8)}`;
    }),
  ];
}
