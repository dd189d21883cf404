/** Computations of the viewer on any device: attention and features of an image, and the most similar images. */
import type { Device } from "../../../engine/index.js";
import { readingOf, shownChannels } from "../../config/derive.js";
import { type DeviceSimilarities, similaritiesOn } from "../../evaluation/device-similarities.js";
import { parseNpy } from "../../files/npy.js";
import { fitToPatches } from "../../images/crop-to-patches.js";
import { asColors, toChannels } from "../../images/formats/samples.js";
import { channelsOf, type Image, resizedCenterCrop } from "../../images/pixels.js";
import type { Reading } from "../../images/reading.js";
import { type FeatureRows, normalizeRows, selectRows } from "../../math/feature-rows.js";
import { type Model, viewOf } from "../../model/backbone.js";
import { openInspector, patchFeatures, queriesAndKeys } from "../../model/inspector.js";
import { clsOf } from "../../model/tokens.js";
import type { VitConfig } from "../../model/vit-config.js";
import { vitSpecs } from "../../model/vit-params.js";
import { colorsOf, fitColors, type Palette } from "../../pictures/feature-colors.js";
import { nearestBy, type Neighbor } from "../../retrieval/nearest.js";
import { parseModel } from "../../weights/checkpoint-bytes.js";
import { selectNetwork, uploadModel } from "../../weights/read-network.js";
import type { TakenChannels } from "./input-image.js";

/** Properties of a model for display. */
export interface ModelFacts extends TakenChannels {
  readonly parameters: number;
  readonly patch: number;
  readonly heads: number;
  readonly depth: number;
  readonly dim: number;
  /** Selectable shorter sides of images, in ascending order. */
  readonly sizes: readonly number[];
  /** Name of the adapter. */
  readonly device: string;
}

/** The results for an image. */
export interface ImageView {
  /** The input image as red, green and blue, cropped to whole patches. */
  readonly image: Image;
  /** Size in patches. */
  readonly rows: number;
  readonly cols: number;
  readonly heads: number;
  /** Queries, then keys, of the last block: [1 + registers + patches, 2 * dim]; `attentionOf` computes with them. */
  readonly queriesAndKeys: Float32Array;
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
  /** How the network reads files. */
  readonly reading: Reading;
  /** Inspects an image of the channels that the network takes, or of gray or color for a network of one or three. */
  inspect(image: Image, options: ViewOptions): Promise<ImageView>;
  /** Sets the index, a .npy file of `dino embed`. Throws for features of another network. */
  setIndex(npy: Uint8Array): void;
}

const NEIGHBORS = 12;
/** Maximum number of patches that colours are fitted to; more take seconds and change them little. */
const MOST_FITTED = 2000;

/** Loads the network of a checkpoint or model file onto a device. Throws for other files. */
export async function openViewer(device: Device, file: Uint8Array<ArrayBuffer>): Promise<Viewer> {
  const network = selectNetwork(await parseModel(file), { path: "the model", which: "teacher" });
  const model = uploadModel(device, network, "model");
  const view = viewOf(model.config);
  const { channels, heads, patch, depth, dim } = model.vit;
  const asInput = (image: Image): Image => toChannels({ ...image, channels: channelsOf(image) }, channels);
  const inspector = openInspector(model, view, { patches: patchFeatures, queriesAndKeys });
  const clsInspector = openInspector(model, view, { feature: (_, { tokens }) => clsOf(tokens) });
  let palette: Palette | undefined;
  let index: { readonly rows: number; readonly on: DeviceSimilarities } | undefined;

  const neighborsOf = async (image: Image): Promise<readonly Neighbor[]> => {
    if (index === undefined) return [];
    const { feature } = await clsInspector.inspect(asInput(resizedCenterCrop(image, view.resize, view.crop)));
    const queries = normalizeRows({ values: feature, rows: 1, dim });
    const [found] = await nearestBy(index.on.nearest, { queries, rows: index.rows, k: NEIGHBORS });
    return found!;
  };

  return {
    facts: {
      parameters: [...network.backbone.values()].reduce((sum, { values }) => sum + values.length, 0),
      patch,
      heads,
      depth,
      dim,
      channels,
      channelNames: model.config.channelNames,
      sizes: sizesFor(model),
      device: device.name,
    },
    reading: readingOf(model.config),
    async inspect(image, { size, keepColors }) {
      const began = performance.now();
      const shown = fitToPatches(image, { size, patch });
      const { rows, cols, patches, queriesAndKeys: projected } = await inspector.inspect(asInput(shown));
      const features = normalizeRows({ values: patches, rows: rows * cols, dim });
      if (!keepColors || palette === undefined) palette = fitColors(spread(features));
      return {
        image: asColors(shown, shownChannels(model.config)),
        rows,
        cols,
        heads,
        queriesAndKeys: projected,
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
      index = { rows, on: similaritiesOn(device, features) };
    },
    [Symbol.dispose]() {
      index?.on[Symbol.dispose]();
      for (const owned of [inspector, clsInspector, model]) owned[Symbol.dispose]();
    },
  };
}

/** Returns at most `MOST_FITTED` rows, evenly spaced. */
function spread(features: FeatureRows): FeatureRows {
  const { rows } = features;
  if (rows <= MOST_FITTED) return features;
  return selectRows(
    features,
    Int32Array.from({ length: MOST_FITTED }, (_, i) => Math.floor((i * rows) / MOST_FITTED)),
  );
}

/**
 * Returns one to four times the size of evaluation, and the training size, as far as the tokens of a square image fit one
 * binding.
 */
function sizesFor({ vit, config, device: { limits } }: Model): readonly number[] {
  const { patch, registers = 0 } = vit;
  const { rows, cols } = viewOf(config).crop;
  const wanted = [1, 1.5, 2, 3, 4].map((times) => times * Math.min(rows, cols));
  const trained = Math.min(config.imageSize.rows, config.imageSize.cols);
  const sizes = [...wanted, trained].map((size) => Math.round(size / patch) * patch).sort((a, b) => a - b);
  const bytesPerToken = 4 * widestLayer(vit);
  return [...new Set(sizes)].filter(
    (size, i) => i === 0 || (1 + registers + (size / patch) ** 2) * bytesPerToken <= limits.maxStorageBufferBindingSize,
  );
}

/** Returns the most numbers that a layer computes for a token, or that its patch has. */
function widestLayer(vit: VitConfig): number {
  const layers = vitSpecs(vit).filter(({ name }) => /^blocks\.0\..*weight$/.test(name));
  return Math.max(vit.channels * vit.patch ** 2, ...layers.map(({ shape }) => shape[0]!));
}
