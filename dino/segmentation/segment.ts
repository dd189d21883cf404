/** Video object segmentation: propagates the masks of the first frame and measures the result (DINO, table 5). */
import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { l2Normalize } from "../../engine/index.js";
import { makeFolder, writeJson } from "../files/files.js";
import { type Image, resize, type Size } from "../images/pixels.js";
import { readImage } from "../images/sources/image-files.js";
import type { Model } from "../model/backbone.js";
import { type Inspector, openInspector, patchFeatures } from "../model/inspector.js";
import type { Sequence } from "./davis.js";
import { encodeLabelMap, type LabelMap, readLabelMap, resizeLabels } from "./label-map.js";
import {
  boundaryMeasure,
  meanStatistics,
  type ObjectMask,
  regionSimilarity,
  type Statistics,
  statisticsOf,
} from "./metrics.js";
import { labelPixels, oneHot, openPropagator, type PropagationOptions, type Propagator } from "./propagation.js";

export interface SegmentOptions {
  readonly model: Model;
  readonly sequences: readonly Sequence[];
  /** Folder for the masks, one subfolder per sequence, created if needed. */
  readonly out: string;
  /** Shorter side that frames are resized to, in pixels. */
  readonly shortSide: number;
  readonly propagation: PropagationOptions;
  /** Called with the number of frames done, over all sequences. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** J and F over the frames of a sequence except the first and the last. */
export interface Measures {
  readonly region: Statistics;
  readonly boundary: Statistics;
  /** J&F: the mean of both means. */
  readonly mean: number;
}

/** The result for one video. */
export interface Segmented {
  readonly sequence: string;
  readonly frames: number;
  readonly masks: string;
  /** Mean over its objects; undefined if frames lack annotations. */
  readonly measures: Measures | undefined;
  /** Measures of objects 1, 2 and so on. */
  readonly objects: readonly Measures[];
}

export interface Segmentation {
  readonly sequences: readonly Segmented[];
  /** Mean over the objects of all sequences, as in the DAVIS evaluation; undefined if none is annotated. */
  readonly measures: Measures | undefined;
  /** The file of these results. */
  readonly results: string;
}

/**
 * Propagates the first frame's masks through every sequence, writes them in the format of DAVIS, and measures them if
 * all frames are annotated. Holds features and labels of a few frames of one sequence in memory.
 * https://github.com/facebookresearch/dino/blob/main/eval_video_segmentation.py
 */
export async function segment(options: SegmentOptions): Promise<Segmentation> {
  const { model, sequences } = options;
  using inspector = openInspector(model, model.config, {
    features: (backbone, observation) => l2Normalize(patchFeatures(backbone, observation)), // [patches, dim]
  });
  using propagators = cachePropagator(options);
  const total = sequences.reduce((sum, { frames }) => sum + frames.length, 0);
  let done = 0;
  const onFrame = (): void => options.onProgress?.(++done, total);
  const segmented: Segmented[] = [];
  for (const sequence of sequences) {
    segmented.push(await segmentSequence(sequence, { options, inspector, propagatorFor: propagators.of, onFrame }));
  }
  const measures = meanMeasures(segmented.flatMap(({ objects }) => objects));
  const results = join(options.out, "results.json");
  await writeJson(results, { measures, sequences: segmented });
  return { sequences: segmented, measures, results };
}

/** Caches one propagator, replaced for another grid. */
function cachePropagator({
  model,
  propagation,
}: SegmentOptions): Disposable & { readonly of: (grid: Size) => Propagator } {
  let current: { readonly grid: Size; readonly propagator: Propagator } | undefined;
  const close = (): void => current?.propagator[Symbol.dispose]();
  return {
    of(grid) {
      if (current?.grid.rows === grid.rows && current.grid.cols === grid.cols) return current.propagator;
      close();
      const propagator = openPropagator(model.device, { grid, dim: model.vit.dim, ...propagation });
      current = { grid, propagator };
      return propagator;
    },
    [Symbol.dispose]: close,
  };
}

interface SequenceTools {
  readonly options: SegmentOptions;
  readonly inspector: Inspector<"features">;
  readonly propagatorFor: (grid: Size) => Propagator;
  readonly onFrame: () => void;
}

async function segmentSequence(
  { name, frames, masks }: Sequence,
  { options, inspector, propagatorFor, onFrame }: SequenceTools,
): Promise<Segmented> {
  const { model, shortSide } = options;
  const { patch } = model.vit;
  const folder = join(options.out, name);
  await makeFolder(folder);
  const write = (i: number, labels: Uint8Array): Promise<void> =>
    writeFile(join(folder, `${stem(frames[i]!)}.png`), encodeLabelMap({ ...first, labels }));

  const first = await readLabelMap(masks[0]!);
  const count = first.labels.reduce((most, label) => Math.max(most, label), 0);
  if (count === 0) throw new Error(`${masks[0]!}: expected objects with labels from 1 on, got only background`);
  const scores = Array.from({ length: count }, () => ({ region: [] as number[], boundary: [] as number[] }));
  const isMeasured = masks.length === frames.length;

  const inspectFrame = async (i: number): Promise<Readonly<Record<"features", Float32Array>> & Size> => {
    const frame = await readImage(frames[i]!, model.config);
    checkSize(frames[i]!, frame, first);
    return inspector.inspect(shrink(frame, shortSide, patch));
  };

  const { features, ...grid } = await inspectFrame(0);
  const propagator = propagatorFor(grid);
  propagator.begin({ features, labels: oneHot(resizeLabels(first, grid), count + 1) });
  await write(0, first.labels);
  onFrame();
  for (let i = 1; i < frames.length; i++) {
    const labels = await propagator.next((await inspectFrame(i)).features);
    const enlarged = { rows: grid.rows * patch, cols: grid.cols * patch, labels: labelPixels(labels, grid, patch) };
    const found = { rows: first.rows, cols: first.cols, labels: resizeLabels(enlarged, first) };
    await write(i, found.labels);
    if (isMeasured && i < frames.length - 1) {
      const annotation = await readLabelMap(masks[i]!);
      checkSize(masks[i]!, annotation, first);
      for (const [o, { region, boundary }] of scores.entries()) {
        const [expected, got] = [maskOf(annotation, o + 1), maskOf(found, o + 1)];
        region.push(regionSimilarity(expected, got));
        boundary.push(boundaryMeasure(expected, got));
      }
    }
    onFrame();
  }
  const objects = scores.filter(({ region }) => region.length > 0).map(measuresOf);
  return { sequence: name, frames: frames.length, masks: folder, measures: meanMeasures(objects), objects };
}

/** Sides of frames are multiples of this in the official code, for any patch size. */
const MULTIPLE = 64;

/**
 * Resizes a frame as the official code does: the shorter side to `shortSide`, the longer one in proportion, rounded
 * down to a multiple of 64, or of the patch if it does not divide 64.
 */
export function shrink(frame: Image, shortSide: number, patch: number): Image {
  const multiple = MULTIPLE % patch === 0 ? MULTIPLE : patch;
  const short = Math.floor(shortSide / patch) * patch;
  if (short === 0) throw new Error(`--image-size ${shortSide}: expected at least a patch of ${patch} pixels`);
  const [rows, cols] = [frame.rows, frame.cols];
  const wanted = (short * Math.max(rows, cols)) / Math.min(rows, cols);
  const long = Math.max(short, Math.floor(wanted / multiple) * multiple);
  return resize(frame, rows > cols ? { rows: long, cols: short } : { rows: short, cols: long }, "bilinear");
}

function checkSize(file: string, size: Size, first: Size): void {
  if (size.rows !== first.rows || size.cols !== first.cols) {
    throw new Error(
      `${file}: expected ${first.cols} x ${first.rows} pixels as in the sequence's first mask, got ${size.cols} x ${size.rows}`,
    );
  }
}

function maskOf({ rows, cols, labels }: LabelMap, object: number): ObjectMask {
  return { rows, cols, pixels: labels.map((label) => (label === object ? 1 : 0)) };
}

function measuresOf({ region, boundary }: Record<"region" | "boundary", readonly number[]>): Measures {
  return withMean(statisticsOf(region), statisticsOf(boundary));
}

function meanMeasures(all: readonly Measures[]): Measures | undefined {
  if (all.length === 0) return undefined;
  return withMean(meanStatistics(all.map(({ region }) => region)), meanStatistics(all.map(({ boundary }) => boundary)));
}

function withMean(region: Statistics, boundary: Statistics): Measures {
  return { region, boundary, mean: (region.mean + boundary.mean) / 2 };
}

function stem(file: string): string {
  return basename(file).replace(/\.[^.]*$/, "");
}
