/** Batches of images that are cropped on the thread that asks for them, as a page's worker does. */
import { type Batches, type BatchOptions, openBatches } from "./batches.js";
import { cropBuffers } from "./image-crops.js";

/** The same batches as those of threads, of images as their set decodes them. Throws where openBatches does. */
export function openInlineBatches(options: BatchOptions): Batches {
  const { images, batch } = options;
  return openBatches({ prefetch: 1, ...options }, (settings) => {
    const sheet = cropBuffers(settings);
    return {
      imagesPerTask: batch,
      async crop(epoch, items) {
        const { made, add: put } = sheet(items.length, epoch);
        for (const [item, { index, key }] of items.entries()) put(item, await images.decode(index), key);
        return made;
      },
      close: () => Promise.resolve(),
    };
  });
}
