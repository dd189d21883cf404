/** The flags that say how files become images, for commands that read images. */
import { type Command, Option } from "commander";
import { type PartialConfig, settings } from "../config/settings.js";
import type { Reading } from "../images/reading.js";
import { wholeNumber } from "./flags.js";

/** Values of the flags. */
export type ReadingFlags = Pick<Reading, "pages" | "tile" | "background">;

/** Adds the flags. Without them, images are read as the network asks for, else each page is an image, and nothing is cut. */
export function addReadingFlags(command: Command): Command {
  return command
    .addOption(new Option("--pages <what>", settings.pages.about).choices(["images", "channels"]))
    .option("--tile <pixels>", settings.tile.about, wholeNumber)
    .addOption(
      new Option("--background <color>", settings.background.about).choices(["none", "white", "gray", "black"]),
    );
}

/** Returns how a model or a training run reads images, with the values of the flags. */
export function readingWith({ pages, tile, background }: ReadingFlags, trained: Reading = {}): Reading {
  return {
    ...trained,
    pages: pages ?? trained.pages,
    tile: tile ?? trained.tile,
    background: background ?? trained.background,
  };
}

/** Returns the values of the flags as settings of a training. */
export function settingsOfReading({ pages, tile, background }: ReadingFlags): PartialConfig {
  return { ...(pages && { pages }), ...(tile !== undefined && { tile }), ...(background && { background }) };
}
