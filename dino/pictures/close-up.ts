/** Inspection of a few images, and pictures of the results. */
import { isFailure, type ShownChannels } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import { resizedCenterCrop } from "../images/pixels.js";
import type { Backbone, View } from "../model/backbone.js";
import { clsAttention, openInspector, patchFeatures, type Inspection } from "../model/inspector.js";
import { asPicture, type Picture } from "./drawing.js";
import { attentionPicture, featureMapPicture } from "./pictures.js";

/** A picture of an input image of a backbone, with its patch features and attention. */
export interface CloseUp {
  /** Index of the image in its set. */
  readonly index: number;
  readonly image: Picture;
  readonly inspection: Inspection<"patches" | "attention">;
  /** Label in pictures. */
  readonly label?: string;
}

/** Returns the view with each side multiplied by `times`, for finer maps. */
export function enlargedView(view: View, times: number): View {
  const { rows, cols } = view.crop;
  return { ...view, resize: times * view.resize, crop: { rows: times * rows, cols: times * cols } };
}

/** Inspects some images of a set, without those that cannot be decoded. */
export async function inspectImages(
  backbone: Backbone,
  images: ImageSet,
  indices: readonly number[],
  { view, shown }: { readonly view: View; readonly shown: ShownChannels },
): Promise<readonly CloseUp[]> {
  using inspector = openInspector(backbone, view, { patches: patchFeatures, attention: clsAttention });
  const closeUps: CloseUp[] = [];
  for (const index of indices) {
    const decoded = await images.decode(index);
    if (isFailure(decoded)) continue;
    const image = resizedCenterCrop(decoded, view.resize, view.crop);
    closeUps.push({ index, image: asPicture(image, shown), inspection: await inspector.inspect(image) });
  }
  return closeUps;
}

/** Draws the attention of every head for each image. Throws without images. */
export function drawAttention(
  closeUps: readonly CloseUp[],
  { heads, title }: { readonly heads: number; readonly title: string },
): Picture {
  const { rows, cols } = gridOf(closeUps);
  const items = closeUps.map(({ image, inspection: { attention }, label }) => ({
    image,
    attention,
    ...(label !== undefined && { label }),
  }));
  return attentionPicture({ items, heads, rows, cols, title });
}

/**
 * Draws the patches of each image in colours: the first principal components over all images. Throws without images.
 */
export function drawFeatureMap(closeUps: readonly CloseUp[], { dim }: { readonly dim: number }): Picture {
  const { rows, cols } = gridOf(closeUps);
  const features = new Float32Array(closeUps.length * rows * cols * dim);
  for (const [i, { inspection }] of closeUps.entries()) features.set(inspection.patches, i * rows * cols * dim);
  const images = closeUps.map(({ image }) => image);
  return featureMapPicture({ images, features, dim, rows, cols });
}

function gridOf([first]: readonly CloseUp[]): { readonly rows: number; readonly cols: number } {
  if (first === undefined) throw new Error("close-up: expected at least one image, got none");
  return first.inspection;
}
