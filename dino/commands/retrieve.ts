/** `dino retrieve` */
import { type Command, Option } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { takeReports } from "../files/progress.js";
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

interface RetrieveOptions extends ModelOptions {
  readonly data: string;
  readonly dataset?: RevisitedName;
  readonly imsize: number;
  readonly multiscale?: true;
  readonly wholeQueries?: true;
  readonly json?: true;
}

/** Depths at which precision is measured, those of the benchmark. */
const DEPTHS = [1, 5, 10];

export function addRetrieve(dino: Command): void {
  addModelOptions(dino.command("retrieve"))
    .description("measure how well images of the same thing are found: revisited Oxford and Paris, or your own classes")
    .requiredOption(
      "--data <folder>",
      "images, a subfolder a class; with --dataset the folder that holds roxford5k or rparis6k",
    )
    .addOption(
      new Option("--dataset <name>", "a benchmark: its ground truth, gnd_NAME.pkl, and jpg lie in --data/NAME").choices(
        revisitedNames,
      ),
    )
    .option("--imsize <pixels>", "longer side that larger images are shrunk to", wholeNumber, 224)
    .option("--multiscale", "look at each image at scales of 1, 0.71 and 0.5, and take the mean")
    .option("--whole-queries", "do not cut queries to the building: not the protocol, but what the official code does")
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nImages keep their shape. With --dataset, mAP and mP@k are those of Radenovic et al. 2018; without, every image is a query that\n" +
        "should find the others of its class.\n\nExamples:\n" +
        "  dino retrieve --checkpoint runs/photos/checkpoint.safetensors --data photos\n" +
        "  dino retrieve --checkpoint runs/photos/checkpoint.safetensors --data benchmarks --dataset roxford5k --imsize 512 --multiscale",
    )
    .action(async (options: RetrieveOptions) => {
      const { data, dataset, imsize, batch } = options;
      const wholeQueries = options.wholeQueries === true;
      if (wholeQueries && dataset === undefined) throw new UsageError("--whole-queries is for --dataset; leave it out");
      const benchmark = await openBenchmark(data, dataset, wholeQueries);
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      const scales = options.multiscale ? SCALES : [1];
      using ranking = takeReports("queries ranked");
      const report = await retrieve({
        benchmark,
        device,
        ks: DEPTHS,
        onRanked: ranking.report,
        extract: async (images, title, boxes) => {
          using progress = takeReports(title);
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
    });
}

async function openBenchmark(
  data: string,
  dataset: RevisitedName | undefined,
  wholeQueries: boolean,
): Promise<Benchmark> {
  if (dataset === undefined) return classBenchmark((await openSubset(data)).images);
  return revisitedBenchmark(await openRevisited(data, dataset), { wholeQueries });
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
