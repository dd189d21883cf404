/** A page with a model: what `look-and-train.ts` does, on the browser's own device and built-in images. */
import { builtinImages } from "../../dino/images/builtin.js";
import { openDevice } from "../../engine/adapters/browser.js";
import { look, train } from "./look-and-train.js";

/** What the page offers to Node. */
export interface ModelPage {
  readonly lookAndTrain: (
    checkpoint: readonly number[],
    steps: number,
  ) => Promise<Awaited<ReturnType<typeof look>> & { readonly losses: readonly number[]; readonly device: string }>;
}

const offered: ModelPage = {
  async lookAndTrain(checkpoint, steps) {
    const bytes = Uint8Array.from(checkpoint);
    using device = await openDevice();
    const { train: images } = builtinImages();
    const looked = await look(device, bytes);
    return { ...looked, losses: await train(device, bytes, { images, steps }), device: device.adapterKind };
  },
};
Object.assign(globalThis, offered);
