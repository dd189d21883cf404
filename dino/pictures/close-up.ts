/** A few images looked at closely, and the pictures of what a backbone sees in them. */
import { isFailure } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import { centerCrop, type Image, resizeShortSide } from "../images/pixels.js";
import type { Backbone, View } from "../model/backbone.js";
import { clsAttention, openInspector, patchFeatures, type Inspection } from "../model/inspector.js";
import { asPicture, type Picture } from "./drawing.js";
import { attentionPicture, featureMapPicture } from "./pictures.js";

/** An image as a backbone saw it, and what it saw. */
export interface CloseUp {
  /** Of the image in its set. */
  readonly index: number;
  readonly image: Image;
  readonly inspection: Inspection<"patches" | "attention">;
  /** Written beside it in pictures. */
  readonly label?: string;
}

/** The same view of so many times the pixels, for as many times finer maps. */
export function enlargedView(view: View, times: number): View {
  const { rows, cols } = view.crop;
  return { ...view, resize: times * view.resize, crop: { rows: times * rows, cols: times * cols } };
}

/** Looks at some images of a set, without those that cannot be decoded. */
export async function inspectImages(
  backbone: Backbone,
  images: ImageSet,
  indices: readonly number[],
  view: View,
): Promise<readonly CloseUp[]> {
  using inspector = openInspector(backbone, view, { patches: patchFeatures, attention: clsAttention });
  const seen: CloseUp[] = [];
  for (const index of indices) {
    const decoded = await images.decode(index);
    if (isFailure(decoded)) continue;
    const image = centerCrop(resizeShortSide(decoded, view.resize), view.crop);
    seen.push({ index, image, inspection: await inspector.inspect(image) });
  }
  return seen;
}

/** The attention of every head in each of them. Throws for none. */
export function drawAttention(
  closeUps: readonly CloseUp[],
  { heads, title }: { readonly heads: number; readonly title: string },
): Picture {
  const { rows, cols } = gridOf(closeUps);
  const items = closeUps.map(({ image, inspection: { attention }, label }) => ({
    image: asPicture(image),
    attention,
    ...(label !== undefined && { label }),
  }));
  return attentionPicture({ items, heads, rows, cols, title });
}

/** Their patches in the colours of the first principal components of all. Throws for none. */
export function drawFeatureMap(closeUps: readonly CloseUp[], { dim }: { readonly dim: number }): Picture {
  const { rows, cols } = gridOf(closeUps);
  const features = new Float32Array(closeUps.length * rows * cols * dim);
  for (const [i, { inspection }] of closeUps.entries()) features.set(inspection.patches, i * rows * cols * dim);
  const images = closeUps.map(({ image }) => asPicture(image));
  return featureMapPicture({ images, features, dim, rows, cols });
}

function gridOf([first]: readonly CloseUp[]): { readonly rows: number; readonly cols: number } {
  if (first === undefined) throw new Error("close-up: expected at least one image, got none");
  return first.inspection;
}
