/** The flags that say what becomes of pages and large images, for commands that read images. */
import { type Command, Option } from "commander";
import { settings } from "../config/settings.js";
import type { Cutting, Reading } from "../images/reading.js";
import { wholeNumber } from "./flags.js";

/** Adds the flags. Without them, each page is an image, and nothing is cut. */
export function addCuttingOptions(command: Command): Command {
  return command
    .addOption(new Option("--pages <what>", settings.pages.about).choices(["images", "channels"]))
    .option("--tile <pixels>", settings.tile.about, wholeNumber);
}

/** Returns how a model or a training run reads images, with the values of the flags. */
export function cuttingOf({ pages, tile }: Cutting, trained: Reading = {}): Reading {
  return { ...trained, pages: pages ?? trained.pages, tile: tile ?? trained.tile };
}
