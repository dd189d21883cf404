/** `dino search` */
import { existsSync } from "node:fs";
import { type Command, Option } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { pictureDecoding } from "../config/derive.js";
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
    .description("find the images of an index that are most similar to given images")
    .argument("<image...>", "query images")
    .requiredOption("--index <file.npy>", "features that dino embed wrote, with their .json list beside them")
    .option("-k, --neighbors <images>", "neighbours to find per query", wholeNumber, 10)
    .option("--out <file.png>", "draw each query beside its neighbours", pngFile)
    .option("--data <images>", "current place of the images of the index, if they were moved")
    .option("--checkpoint <file>", "checkpoint that made the index, if it was moved")
    .addOption(
      new Option("--which <network>", "network that made the index (default: named in its list)").choices([
        "teacher",
        "student",
      ]),
    )
    .option("--batch <images>", "images per forward pass; lower if memory runs out", wholeNumber, 64)
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText("after", "\nExample:\n  dino search --index features.npy cat.jpg --out like-cat.png")
    .action(async (files: readonly string[], options: SearchFlags) => {
      const { json: listPath } = asUsage(() => featurePaths(options.index));
      const { features, list } = await readFeatures(options.index);
      const { checkpoint = list.checkpoint, which = list.which } = options;
      if (options.checkpoint === undefined && !existsSync(checkpoint)) {
        throw new Error(
          `${listPath}: made with ${checkpoint}, which does not exist; name its new place with --checkpoint`,
        );
      }
      using device = await openDevice();
      using model = await loadModel(device, checkpoint, which);
      if (model.vit.dim !== features.dim) {
        throw new Error(
          `${options.index}: holds ${features.dim} numbers per image, but ${checkpoint} makes ${model.vit.dim}; name the checkpoint that made it with --checkpoint`,
        );
      }
      const extract = extractor(model, options.batch);
      const found = await searchIndex({
        index: features,
        files,
        k: options.neighbors,
        device,
        reading: model.config,
        extract: (images) => extract(fullSubset(images), "queries"),
      });
      const decoding = pictureDecoding(model.config);
      const images = await indexedImages(list, options.data, decoding);
      if (options.out !== undefined) await writePicture(options.out, await searchSheet(found, images, decoding));
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
      if (options.out !== undefined) print(`${options.out}   contact sheet`);
    });
}
