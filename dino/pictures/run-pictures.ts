/** Pictures during a run: attention and features of the teacher for a few images, the same at every step. */
import { shownChannels } from "../config/derive.js";
import type { Config } from "../config/settings.js";
import { firstOfEachClass, type Subset, type Splits } from "../images/split.js";
import { viewOf } from "../model/backbone.js";
import { backboneOf, type Network } from "../model/network.js";
import type { PictureKind } from "../run/picture-names.js";
import { drawAttention, enlargedView, drawFeatureMap, inspectImages } from "./close-up.js";
import type { Picture } from "./drawing.js";

export interface RunPicturesOptions {
  readonly config: Config;
  readonly splits: Splits;
}

/** Maximum number of images in a picture; fewer for attention, which has three rows per image. */
const MAX_IMAGES = 6;
const MAX_ATTENDED = 3;

/** Draws attention of every head and patch features after some steps. Returns undefined if no image can be decoded. */
export async function drawRunPictures(
  network: Network,
  step: number,
  { config, splits }: RunPicturesOptions,
): Promise<Readonly<Record<PictureKind, Picture>> | undefined> {
  const backbone = backboneOf(network);
  const view = viewOf(config);
  const shown = splits.test.indices.length > 0 ? splits.test : splits.train;
  const { images } = shown;
  const closeUps = await inspectImages(backbone, images, sampleOf(shown), {
    view: enlargedView(view, view.crop.rows < 128 ? 3 : 1),
    shown: shownChannels(config),
  });
  if (closeUps.length === 0) return undefined;
  const { heads, dim } = backbone.vit;
  const labelled = closeUps.map((one) => ({ ...one, label: images.classes[images.labels?.[one.index] ?? -1] ?? "" }));
  const title = `What the cls token of the last block attends to after ${step} steps`;
  return {
    attention: drawAttention(labelled.slice(0, MAX_ATTENDED), { heads, title }),
    features: drawFeatureMap(closeUps, { dim }),
  };
}

/** Chooses one image per class, or the first images if there are no classes. */
function sampleOf(subset: Subset): readonly number[] {
  return (subset.images.labels ? firstOfEachClass(subset) : Array.from(subset.indices)).slice(0, MAX_IMAGES);
}
