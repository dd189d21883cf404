/** What a trained backbone makes of images: features for k-NN and search. */
import {
  concat,
  constant,
  createParams,
  type Device,
  input,
  layoutOf,
  matmul,
  type Program,
  record,
  reshape,
  type Tensor,
} from "../engine/index.js";
import { evalCrop } from "./augment.js";
import type { ModelFile, Values } from "./run/checkpoint-bytes.js";
import { type Config, evalView, vitConfig } from "./config.js";
import type { ImageSet } from "./image-set.js";
import type { FeatureRows, Similarities } from "./evaluation/knn.js";
import {
  centerCrop,
  type Image,
  normalize,
  normalizeTable,
  resizeShortSide,
  type Normalization,
  type Size,
} from "./pixels.js";
import { type DecodeFailure, isFailure } from "./sources/image-place.js";
import { clsOf, intermediateLayers, type Lookup, vit, vitSpecs, type VitConfig } from "./vit.js";

/** A backbone on a device: its shape and its parameters. */
export interface Backbone {
  readonly device: Device;
  readonly vit: VitConfig;
  readonly params: Lookup;
}

/** A backbone out of a checkpoint, with the settings it was trained with. Dispose of it to free its memory. */
export interface Model extends Backbone, Disposable {
  readonly config: Config;
  /** The images it was trained on; undefined where it was imported, since nothing tells. */
  readonly data: string | undefined;
}

/** Which of the two networks of a checkpoint: the teacher's features are the better ones. */
export type Which = "teacher" | "student";

/** How an image is shown to a backbone: shorter side resized, middle cut out, normalised. */
export interface View extends Normalization {
  readonly resize: number;
  readonly crop: Size;
}

/** The view that a configuration evaluates with. */
export function viewOf(config: Config): View {
  return { ...evalView(config), mean: config.mean, std: config.std };
}

/** One network out of a checkpoint or model file, on the host. */
export interface ReadNetwork {
  readonly config: Config;
  readonly vit: VitConfig;
  /** Parameters of the backbone, under their official names without prefix and in the official order. */
  readonly backbone: ReadonlyMap<string, Values>;
  /** What there is of a head, under official names without prefix. */
  readonly head: ReadonlyMap<string, Values>;
  /** As of a `ModelFile`. */
  readonly isTrained: boolean;
}

/** A network of a checkpoint or model file. Throws, naming the file, if parameters do not fit the settings. */
export function networkIn(
  { config, tensors, isTrained }: ModelFile,
  { path, which }: { readonly path: string; readonly which: Which },
): ReadNetwork {
  const vit = vitConfig(config);
  const owner = which === "teacher" ? "" : "student.";
  const backbone = new Map<string, Values>();
  for (const { name, shape } of vitSpecs(vit)) {
    const whole = `${owner}backbone.${name}`;
    const tensor = tensors.get(whole);
    if (tensor === undefined) {
      const way = which === "student" && !isTrained ? "; a model has one network: leave --which out" : "";
      throw new Error(`${path}: expected the parameter ${whole}, which is missing${way}`);
    }
    if (String(tensor.shape) !== String(shape))
      throw new Error(`${path}: expected ${whole} [${shape.join(", ")}], got [${tensor.shape.join(", ")}]`);
    backbone.set(name, tensor);
  }
  const prefix = `${owner}head.`;
  const head = [...tensors].filter(([name]) => name.startsWith(prefix));
  return {
    ...{ config, vit, backbone, isTrained },
    head: new Map(head.map(([name, values]) => [name.slice(prefix.length), values])),
  };
}

/** Puts the backbone of a network on a device, for as long as the model is not disposed of. */
export function placeModel(device: Device, network: ReadNetwork, label: string): Model {
  const { config, vit, backbone, isTrained } = network;
  const params = createParams(device, layoutOf(vitSpecs(vit)), label);
  params.write(new Map([...backbone].map(([name, { values }]) => [name, values])));
  return {
    device,
    vit,
    params: (name) => params.get(name),
    config,
    data: isTrained ? config.data : undefined,
    [Symbol.dispose]: () => params[Symbol.dispose](),
  };
}

