/** The image size flag of the commands that draw single images. */
import type { Command } from "commander";
import { parseSetting } from "../config/flags.js";
import type { Size } from "../images/pixels.js";
import type { Model } from "../model/backbone.js";
import { asUsage } from "./flags.js";

export interface PictureSizeOptions {
  readonly imageSize?: Size;
}

export function addPictureSizeOption(command: Command): Command {
  return command.option(
    "--image-size <pixels>",
    "shorter side to resize to, or ROWSxCOLS (default: the training size); 2 to 4 times the default gives finer maps",
    (word) => asUsage(() => parseSetting("imageSize", [word])),
  );
}

/** Returns the shorter side to resize images to, or the full size. */
export function pictureSize({ imageSize }: PictureSizeOptions, { config }: Model): number | Size {
  const { rows, cols } = imageSize ?? config.imageSize;
  return imageSize === undefined || rows === cols ? Math.min(rows, cols) : imageSize;
}
