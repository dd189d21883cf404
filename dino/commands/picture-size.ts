/** How large images are shown, in the commands that make pictures of single ones. */
import type { Command } from "commander";
import type { Size } from "../images/pixels.js";
import { asUsage } from "./flags.js";
import type { Model } from "../model/backbone.js";
import { parseSetting } from "../config/flags.js";

export interface PictureSizeOptions {
  readonly imageSize?: Size;
}

export function addPictureSizeOption(command: Command): Command {
  return command.option(
    "--image-size <pixels>",
    "shorter side to resize to, or ROWSxCOLS; that of training if left out, more for finer maps",
    (word) => asUsage(() => parseSetting("imageSize", [word])),
  );
}

/** Shorter side to resize images to, or their whole size. */
export function pictureSize({ imageSize }: PictureSizeOptions, { config }: Model): number | Size {
  const { rows, cols } = imageSize ?? config.imageSize;
  return imageSize === undefined || rows === cols ? Math.min(rows, cols) : imageSize;
}
