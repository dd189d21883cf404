/** Pictures of a run on its way: what its teacher sees in a few images, the same ones each time. */
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

/** Images that the pictures show at most; of attention fewer, with three rows each. */
const MOST = 6;
const MOST_ATTENDED = 3;

/**
 * Draws what a network sees after so many steps: the attention of every head, and the patch features. Undefined where not one of
 * the images can be decoded.
 */
export async function drawRunPictures(
  network: Network,
  step: number,
  { config, splits }: RunPicturesOptions,
): Promise<Readonly<Record<PictureKind, Picture>> | undefined> {
  const backbone = backboneOf(network);
  const view = viewOf(config);
  const shown = splits.test.indices.length > 0 ? splits.test : splits.train;
  const { images } = shown;
  const seen = await inspectImages(backbone, images, sampleOf(shown), enlargedView(view, view.crop.rows < 128 ? 3 : 1));
  if (seen.length === 0) return undefined;
  const { heads, dim } = backbone.vit;
  const labelled = seen.map((one) => ({ ...one, label: images.classes[images.labels?.[one.index] ?? -1] ?? "" }));
  const title = `What the cls token of the last block attends to after ${step} steps`;
  return {
    attention: drawAttention(labelled.slice(0, MOST_ATTENDED), { heads, title }),
    features: drawFeatureMap(seen, { dim }),
  };
}

/** One of each class, or the first ones where there are no classes. */
function sampleOf(subset: Subset): readonly number[] {
  return (subset.images.labels ? firstOfEachClass(subset) : Array.from(subset.indices)).slice(0, MOST);
}
