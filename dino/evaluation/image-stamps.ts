/** Stamps of images: their names, with sizes and times of the last change of their files. */
import { stat } from "node:fs/promises";
import type { ImageLocation } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";

/** Files whose size and time are read concurrently. */
const AT_ONCE = 256;

/** A stamp, which changes with the file of the image, and the location of the image. */
export interface StampedImage {
  readonly stamp: string;
  readonly location: ImageLocation;
}

/** Yields all images of a set with their stamps, in order, several at a time. The stamp of an image in memory is its name. */
export async function* stampedImages(images: ImageSet): AsyncGenerator<readonly StampedImage[]> {
  const { count } = images;
  const changes = lastChanges();
  for (let first = 0; first < count; first += AT_ONCE) {
    const places = Array.from({ length: Math.min(AT_ONCE, count - first) }, (_, i) => images.location(first + i));
    yield await Promise.all(
      places.map(async (location) => {
        const { name, bytes } = location;
        return { location, stamp: bytes.kind === "memory" ? name : `${name} ${await changes(bytes.path)}` };
      }),
    );
  }
}

/** Returns size and time of the last change of a file; consecutive calls for one file read them once. */
function lastChanges(): (path: string) => Promise<string> {
  let latest: { readonly path: string; readonly change: Promise<string> } | undefined;
  return (path) => {
    if (latest?.path !== path) {
      latest = { path, change: stat(path).then(({ size, mtimeMs }) => `${size} ${mtimeMs}`) };
    }
    return latest.change;
  };
}
