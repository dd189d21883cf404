/** Computations of the viewer on any device: attention and features of an image, and the most similar images. */
import type { Device } from "../../../engine/index.js";
import { type DeviceSimilarities, similaritiesOn } from "../../evaluation/device-similarities.js";
import { parseNpy } from "../../files/npy.js";
import { fitToPatches } from "../../images/crop-to-patches.js";
import { type Image, resizedCenterCrop } from "../../images/pixels.js";
import { type FeatureRows, normalizeRows } from "../../math/feature-rows.js";
import { type Model, viewOf } from "../../model/backbone.js";
import { openInspector, patchFeatures } from "../../model/inspector.js";
import { clsOf } from "../../model/tokens.js";
import { colorsOf, fitColors, type Palette } from "../../pictures/feature-colors.js";
import { nearest, type Neighbor } from "../../retrieval/nearest.js";
import { parseModel } from "../../weights/checkpoint-bytes.js";
import { selectNetwork, uploadModel } from "../../weights/read-network.js";

/** Properties of a model for display. */
export interface ModelFacts {
  readonly parameters: number;
  readonly patch: number;
  readonly heads: number;
  readonly depth: number;
  readonly dim: number;
  /** Selectable shorter sides of images, the training size first. */
  readonly sizes: readonly number[];
  /** Name of the adapter. */
  readonly device: string;
}

/** The results for an image. */
export interface ImageView {
  /** The input image, cropped to whole patches. */
  readonly image: Image;
  /** Size in patches. */
  readonly rows: number;
  readonly cols: number;
  readonly heads: number;
  /**
   * Attention of the cls token, then of every patch, without the shares of registers and the cls token: [heads, 1 +
   * patches, patches].
   */
  readonly attention: Float32Array;
  /** Features of length one: [patches, dim]. */
  readonly features: Float32Array;
  /** Features as red, green and blue: [patches, 3]. */
  readonly colors: Uint8Array;
  /** The most similar images of the index; empty without an index. */
  readonly neighbors: readonly Neighbor[];
  readonly ms: number;
}

export interface ViewOptions {
  /** Shorter side to resize the image to. */
  readonly size: number;
  /** Reuses the colours of the previous image, for videos. */
  readonly keepColors: boolean;
}

/** A network that inspects images one at a time. Dispose of it to free its memory. */
export interface Viewer extends Disposable {
  readonly facts: ModelFacts;
  inspect(image: Image, options: ViewOptions): Promise<ImageView>;
  /** Sets the index, a .npy file of `dino embed`. Throws for features of another network. */
  setIndex(npy: Uint8Array): void;
}

/** Maximum bytes of attention read back per image. */
const MAX_ATTENTION_BYTES = 64 << 20;
const NEIGHBORS = 12;

/** Loads the network of a checkpoint or model file onto a device. Throws for other files. */
export async function openViewer(device: Device, file: Uint8Array<ArrayBuffer>): Promise<Viewer> {
  const network = selectNetwork(await parseModel(file), { path: "the model", which: "teacher" });
  const model = uploadModel(device, network, "model");
  const view = viewOf(model.config);
  const { heads, patch, depth, dim } = model.vit;
  const inspector = openInspector(model, view, {
    patches: patchFeatures,
    attention: (_, { attention }) => attention(), // [1, heads, tokens, tokens]
  });
  const clsInspector = openInspector(model, view, { feature: (_, { tokens }) => clsOf(tokens) });
  let palette: Palette | undefined;
  let index: { readonly rows: FeatureRows; readonly on: DeviceSimilarities } | undefined;

  const neighborsOf = async (image: Image): Promise<readonly Neighbor[]> => {
    if (index === undefined) return [];
    const { feature } = await clsInspector.inspect(resizedCenterCrop(image, view.resize, view.crop));
    const queries = normalizeRows({ values: feature, rows: 1, dim });
    const [found] = await nearest({ queries, index: index.rows, k: NEIGHBORS, similarities: index.on.similarities });
    return found!;
  };

  return {
    facts: {
      parameters: [...network.backbone.values()].reduce((sum, { values }) => sum + values.length, 0),
      patch,
      heads,
      depth,
      dim,
      sizes: sizesFor(model, device),
      device: device.name,
    },
    async inspect(image, { size, keepColors }) {
      const began = performance.now();
      const shown = fitToPatches(image, { size, patch });
      const { rows, cols, patches, attention } = await inspector.inspect(shown);
      const features = normalizeRows({ values: patches, rows: rows * cols, dim });
      if (!keepColors || palette === undefined) palette = fitColors(features);
      return {
        image: shown,
        rows,
        cols,
        heads,
        attention: patchAttention(attention, { heads, patches: rows * cols }),
        features: features.values,
        colors: Uint8Array.from(colorsOf(palette, features.values).flat()),
        neighbors: await neighborsOf(image),
        ms: performance.now() - began,
      };
    },
    setIndex(npy) {
      const { values, shape } = parseNpy(npy);
      const [rows, columns] = shape;
      if (values instanceof Int32Array || rows === undefined || columns !== dim) {
        throw new Error(`the index: expected ${dim} numbers per image, as this network has, got [${shape.join(", ")}]`);
      }
      const features = normalizeRows({ values, rows, dim });
      index?.on[Symbol.dispose]();
      index = { rows: features, on: similaritiesOn(device, features) };
    },
    [Symbol.dispose]() {
      index?.on[Symbol.dispose]();
      for (const owned of [inspector, clsInspector, model]) owned[Symbol.dispose]();
    },
  };
}

/**
 * Returns one to four times the training size, as long as the attention of a square image fits one binding and the
 * limit on reads.
 */
function sizesFor({ vit: { patch, heads, registers = 0 }, config }: Model, { limits }: Device): readonly number[] {
  const trained = Math.min(config.imageSize.rows, config.imageSize.cols);
  const most = Math.min(MAX_ATTENTION_BYTES, limits.maxStorageBufferBindingSize);
  return [1, 1.5, 2, 3, 4]
    .map((times) => Math.round((times * trained) / patch) * patch)
    .filter((size, i) => i === 0 || 4 * heads * (1 + registers + (size / patch) ** 2) ** 2 <= most);
}

/** Removes registers, and attention to the cls token: [heads, tokens, tokens] -> [heads, 1 + patches, patches]. */
function patchAttention(
  attention: Float32Array,
  { heads, patches }: { readonly heads: number; readonly patches: number },
): Float32Array {
  const tokens = Math.round(Math.sqrt(attention.length / heads));
  const extras = tokens - patches; // the cls token and the registers
  const kept = new Float32Array(heads * (1 + patches) * patches);
  for (let head = 0; head < heads; head++) {
    for (let query = 0; query <= patches; query++) {
      const token = query === 0 ? 0 : extras + query - 1;
      const from = (head * tokens + token) * tokens + extras;
      kept.set(attention.subarray(from, from + patches), (head * (1 + patches) + query) * patches);
    }
  }
  return kept;
}
