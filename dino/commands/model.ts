/** What the commands share that look at images with a checkpoint. */
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

/** The flags of every command that looks at images with a checkpoint, many at once. */
export function addModelOptions(command: Command): Command {
  return addCheckpointOptions(command, "features").option("--batch <images>", "images at once", wholeNumber, 64);
}

/** The flags that name a checkpoint and a network of it, whose `aspect` is to be seen. */
export function addCheckpointOptions(
  command: Command,
  aspect: string,
  { required = true }: { readonly required?: boolean } = {},
): Command {
  return command
    .addOption(
      new Option(
        "--checkpoint <file>",
        "a checkpoint.safetensors of training, or a model of dino import",
      ).makeOptionMandatory(required),
    )
    .addOption(
      new Option("--which <network>", `whose ${aspect} to take`).choices(["teacher", "student"]).default("teacher"),
    );
}

/** Features with progress on stderr; cls tokens where no descriptor says otherwise. */
export function extractor(
  model: Model,
  batch: number,
  descriptor?: Descriptor,
): (subset: Subset, title: string) => Promise<Extracted> {
  return async ({ images, indices }, title) => {
    using progress = lazyProgress(title);
    const view = viewOf(model.config);
    const taken = descriptor && { descriptor };
    return await extractFeatures(model, images, { view, indices, batch, ...taken, onProgress: progress.report });
  };
}
