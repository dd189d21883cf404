/** `dino embed` */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import type { Command } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { readingOf } from "../config/derive.js";
import { featurePaths, featureList, writeFeatures } from "../evaluation/feature-files.js";
import { writePatches } from "../evaluation/patch-file.js";
import { lazyProgress } from "../files/progress.js";
import { openSubset } from "../images/sources/open-splits.js";
import type { Subset } from "../images/split.js";
import { type Model, viewOf } from "../model/backbone.js";
import { loadModel } from "../weights/load-model.js";
import { asUsage } from "./flags.js";
import { addModelOptions, extractor, type ModelOptions } from "./model.js";
import { print, printJson, printToStderr, reportFailures } from "./output.js";
import { addReadingFlags, type ReadingFlags, readingWith } from "./reading-flags.js";

interface EmbedOptions extends ModelOptions, ReadingFlags {
  readonly data: string;
  readonly out: string;
  readonly patches?: true;
  readonly json?: true;
}

export function addEmbed(dino: Command): void {
  addReadingFlags(addModelOptions(dino.command("embed")))
    .description("write the features of images as a NumPy file, with a list of the images beside it")
    .requiredOption("--data <images>", "images, or `builtin` for the held-out built-in images")
    .requiredOption("--out <file.npy>", "file for the features; the lists are written beside it, as .txt and .json")
    .option(
      "--patches",
      "also write the features of all patches, [images, rows, cols, features], into FILE-patches.npy; " +
        "takes as many numbers per image as it has patches times features",
    )
    .option("--json", "print the summary as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExamples:\n  dino embed --checkpoint runs/photos/checkpoint.safetensors --data photos --out features.npy\n" +
        "  dino embed --checkpoint dinov2-s14.safetensors --data photos --out features.npy --patches",
    )
    .action(async (options: EmbedOptions) => {
      const paths = asUsage(() => featurePaths(options.out));
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      const subset = await openSubset(options.data, readingWith(options, readingOf(model.config)));
      const { extracted, grid } = options.patches
        ? await withPatches(model, subset, { path: paths.patches, batch: options.batch })
        : { extracted: await extractor(model, options.batch)(subset, "images") };
      const { features, failures } = extracted;
      const patchShape = grid && [features.rows, grid.rows, grid.cols, features.dim];
      const { data, checkpoint, which } = options;
      if (!options.patches) await removeEarlier(paths.patches);
      await writeFeatures(options.out, featureList(subset.images, extracted, { data, checkpoint, which }));

      if (options.json) {
        printJson({
          features: options.out,
          files: paths.txt,
          list: paths.json,
          rows: features.rows,
          dim: features.dim,
          ...(patchShape && { patches: { file: paths.patches, shape: patchShape } }),
          failures,
        });
        return;
      }
      reportFailures(failures);
      print(
        `${options.out}   [${features.rows}, ${features.dim}] float32`,
        ...(patchShape ? [`${paths.patches}   [${patchShape.join(", ")}] float32`] : []),
        `${paths.txt}   the file of each row`,
        `${paths.json}   the same, with labels`,
      );
    });
}

/** Removes features of patches, which belong to the features that are to be replaced. */
async function removeEarlier(path: string): Promise<void> {
  if (!existsSync(path)) return;
  await rm(path);
  printToStderr(`removed ${path}, the patches of the earlier features; --patches writes new ones`);
}

/** Extracts features and writes those of patches; shows progress on stderr. */
async function withPatches(
  model: Model,
  { images, indices }: Subset,
  { path, batch }: { path: string; batch: number },
) {
  using progress = lazyProgress("images");
  return await writePatches(path, model, images, {
    view: viewOf(model.config),
    indices,
    batch,
    onProgress: progress.report,
  });
}
