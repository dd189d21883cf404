/** `dino knn` */
import { type Command, Option } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { compareNeighbors } from "../evaluation/evaluate.js";
import type { KnnResult } from "../evaluation/knn.js";
import { readLabelled } from "../evaluation/labelled-files.js";
import { labelledFeatures, type LabelledSplits } from "../evaluation/labelled.js";
import { lazyProgress } from "../files/progress.js";
import { clsDescriptor } from "../model/descriptors.js";
import { loadModel } from "../weights/load-model.js";
import { positive, wholeNumber, wholeNumbers } from "./flags.js";
import {
  addLabelledOptions,
  labelledExtractor,
  type LabelledOptions,
  openLabelledSplits,
  sourceFields,
  featureSource,
} from "./labelled.js";
import { print, printJson, reportFailures } from "./output.js";

interface KnnOptions extends LabelledOptions {
  readonly k?: readonly number[];
  readonly temperature: number;
  readonly json?: true;
}

export function addKnn(dino: Command): void {
  addLabelledOptions(dino.command("knn"), {
    trainPurpose: "find neighbours among",
    batch: new Option("--batch <images>", "images per forward pass; lower if memory runs out")
      .argParser(wholeNumber)
      .default(64),
    seed: "seed of the split of --data",
  })
    .description("classify images by the nearest neighbours of their features")
    .option(
      "-k <neighbours...>",
      "neighbours that vote, one result each (default: 10 20 100 200); 20 suits most datasets, fewer suit few images per class",
      wholeNumbers,
    )
    .option(
      "--temperature <number>",
      "a neighbour of similarity s has exp(s / temperature) votes; lower favours the nearest",
      positive,
      0.07,
    )
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExamples:\n" +
        "  dino knn --checkpoint runs/photos/checkpoint.safetensors --data photos --split 0.2\n" +
        "  dino knn --checkpoint runs/photos/checkpoint.safetensors --train photos/train --test photos/val -k 20\n" +
        "  dino knn --features train.npy --test-features val.npy",
    )
    .action(async (options: KnnOptions) => {
      const source = featureSource(options);
      const { k: ks = [10, 20, 100, 200], temperature } = options;
      using device = await openDevice();
      const labelled = await features();
      using comparing = lazyProgress("comparing");
      const report = await compareNeighbors(labelled, { ks, temperature, device, onCompared: comparing.report });
      if (options.json) {
        printJson({
          ...sourceFields(source, options),
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
      const network = source.kind === "files" ? "" : `, ${options.which}`;
      print(
        `${report.testImages} images among ${report.trainImages}, ${report.classes.length} classes${network}`,
        ...describeResults(report.results),
      );

      async function features(): Promise<LabelledSplits> {
        if (source.kind === "files") return readLabelled(source.features, source.testFeatures);
        using model = await loadModel(device, source.checkpoint, options.which);
        const splits = await openLabelledSplits(options, model);
        const cls = { descriptor: clsDescriptor(model), description: "cls" };
        return await labelledFeatures(splits, await labelledExtractor(model, cls, { ...options, ...source }));
      }
    });
}

/** Describes the results by numbers of neighbours that differ, and names those that let the same images vote. */
function describeResults(results: readonly KnnResult[]): readonly string[] {
  const firstOf = new Map([...results].reverse().map((result) => [result.neighbors, result]));
  const same = results.filter((result) => firstOf.get(result.neighbors) !== result).map(({ k }) => k);
  const different = results.filter((result) => firstOf.get(result.neighbors) === result);
  return [
    ...different.map(describeKnn),
    ...(same.length > 0 ? [`k ${same.join(", ")} would let the same images vote as a k above`] : []),
  ];
}

function describeKnn({ k, neighbors, top1, top5 }: KnnResult): string {
  const fewer = neighbors < k ? `   (only ${neighbors} train images)` : "";
  return `k ${String(k).padStart(4)}   top-1 ${top1.toFixed(2).padStart(6)} %   top-5 ${top5.toFixed(2).padStart(6)} %${fewer}`;
}
