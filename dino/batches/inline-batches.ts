/** Batches made on the calling thread, for a page's worker. */
import { type Batches, type BatchOptions, openBatches } from "./batches.js";
import { cropBuffers } from "./image-crops.js";

/**
 * Opens the same batches as `openThreadedBatches`, decoded by the image set itself. Throws where `openBatches` does.
 */
export function openInlineBatches(options: BatchOptions): Batches {
  const { images, batch } = options;
  return openBatches({ prefetch: 1, ...options }, (settings) => {
    const createBuffer = cropBuffers(settings);
    return {
      imagesPerTask: batch,
      async crop(epoch, items) {
        const { made, add } = createBuffer(items.length, epoch);
        for (const [item, { index, key }] of items.entries()) add(item, await images.decode(index), key);
        return made;
      },
      close: () => Promise.resolve(),
    };
  });
}
