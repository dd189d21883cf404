/** Pictures that a run leaves on its way: what its teacher sees in a few images, the same ones each time. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { attentionOf, closer, featureMapOf, lookClosely } from "./close-up.js";
import type { Config } from "./config.js";

import { oneOfEach, type Part, type Parts } from "./evaluate.js";
import { viewOf } from "./features.js";
import { backboneOf, type Network } from "./network.js";
import { pictureName } from "./picture-names.js";
import { filesOf } from "./run-folder.js";
import { encodePng } from "./png.js";

export interface RunPicturesOptions {
  readonly config: Config;
  readonly parts: Parts;
  readonly write: (path: string, content: Uint8Array) => Promise<void>;
}

/** Images that the pictures show at most; of attention fewer, with three rows each. */
const MOST = 6;
const MOST_ATTENDED = 3;

/**
 * Draws what a network sees after so many steps, into the folder of its run: the attention of every head, and the patch
 * features. Draws nothing where not one of the images can be decoded.
 */
export async function drawRunPictures(
  network: Network,
  step: number,
  { config, parts, write }: RunPicturesOptions,
): Promise<void> {
  const backbone = backboneOf(network);
  const view = viewOf(config);
  const shown = parts.test.indices.length > 0 ? parts.test : parts.train;
  const { images } = shown;
  const seen = await lookClosely(backbone, images, chosenOf(shown), closer(view, view.crop.rows < 128 ? 3 : 1));
  if (seen.length === 0) return;
  const { heads, dim } = backbone.vit;
  const labelled = seen.map((one) => ({ ...one, label: images.classes[images.labels?.[one.index] ?? -1] ?? "" }));
  const title = `What the cls token of the last block attends to after ${step} steps`;
  const { pictures } = filesOf(config.out);
  await mkdir(pictures, { recursive: true });
  const attention = attentionOf(labelled.slice(0, MOST_ATTENDED), { heads, title });
  await write(join(pictures, pictureName(step, "attention")), encodePng(attention));
  await write(join(pictures, pictureName(step, "features")), encodePng(featureMapOf(seen, { dim })));
}

/** One of each class, or the first ones where there are no classes. */
function chosenOf(part: Part): readonly number[] {
  return (part.images.labels ? oneOfEach(part) : Array.from(part.indices)).slice(0, MOST);
}
