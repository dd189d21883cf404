/** `dino attend` */
import type { Command } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { readingOf } from "../config/derive.js";
import { lazyProgress } from "../files/progress.js";
import { attend } from "../pictures/attend.js";
import { loadModel } from "../weights/load-model.js";
import { share } from "./flags.js";
import { addCheckpointOptions, type CheckpointOptions } from "./model.js";
import { print, printJson, reportFailures } from "./output.js";
import { addPictureSizeOption, pictureSize, type PictureSizeOptions } from "./picture-size.js";
import { addReadingFlags, type ReadingFlags, readingWith } from "./reading-flags.js";

interface AttendOptions extends CheckpointOptions, PictureSizeOptions, ReadingFlags {
  readonly out: string;
  readonly threshold: number;
  readonly json?: true;
}

export function addAttend(dino: Command): void {
  const command = dino.command("attend").argument("<image...>", "image files, and folders of images");
  addReadingFlags(addPictureSizeOption(addCheckpointOptions(command, "attention")))
    .description("draw the attention of the cls token in the last block as maps, overlays and masks")
    .requiredOption("--out <folder>", "folder for the pictures")
    .option(
      "--threshold <share>",
      "share of a map's attention that its mask covers; lower shows only the strongest patches",
      share,
      0.6,
    )
    .option("--json", "print the paths as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExample:\n" +
        "  dino attend --checkpoint runs/photos/checkpoint.safetensors cat.jpg --out runs/photos/attention --image-size 480",
    )
    .action(async (paths: readonly string[], options: AttendOptions) => {
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      using checking = lazyProgress("checking");
      using progress = lazyProgress("images");
      const { images, failures } = await attend({
        model,
        paths,
        out: options.out,
        share: options.threshold,
        size: pictureSize(options, model),
        reading: readingWith(options, readingOf(model.config)),
        onChecked: checking.report,
        onProgress: progress.report,
      });
      if (options.json) {
        printJson({ checkpoint: options.checkpoint, which: options.which, images, failures });
        return;
      }
      reportFailures(failures);
      print(
        ...images.map(({ picture, heads }) => `${picture}   and ${3 * (1 + heads.length)} pictures of single maps`),
      );
    });
}