/** What is taken of an image as its features. */
export interface Descriptor {
  readonly dim: number;
  /** Recorded once: images [batch, 3, rows, cols], normalised, -> [batch, dim]. */
  readonly of: (images: Tensor) => Tensor;
}

/** The cls token after the last block, which the paper evaluates by k-NN. */
export function clsDescriptor({ vit: shape, params }: Backbone): Descriptor {
  return { dim: shape.dim, of: (images) => vit(shape, params, images) };
}

/** Which tokens a linear classifier sees. */
export interface BlocksOptions {
  /** Of so many last blocks the cls tokens, each after the final norm. */
  readonly lastBlocks: number;
  /** The mean patch token of the last block besides. */
  readonly meanPatch: boolean;
}

/**
 * The tokens of the last blocks beside each other, the earliest block first and the mean patch token last; with one block, its
 * cls and mean patch token alternate, as eval_linear.py lays them out. Throws for more blocks than there are.
 */
export function blocksDescriptor(
  { vit: shape, params }: Backbone,
  { lastBlocks, meanPatch }: BlocksOptions,
): Descriptor {
  const { dim, depth } = shape;
  if (lastBlocks < 1 || lastBlocks > depth) {
    throw new Error(`features: expected 1 to ${depth} last blocks, as many as the network has, got ${lastBlocks}`);
  }
  return {
    dim: dim * (lastBlocks + (meanPatch ? 1 : 0)),
    of: (images) => {
      const blocks = intermediateLayers(shape, params, images, lastBlocks); // each [batch, 1 + patches, dim]
      const tokens = blocks.map(clsOf);
      if (!meanPatch) return concat(tokens, 1);
      const mean = meanPatchOf(blocks.at(-1)!); // [batch, dim]
      if (lastBlocks > 1) return concat([...tokens, mean], 1);
      const batch = mean.shape[0]!;
      const pairs = [tokens[0]!, mean].map((token) => reshape(token, [batch, dim, 1]));
      return reshape(concat(pairs, 2), [batch, 2 * dim]);
    },
  };
}

/** The mean of the patch tokens: [batch, 1 + patches, dim] -> [batch, dim]. */
function meanPatchOf(tokens: Tensor): Tensor {
  const [batch, count, dim] = tokens.shape as readonly [number, number, number];
  const shares = Float32Array.from({ length: batch * count }, (_, i) => (i % count === 0 ? 0 : 1 / (count - 1)));
  const weights = constant([batch, 1, count], shares, { label: "shares of the mean patch" });
  return reshape(matmul(weights, tokens), [batch, dim]);
}

