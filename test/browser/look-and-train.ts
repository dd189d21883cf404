/** What Node and a page do alike, to compare what comes of it. Free of Node. */
import { applyCropU8, drawCrops } from "../../dino/augment.js";
import type { BuiltinImages } from "../../dino/builtin-digits.js";
import { parseCheckpoint, parseModel, under } from "../../dino/checkpoint-bytes.js";
import { augmentOptions, networkConfig, stepConfig } from "../../dino/config.js";
import { cropPlace } from "../../dino/crop-layout.js";
import { extractFeatures, networkIn, placeModel, viewOf } from "../../dino/features.js";
import { memoryImages } from "../../dino/image-set.js";
import { clsAttentionOf, openInspector } from "../../dino/inspector.js";
import { createNetwork, writeNetwork } from "../../dino/network.js";
import { type Image, normalize, normalizeTable } from "../../dino/pixels.js";
import { rng } from "../../dino/random.js";
import { isFailure } from "../../dino/sources/image-place.js";
import { createStep, GLOBAL_CROPS } from "../../dino/step.js";
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
  using model = placeModel(device, networkIn(file, { path: "checkpoint", which: "teacher" }), "teacher");
  const image = fixedImage();
  const view = viewOf(model.config);
  const { features } = await extractFeatures(model, memoryImages({ images: [image] }), { view });
  using inspector = openInspector(model, view, { attention: clsAttentionOf });
  const { attention } = await inspector.look(image);
  return { feature: [...features.values], attention: [...attention] };
}

/** Trains the student of a checkpoint on built-in digits, with a teacher that begins as it; the loss of each of some steps. */
export async function train(
  device: Device,
  checkpoint: Uint8Array<ArrayBuffer>,
  { images, steps }: { readonly images: BuiltinImages["train"]; readonly steps: number },
): Promise<readonly number[]> {
  const file = await parseCheckpoint(checkpoint);
  const { config } = file;
  const batch = 4;
  using student = createNetwork(device, networkConfig(config), "student");
  using teacher = createNetwork(device, networkConfig(config), "teacher");
  for (const network of [student, teacher]) writeNetwork(network, under("student.", file));
  using step = await createStep(device, { student, teacher, ...stepConfig(config), batch });

  const augment = augmentOptions(config);
  const table = normalizeTable(augment);
  const losses: number[] = [];
  for (let done = 0; done < steps; done++) {
    const globals = new Float32Array(step.globals.shape.reduce((a, b) => a * b));
    const locals = new Float32Array(step.locals!.shape.reduce((a, b) => a * b));
    for (let slot = 0; slot < batch; slot++) {
      const image = await images.decode(done * batch + slot);
      if (isFailure(image)) throw new Error(image.reason);
      const key = { seed: 0, epoch: 0, index: done * batch + slot };
      drawCrops(augment, key, image).forEach((parameters, crop) => {
        const isGlobal = crop < GLOBAL_CROPS;
        const layout = { crops: isGlobal ? GLOBAL_CROPS : augment.localCrops, images: batch, parts: 1 };
        const values = normalize(applyCropU8(image, parameters), table);
        const place = cropPlace(layout, isGlobal ? crop : crop - GLOBAL_CROPS, slot);
        (isGlobal ? globals : locals).set(values, place * values.length);
      });
    }
    step.globals.write(globals);
    step.locals!.write(locals);
    step.knobs.write({ lr: 0.003, weightDecay: 0.04, momentum: 0.99, teacherTemperature: 0.04, frozen: 0 });
    await step.program.run();
    losses.push(await step.program.readScalar("loss"));
  }
  return losses;
}
