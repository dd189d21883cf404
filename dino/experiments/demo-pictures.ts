/** Draws the pictures of `dino demo`. */
import { join } from "node:path";
import type { KnnAccuracy } from "../evaluation/online-evaluation.js";
import { writeFileAtomically } from "../files/files.js";
import { startProgress } from "../files/progress.js";
import { FIRST_CHANNELS, isFailure } from "../images/image-location.js";
import { type Image, resizedCenterCrop } from "../images/pixels.js";
import { firstOfEachClass, type Subset, type Splits } from "../images/split.js";
import { type FeatureRows, sliceRows } from "../math/feature-rows.js";
import type { Model } from "../model/backbone.js";
import type { View } from "../model/backbone.js";
import { svgToPng } from "../pictures/charts.js";
import { drawAttention, enlargedView, inspectImages } from "../pictures/close-up.js";
import { mapSvg } from "../pictures/map.js";
import { type LabelledImage, neighborsSvg } from "../pictures/neighbors.js";
import { encodePng } from "../pictures/png.js";
import { placeFeatures } from "../retrieval/places.js";

/** Results for one kind of features. */
export interface FeatureResults {
  readonly knn: KnnAccuracy;
  /** Indices of the nearest training images of each query. */
  readonly neighbors: readonly (readonly number[])[];
  /** Features of the held-out images, normalised. */
  readonly test: FeatureRows;
}

/** The maximum number of dots of the map; more would hide each other. */
const MOST_MAPPED = 1000;
/** Images in the picture of attention. */
const MOST_ATTENDED = 2;

interface DrawOptions {
  readonly view: View;
  readonly looks: readonly { readonly title: string; readonly look: FeatureResults }[];
  /** Indices of the held-out images whose neighbours are drawn. */
  readonly queries: readonly number[];
}

interface PicturesOptions extends Pick<DrawOptions, "view" | "queries"> {
  /** The folder of the pictures. */
  readonly out: string;
  readonly splits: Splits;
  readonly pixels: FeatureResults;
  readonly untrained: FeatureResults;
  readonly trained: FeatureResults;
  readonly seed: number;
  /** Loads the trained model. */
  readonly model: () => Promise<Model>;
}

/** Paths of the pictures. */
export interface DemoPictures {
  /** Held-out images beside their nearest neighbours, by pixels, before and after training. */
  readonly neighbors: string;
  /** The held-out images by their features, before and after training. */
  readonly map: string;
  /** Attention of the trained network. */
  readonly attention: string;
}

/** Draws all pictures and writes them to files; returns their paths. */
export async function drawPictures({ out, splits, view, queries, ...options }: PicturesOptions): Promise<DemoPictures> {
  using drawing = startProgress({ title: "pictures", total: 3 });
  const pathOf = (name: string) => join(out, `${name}.png`);
  const { test } = splits;
  const { pixels, untrained, trained, seed } = options;
  const networks = [
    { title: "untrained network", look: untrained },
    { title: "after training", look: trained },
  ];
  const compared = [{ title: "raw pixels", look: pixels }, ...networks];
  const neighbors = svgToPng(await drawNeighbors(splits, { view, queries, looks: compared }));
  drawing.update(1);
  const map = svgToPng(await drawMap(test, { view, looks: networks, seed }));
  drawing.update(2);
  using model = await options.model();
  const shown = await inspectImages(model, test.images, firstOfEachClass(test).slice(0, MOST_ATTENDED), {
    view: enlargedView(view, 3),
    shown: FIRST_CHANNELS,
  });
  const { classes, labels } = test.images;
  const labelled = shown.map((one) => ({ ...one, label: classes[labels![one.index]!]! }));
  const title = "What the cls token of the last block attends to";
  const attention = encodePng(drawAttention(labelled, { heads: model.vit.heads, title }));
  drawing.update(3);
  const paths = { neighbors: pathOf("neighbors"), map: pathOf("map"), attention: pathOf("attention") };
  await writeFileAtomically(paths.neighbors, neighbors);
  await writeFileAtomically(paths.map, map);
  await writeFileAtomically(paths.attention, attention);
  return paths;
}

/** Draws each query beside its nearest neighbours, as SVG. */
async function drawNeighbors({ train, test }: Splits, { view, looks, queries }: DrawOptions): Promise<string> {
  const labelled = async ({ images }: Subset, index: number): Promise<LabelledImage> => ({
    image: await shownOf(images, index, view),
    label: images.labels![index]!,
  });
  const each = Math.ceil(queries.length / test.images.classes.length);
  const { among, images, k } = looks[0]!.look.knn;
  return neighborsSvg({
    queries: await Promise.all(queries.map((query) => labelled(test, query))),
    groups: await Promise.all(
      looks.map(async ({ title, look }) => ({
        title,
        accuracy: look.knn.top1,
        neighbors: await Promise.all(
          look.neighbors.map((near) => Promise.all(near.map((index) => labelled(train, index)))),
        ),
      })),
    ),
    classes: test.images.classes,
    title: "Held-out images and the five training images most like them",
    caption: [
      `Queries: the first ${each === 1 ? "held-out image" : "two held-out images"} of each class, not chosen by hand. Most like: largest cosine, among all ${among} training images.`,
      `k-NN accuracy: ${k} neighbours vote on the class of each of ${images} held-out images. The network was trained without any label.`,
    ],
  });
}

/** Draws the held-out images by their features, one panel per network, as SVG. */
async function drawMap(
  test: Subset,
  { view, looks, seed }: Pick<DrawOptions, "view" | "looks"> & { readonly seed: number },
): Promise<string> {
  const count = Math.min(MOST_MAPPED, test.indices.length);
  const { images } = test;
  const panels = [];
  for (const { title, look } of looks) {
    const places = await placeFeatures(sliceRows(look.test, 0, count), { seed });
    panels.push({ title: `${title}, k-NN ${look.knn.top1.toFixed(0)} %`, places });
  }
  const mapped = Array.from(test.indices.subarray(0, count));
  return mapSvg({
    panels,
    labels: mapped.map((index) => images.labels![index]!),
    classes: images.classes,
    images: await Promise.all(mapped.map((index) => shownOf(images, index, view))),
    title: `${count} held-out images by their features`,
    caption: [
      "A dot is an image; UMAP puts images with similar features close together. The colour is the class, which neither the network",
      "nor UMAP is told. In each part of a map, the image nearest its middle is drawn.",
    ],
  });
}

/** Decodes an image and crops it as for the network. */
async function shownOf(images: Subset["images"], index: number, { resize, crop }: View): Promise<Image> {
  const image = await images.decode(index);
  if (isFailure(image)) throw new Error(`${image.path}: ${image.reason}`);
  return resizedCenterCrop(image, resize, crop);
}