export interface ExtractOptions {
  readonly view: View;
  /** An image as the backbone is shown it, [3, view.crop.rows, view.crop.cols]; as `view` says if left out. */
  readonly show?: (image: Image, index: number) => Float32Array;
  /** clsDescriptor if left out. */
  readonly descriptor?: Descriptor;
  /** The images to look at, in this order; all if left out. */
  readonly indices?: ArrayLike<number>;
  /** Images of one run on the device: 64 if left out. */
  readonly batch?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Features of a set, without the images that could not be decoded. */
export interface Extracted {
  /** Not normalised, a row an image that could be decoded: [indices.length, dim] */
  readonly features: FeatureRows;
  /** The image of each row. */
  readonly indices: Int32Array;
  readonly failures: readonly DecodeFailure[];
}

/** The features of a set of images. Throws if not one of them could be decoded. */
export async function extractFeatures(
  backbone: Backbone,
  images: ImageSet,
  options: ExtractOptions,
): Promise<Extracted> {
  return gather(featureBatches(backbone, images, options), options.indices?.length ?? images.count);
}

/** The same a batch at a time, each with the images of it that could be decoded, for use until the next. */
export async function* featureBatches(
  backbone: Backbone,
  images: ImageSet,
  options: ExtractOptions,
): AsyncGenerator<Extracted> {
  const { view, descriptor = clsDescriptor(backbone), batch = 64 } = options;
  const { rows, cols } = view.crop;
  using pixels = input(backbone.device, [batch, 3, rows, cols], { label: "images" });
  using program = await record(backbone.device, () => ({ features: descriptor.of(pixels) }));
  yield* lookAt(images, options, {
    batch,
    dim: descriptor.dim,
    show: options.show ?? ((image) => evalCrop(image, view)),
    look: async (values) => {
      pixels.write(values);
      await program.run();
      return program.read("features");
    },
  });
}

/**
 * The pixels themselves as features, seen through the same view: what a network has to beat. Gray pictures give one
 * channel, which points the same way as three of it.
 */
export async function pixelFeatures(images: ImageSet, options: ExtractOptions): Promise<Extracted> {
  const { resize, crop } = options.view;
  const table = normalizeTable({ mean: [0, 0, 0], std: [1, 1, 1] });
  const plane = crop.rows * crop.cols;
  const isGray = await allGray(images, options.indices);
  const looking: Looking = {
    batch: 256,
    dim: isGray ? plane : 3 * plane,
    show: (image) => {
      const channels = normalize(centerCrop(resizeShortSide(image, resize), crop), table); // [3, rows, cols]
      return isGray ? channels.subarray(0, plane) : channels;
    },
    look: (values) => Promise.resolve(values),
  };
  return gather(lookAt(images, options, looking), options.indices?.length ?? images.count);
}

/** Has every image, as far as it can be decoded, three equal channels? */
async function allGray(images: ImageSet, indices: ArrayLike<number> | undefined): Promise<boolean> {
  const wanted = indices ?? Array.from({ length: images.count }, (_, index) => index);
  for (let i = 0; i < wanted.length; i++) {
    const image = await images.decode(wanted[i]!);
    if (isFailure(image)) continue;
    const { pixels } = image;
    for (let at = 0; at < pixels.length; at += 3) {
      if (pixels[at] !== pixels[at + 1] || pixels[at] !== pixels[at + 2]) return false;
    }
  }
  return true;
}

interface Looking {
  readonly batch: number;
  readonly dim: number;
  /** An image as the numbers that are looked at. */
  readonly show: (image: Image, index: number) => Float32Array;
  /** Those of a whole batch -> features [batch, dim]. */
  readonly look: (values: Float32Array) => Promise<Float32Array>;
}

/** Looks at image after image; the next batch is decoded while one is looked at. */
async function* lookAt(images: ImageSet, options: ExtractOptions, looking: Looking): AsyncGenerator<Extracted> {
  const { batch, dim, show, look } = looking;
  const wanted = Int32Array.from(options.indices ?? Array.from({ length: images.count }, (_, index) => index));

  const decodeBatch = (from: number): Promise<(Float32Array | DecodeFailure)[]> =>
    Promise.all(
      Array.from(wanted.subarray(from, from + batch), async (index) => {
        const image = await images.decode(index);
        return isFailure(image) ? image : show(image, index);
      }),
    );

  let upcoming = decodeBatch(0);
  let values: Float32Array | undefined;
  for (let from = 0; from < wanted.length; from += batch) {
    const shown = await upcoming;
    const next = decodeBatch(from + batch);
    next.catch(() => undefined); // thrown when it is awaited
    upcoming = next;

    const indices: number[] = [];
    const failures: DecodeFailure[] = [];
    for (const [i, one] of shown.entries()) {
      if (!(one instanceof Float32Array)) {
        failures.push(one);
        continue;
      }
      values ??= new Float32Array(batch * one.length);
      values.set(one, indices.length * one.length);
      indices.push(wanted[from + i]!);
    }
    const rows = indices.length;
    const found = rows > 0 ? await look(values!) : new Float32Array(0); // rows beyond these are of earlier images
    const features = { values: found.subarray(0, rows * dim), rows, dim };
    yield { features, indices: Int32Array.from(indices), failures };
    options.onProgress?.(Math.min(from + batch, wanted.length), wanted.length);
  }
}

/** All batches of `count` images in one. Throws if not one of them could be decoded. */
async function gather(batches: AsyncIterable<Extracted>, count: number): Promise<Extracted> {
  let features: FeatureRows = { values: new Float32Array(0), rows: 0, dim: 0 };
  const indices: number[] = [];
  const failures: DecodeFailure[] = [];
  for await (const batch of batches) {
    const { values, dim } = batch.features;
    if (features.dim !== dim) features = { values: new Float32Array(count * dim), rows: 0, dim };
    features.values.set(values, indices.length * dim);
    indices.push(...batch.indices);
    failures.push(...batch.failures);
  }
  const rows = indices.length;
  if (rows === 0) {
    const words = failures.length === 0 ? "there are none" : `not one of ${failures.length} could be decoded`;
    throw new Error(`features: expected images, but ${words}`);
  }
  const { values, dim } = features;
  return {
    features: { values: rows === count ? values : values.slice(0, rows * dim), rows, dim },
    indices: Int32Array.from(indices),
    failures,
  };
}

/** Similarities computed on a device, for knnClassify. Dispose of it to free its memory. */
export interface DeviceSimilarities extends Disposable {
  readonly similarities: Similarities;
}

/** Puts train features on a device, in parts that one binding holds, to multiply test rows with them. */
export function similaritiesOn(device: Device, train: FeatureRows): DeviceSimilarities {
  const { values, rows, dim } = train;
  const most = Math.max(1, Math.floor(device.limits.maxStorageBufferBindingSize / (4 * dim)));
  const starts = Array.from({ length: Math.ceil(rows / most) }, (_, i) => i * most);
  const parts = starts.map((start) => {
    const end = Math.min(start + most, rows);
    const part = input(device, [end - start, dim], { label: "train features" });
    part.write(values.subarray(start * dim, end * dim));
    return { start, rows: end - start, part };
  });
  let opened: Promise<Opened> | undefined;

  /** Programs for blocks of a size: the first block is the largest, others are filled up. */
  const open = async (blockRows: number): Promise<Opened> => {
    const block = input(device, [blockRows, dim], { label: "test features" });
    const programs: Opened["programs"][number][] = [];
    for (const { part } of parts) {
      programs.push(await record(device, () => ({ products: matmul(block, part, { b: true }) }))); // [block, part rows]
    }
    return { block, blockRows, programs };
  };

  const similarities: Similarities = async (block, others) => {
    if (others !== train) throw new Error("similaritiesOn: expected the train features that it was made for");
    opened ??= open(block.rows);
    const { block: uploaded, blockRows, programs } = await opened;
    if (block.rows > blockRows)
      throw new Error(`similaritiesOn: expected at most ${blockRows} rows, got ${block.rows}`);
    const padded = new Float32Array(blockRows * dim);
    padded.set(block.values);
    uploaded.write(padded);
    const out = new Float32Array(block.rows * rows);
    for (const [i, program] of programs.entries()) {
      const { start, rows: partRows } = parts[i]!;
      await program.run();
      const products = await program.read("products");
      for (let r = 0; r < block.rows; r++) {
        out.set(products.subarray(r * partRows, (r + 1) * partRows), r * rows + start);
      }
    }
    return out;
  };

  return {
    similarities,
    [Symbol.dispose]() {
      for (const { part } of parts) part[Symbol.dispose]();
      void opened?.then(({ block, programs }) => {
        block[Symbol.dispose]();
        for (const program of programs) program[Symbol.dispose]();
      });
    },
  };
}

interface Opened {
  readonly block: ReturnType<typeof input>;
  readonly blockRows: number;
  readonly programs: readonly Program<"products">[];
}
