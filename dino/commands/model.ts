/** Options shared by the commands that run a checkpoint on images. */
import { type Command, Option } from "commander";
import { lazyProgress } from "../files/progress.js";
import type { Subset } from "../images/split.js";
import { type Model, viewOf, type Which } from "../model/backbone.js";
import type { Descriptor } from "../model/descriptors.js";
import { type Extracted, extractFeatures } from "../model/extract.js";
import { wholeNumber } from "./flags.js";

export interface CheckpointOptions {
  readonly checkpoint: string;
  readonly which: Which;
}

export interface ModelOptions extends CheckpointOptions {
  readonly batch: number;
}

/** Adds the flags of commands that run a checkpoint on many images. */
export function addModelOptions(command: Command): Command {
  return addCheckpointOptions(command, "features").option(
    "--batch <images>",
    "images per forward pass; lower if memory runs out",
    wholeNumber,
    64,
  );
}

/** Adds the flags that name a checkpoint and one of its networks; `aspect` is the output of interest. */
export function addCheckpointOptions(
  command: Command,
  aspect: string,
  { required = true }: { readonly required?: boolean } = {},
): Command {
  return command
    .addOption(
      new Option(
        "--checkpoint <file>",
        "checkpoint.safetensors of a run, or a model that dino import wrote",
      ).makeOptionMandatory(required),
    )
    .addOption(
      new Option("--which <network>", `network whose ${aspect} to use; the teacher's are usually better`)
        .choices(["teacher", "student"])
        .default("teacher"),
    );
}

/** Creates a feature extractor that shows progress on stderr; the default descriptor is the cls token. */
export function extractor(
  model: Model,
  batch: number,
  descriptor?: Descriptor,
): (subset: Subset, title: string) => Promise<Extracted> {
  return async ({ images, indices }, title) => {
    using progress = lazyProgress(title);
    const view = viewOf(model.config);
    const chosen = descriptor && { descriptor };
    return await extractFeatures(model, images, { view, indices, batch, ...chosen, onProgress: progress.report });
  };
}
