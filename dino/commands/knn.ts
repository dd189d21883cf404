/** `dino knn` */
import type { Command } from "commander";
import { openDevice } from "../../engine/node.js";
import { evaluateKnn, openParts, wholeOf } from "../evaluate.js";
import { loadModel, type Model } from "../features.js";
import { openImages } from "../images.js";
import type { KnnResult } from "../knn.js";
import { takeReports } from "../progress.js";
import { positive, share, UsageError, wholeNumber, wholeNumbers } from "./flags.js";
import { addModelOptions, extractor, type ModelOptions } from "./model.js";
import { print, printJson, reportFailures } from "./output.js";

interface KnnOptions extends ModelOptions {
  readonly train?: string;
  readonly test?: string;
  readonly data?: string;
  readonly split: number;
  readonly seed: number;
  readonly k?: readonly number[];
  readonly temperature: number;
  readonly json?: true;
}

export function addKnn(dino: Command): void {
  addModelOptions(dino.command("knn"))
    .description("classify images by the nearest neighbours of their features")
    .option("--train <folder>", "images to find neighbours among, a subfolder a class")
    .option("--test <folder>", "images to classify, a subfolder a class")
    .option("--data <folder>", "one folder for both, or a built-in set; what the checkpoint was trained on if left out")
    .option("--split <share>", "share of --data to classify among the rest", share, 0.2)
    .option("--seed <number>", "of the draw that splits --data", wholeNumber, 0)
    .option("-k <neighbours...>", "how many neighbours vote; several numbers give several results", wholeNumbers)
    .option("--temperature <number>", "a neighbour of similarity s has exp(s / temperature) votes", positive, 0.07)
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExamples:\n" +
        "  dino knn --checkpoint runs/photos/checkpoint.safetensors --data photos --split 0.2\n" +
        "  dino knn --checkpoint runs/photos/checkpoint.safetensors --train photos/train --test photos/val -k 20",
    )
    .action(async (options: KnnOptions) => {
      const { train, test, data, k: ks = [10, 20, 100, 200], temperature } = options;
      if ((train === undefined) !== (test === undefined)) {
        throw new UsageError("--train and --test belong together; for one folder take --data and --split");
      }
      if (train !== undefined && data !== undefined) {
        throw new UsageError("--data and --train both name images; leave one out");
      }
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      const parts =
        train !== undefined && test !== undefined
          ? { train: wholeOf(await openImages(train)), test: wholeOf(await openImages(test)) }
          : await openParts(data ?? trainedOn(model), { heldOut: options.split, seed: options.seed });
      using comparing = takeReports("comparing");
      const report = await evaluateKnn({
        ...{ parts, ks, temperature, device },
        extract: extractor(model, options.batch),
        onCompared: comparing.report,
      });
      if (options.json) {
        printJson({
          checkpoint: options.checkpoint,
          which: options.which,
          trainImages: report.trainImages,
          testImages: report.testImages,
          classes: report.classes.length,
          temperature,
          results: report.results.map(({ k, neighbors, top1, top5 }) => ({ k, neighbors, top1, top5 })),
          failures: report.failures,
          device: device.name,
        });
        return;
      }
      reportFailures(report.failures);
      print(
        `${report.testImages} images among ${report.trainImages}, ${report.classes.length} classes, ${options.which}`,
        ...report.results.map(describeKnn),
      );
    });
}

function trainedOn({ data }: Model): string {
  if (data !== undefined) return data;
  throw new UsageError("--data: expected a folder of images; an imported model does not tell what it was trained on");
}

function describeKnn({ k, neighbors, top1, top5 }: KnnResult): string {
  const fewer = neighbors < k ? `   (there are only ${neighbors})` : "";
  return `k ${String(k).padStart(4)}   top-1 ${top1.toFixed(2).padStart(6)} %   top-5 ${top5.toFixed(2).padStart(6)} %${fewer}`;
}
