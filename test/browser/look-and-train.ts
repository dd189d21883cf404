/** What Node and a page do alike, to compare what comes of it. Free of Node. */
import { openInlineBatches } from "../../dino/batches/inline-batches.js";
import { fitWarmups } from "../../dino/config/resolve.js";
import type { BuiltinImages } from "../../dino/images/builtin.js";
import { memoryImages } from "../../dino/images/image-set.js";
import type { Image } from "../../dino/images/pixels.js";
import { fullSubset } from "../../dino/images/split.js";
import { rng } from "../../dino/math/random.js";
import { viewOf } from "../../dino/model/backbone.js";
import { extractFeatures } from "../../dino/model/extract.js";
import { clsAttention, openInspector } from "../../dino/model/inspector.js";
import { lengthOf } from "../../dino/training/schedule.js";
import { batchOptions, openTrainer } from "../../dino/training/trainer.js";
import { parseCheckpoint, parseModel, under } from "../../dino/weights/checkpoint-bytes.js";
import { selectNetwork, uploadModel } from "../../dino/weights/read-network.js";
import type { Device } from "../../engine/index.js";

/** Noise of 24 x 24 pixels, always the same. */
function fixedImage(): Image {
  const random = rng({ seed: 5, purpose: "fixed image" });
  return { rows: 24, cols: 24, pixels: Uint8Array.from({ length: 24 * 24 * 3 }, () => random.integer(256)) };
}

/** The feature of a fixed image [dim], and what its cls token attends to [heads * patches]. */
export async function look(
  device: Device,
  checkpoint: Uint8Array<ArrayBuffer>,
): Promise<{ readonly feature: readonly number[]; readonly attention: readonly number[] }> {
  const file = await parseModel(checkpoint);
  using model = uploadModel(device, selectNetwork(file, { path: "checkpoint", which: "teacher" }), "teacher");
  const image = fixedImage();
  const view = viewOf(model.config);
  const { features } = await extractFeatures(model, memoryImages({ images: [image] }), { view });
  using inspector = openInspector(model, view, { attention: clsAttention });
  const { attention } = await inspector.inspect(image);
  return { feature: [...features.values], attention: [...attention] };
}

/** Trains a student and a teacher that begin as that of a checkpoint on built-in images; the loss of each of some steps. */
export async function train(
  device: Device,
  checkpoint: Uint8Array<ArrayBuffer>,
  { images, steps }: { readonly images: BuiltinImages["train"]; readonly steps: number },
): Promise<readonly number[]> {
  const file = await parseCheckpoint(checkpoint);
  const subset = fullSubset(images);
  const wanted = { ...file.config, batch: 4, steps };
  const { iterationsPerEpoch } = lengthOf(wanted, subset.indices.length);
  const { config } = fitWarmups(wanted, { iterationsPerEpoch, explicit: new Set() });
  const setup = { ...subset, config, device, initialState: { values: under("student.", file) } };
  const losses: number[] = [];
  await using trainer = await openTrainer({
    ...setup,
    batches: openInlineBatches(batchOptions(setup)),
    onWarning: (words) => {
      throw new Error(words);
    },
    onProgress: ({ loss }) => void losses.push(loss),
  });
  while (trainer.done < steps) await trainer.runStep();
  return losses;
}
