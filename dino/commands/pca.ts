/** `dino pca` */
import type { Command } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { readingOf } from "../config/derive.js";
import { lazyProgress } from "../files/progress.js";
import { drawPca } from "../pictures/pca.js";
import { loadModel } from "../weights/load-model.js";
import { addCheckpointOptions, type CheckpointOptions } from "./model.js";
import { print, printJson, reportFailures } from "./output.js";
import { addPictureSizeOption, pictureSize, type PictureSizeOptions } from "./picture-size.js";
import { addReadingFlags, type ReadingFlags, readingWith } from "./reading-flags.js";

interface PcaOptions extends CheckpointOptions, PictureSizeOptions, ReadingFlags {
  readonly out: string;
  readonly mask: boolean;
  readonly json?: true;
}

export function addPca(dino: Command): void {
  const command = dino.command("pca").argument("<image...>", "image files, and folders of images");
  addReadingFlags(addPictureSizeOption(addCheckpointOptions(command, "features")))
    .description("draw patch features as colours: similar parts of all images alike, the background black")
    .requiredOption("--out <folder>", "folder for the pictures and a contact sheet")
    .option("--no-mask", "colour the background too; use it if the mask removes parts of the objects")
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExample:\n" +
        "  dino pca --checkpoint runs/photos/checkpoint.safetensors photos/horses --out runs/photos/pca --image-size 480",
    )
    .action(async (paths: readonly string[], options: PcaOptions) => {
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      using checking = lazyProgress("checking");
      using extracting = lazyProgress("features");
      using drawing = lazyProgress("pictures");
      const { images, sheet, shares, failures } = await drawPca({
        model,
        paths,
        out: options.out,
        mask: options.mask,
        size: pictureSize(options, model),
        reading: readingWith(options, readingOf(model.config)),
        onChecked: checking.report,
        onExtracted: extracting.report,
        onDrawn: drawing.report,
      });
      if (options.json) {
        printJson({ checkpoint: options.checkpoint, which: options.which, images, sheet, shares, failures });
        return;
      }
      reportFailures(failures);
      print(
        ...images.map(({ picture, foreground }) =>
          options.mask ? `${picture}   foreground ${(100 * foreground).toFixed(1)} %` : picture,
        ),
        `${sheet}   contact sheet`,
      );
    });
}
