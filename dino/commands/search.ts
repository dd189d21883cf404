/** `dino search` */
import { existsSync } from "node:fs";
import { type Command, Option } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { featurePaths, readFeatures } from "../evaluation/feature-files.js";
import { fullSubset } from "../images/split.js";
import type { Which } from "../model/backbone.js";
import { indexedImages } from "../retrieval/indexed-images.js";
import { searchIndex, searchSheet } from "../retrieval/search.js";
import { loadModel } from "../weights/load-model.js";
import { asUsage, pngFile, wholeNumber } from "./flags.js";
import { extractor } from "./model.js";
import { print, printJson, writePicture } from "./output.js";

interface SearchFlags {
  readonly index: string;
  readonly neighbors: number;
  readonly out?: string;
  readonly data?: string;
  readonly checkpoint?: string;
  readonly which?: Which;
  readonly batch: number;
  readonly json?: true;
}

export function addSearch(dino: Command): void {
  dino
    .command("search")
    .description("find the images most like others, among those whose features dino embed wrote")
    .argument("<image...>", "files to find others like")
    .requiredOption("--index <file.npy>", "features that dino embed wrote, with the list beside them")
    .option("-k, --neighbors <images>", "how many to find for each", wholeNumber, 10)
    .option("--out <file.png>", "draw each image beside what was found for it", pngFile)
    .option("--data <images>", "where the images of the index lie now, if not where they lay for dino embed")
    .option("--checkpoint <file>", "what made the index, if it lies elsewhere now")
    .addOption(
      new Option("--which <network>", "that made the index, if not the one its list names").choices([
        "teacher",
        "student",
      ]),
    )
    .option("--batch <images>", "images at once", wholeNumber, 64)
    .option("--json", "print what was found as JSON and nothing else")
    .addHelpText("after", "\nExample:\n  dino search --index features.npy cat.jpg --out like-cat.png")
    .action(async (files: readonly string[], options: SearchFlags) => {
      const { json: listPath } = asUsage(() => featurePaths(options.index));
      const { features, list } = await readFeatures(options.index);
      const { checkpoint = list.checkpoint, which = list.which } = options;
      if (options.checkpoint === undefined && !existsSync(checkpoint)) {
        throw new Error(`${listPath}: it was made with ${checkpoint}, which is not there; name it by --checkpoint`);
      }
      using device = await openDevice();
      using model = await loadModel(device, checkpoint, which);
      if (model.vit.dim !== features.dim) {
        throw new Error(
          `${options.index}: it holds ${features.dim} numbers an image, but ${checkpoint} makes ${model.vit.dim}; name by --checkpoint what made it`,
        );
      }
      const extract = extractor(model, options.batch);
      const found = await searchIndex({
        index: features,
        files,
        k: options.neighbors,
        device,
        extract: (images) => extract(fullSubset(images), "queries"),
      });
      const images = await indexedImages(list, options.data);
      if (options.out !== undefined) await writePicture(options.out, await searchSheet(found, images));
      const named = found.map(({ query, neighbors }) => ({
        query,
        neighbors: neighbors.map(({ row, similarity }) => ({ path: images.path(row), similarity })),
      }));
      if (options.json) {
        printJson({
          index: options.index,
          checkpoint,
          which,
          images: features.rows,
          found: named,
          sheet: options.out ?? null,
        });
        return;
      }
      for (const { query, neighbors } of named) {
        print(query, ...neighbors.map(({ path, similarity }) => `  ${similarity.toFixed(4).padStart(7)}   ${path}`));
      }
      if (options.out !== undefined) print(`${options.out}   shows them`);
    });
}
