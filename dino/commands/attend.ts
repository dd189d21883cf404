/** `dino attend` */
import { type Command, Option } from "commander";
import { openDevice } from "../../engine/node.js";
import { attend } from "../attend.js";
import { parseSetting } from "../config.js";
import { loadModel } from "../features.js";
import { takeReports } from "../progress.js";
import { asUsage, share } from "./flags.js";
import type { ModelOptions } from "./model.js";
import { print, printJson } from "./output.js";

interface AttendOptions extends ModelOptions {
  readonly out: string;
  readonly imageSize?: ReturnType<typeof parseSetting<"imageSize">>;
  readonly threshold: number;
  readonly json?: true;
}

export function addAttend(dino: Command): void {
  const command = dino.command("attend");
  command
    .description("draw what the last block of a network attends to in images")
    .argument("<image...>", "files to look at")
    .requiredOption("--checkpoint <file>", "a checkpoint.safetensors of training, or a model of dino import")
    .addOption(
      new Option("--which <network>", "whose attention to draw").choices(["teacher", "student"]).default("teacher"),
    )
    .requiredOption("--out <folder>", "where the pictures go")
    .option(
      "--image-size <pixels>",
      "shorter side to resize to, or ROWSxCOLS; that of training if left out, more for finer maps",
      (word) => asUsage(() => parseSetting("imageSize", [word])),
    )
    .option("--threshold <share>", "share of a head's attention that its mask holds", share, 0.6)
    .option("--json", "print the paths as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExample:\n" +
        "  dino attend --checkpoint runs/photos/checkpoint.safetensors cat.jpg --out runs/photos/attention --image-size 480",
    )
    .action(async (files: readonly string[], options: AttendOptions) => {
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      const { imageSize } = options;
      const short = Math.min(model.config.imageSize.rows, model.config.imageSize.cols);
      const size = imageSize === undefined ? short : imageSize.rows === imageSize.cols ? imageSize.rows : imageSize;
      using progress = takeReports("images");
      const { out, threshold: share } = options;
      const attended = await attend({ model, files, out, size, share, onProgress: progress.report });
      if (options.json) printJson({ checkpoint: options.checkpoint, which: options.which, images: attended });
      else
        print(...attended.map(({ picture, heads }) => `${picture}   and ${3 * heads.length} pictures of single heads`));
    });
}
