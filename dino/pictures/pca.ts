/** Patch features of images as colours, by principal components shared by all images; the background is left out. */
import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { readingOf, shownChannels } from "../config/derive.js";
import { openDiskArrays, type DiskArrays } from "../files/disk-arrays.js";
import { makeFolder } from "../files/files.js";
import type { DecodeFailure } from "../images/image-location.js";
import type { Size } from "../images/pixels.js";
import { openSubjects, readSubject, type Subject } from "../images/sources/image-files.js";
import { type FeatureRows, selectRows } from "../math/feature-rows.js";
import { type Basis, principalComponents, project } from "../math/principal-components.js";
import { clsAttention, openInspector, patchFeatures } from "../model/inspector.js";
import type { AttendOptions } from "./attend.js";
import { blankPicture, type Color, paintBox, type Picture, asPicture } from "./drawing.js";
import { colorsOf, fitColors, type Palette } from "./feature-colors.js";
import { patchIn } from "./map-colors.js";
import { featurePairsPicture, type FeaturePair, thumbnail } from "./pictures.js";
import { encodePng } from "./png.js";
import { meanOfHeads } from "./visualize.js";

export interface PcaOptions extends Pick<AttendOptions, "model" | "paths" | "out" | "size" | "reading" | "onChecked"> {
  /** Draws the background black and excludes its features from the components. */
  readonly mask: boolean;
  readonly onExtracted?: (done: number, total: number) => void;
  readonly onDrawn?: (done: number, total: number) => void;
}

/** The picture of one image. */
export interface Colored {
  readonly image: string;
  readonly picture: string;
  /** Share of foreground patches. */
  readonly foreground: number;
}

export interface ColoredImages {
  readonly images: readonly Colored[];
  /** Contact sheet of the images with their pictures, at most 60. */
  readonly sheet: string;
  /** Share of variance of each channel's component. */
  readonly shares: readonly number[];
  readonly failures: readonly DecodeFailure[];
}

/** Maximum number of images on the contact sheet. */
const MAX_ON_SHEET = 60;
const BLACK: Color = [0, 0, 0];

/**
 * Draws patch features as DINOv2 does (Oquab et al. 2023, figures 1 and 9, https://arxiv.org/abs/2304.07193): the first
 * principal component of all patches separates foreground from background, and the first three of the foreground
 * patches are red, green and blue. Holds the features of one image in memory at a time. Throws as `openSubjects` does,
 * before any computation.
 */
export async function drawPca(options: PcaOptions): Promise<ColoredImages> {
  const { model, out, mask, reading = readingOf(options.model.config) } = options;
  const { dim, patch } = model.vit;
  const fit = { size: options.size, patch };
  const { subjects, failures } = await openSubjects(options.paths, fit, options.onChecked, reading);
  await makeFolder(out);
  await using features = await openDiskArrays(out);

  const sample = await extractPatches(options, subjects, features);
  const foreground = mask ? fitForeground(sample) : undefined;
  const colored = foreground === undefined ? sample.features : rowsWhere(sample.features, foreground.isIn);
  const palette = fitColors(colored.rows > 0 ? colored : sample.features);

  const images: Colored[] = [];
  const sheet: FeaturePair[] = [];
  for (const [i, subject] of subjects.entries()) {
    const [rows, cols] = [subject.size.rows / patch, subject.size.cols / patch];
    const own = { values: await features.read(i), rows: rows * cols, dim };
    const isIn = foreground?.isIn(own);
    const colors = colorsOf(palette, own.values).map((color, r) =>
      isIn === undefined || isIn[r] === 1 ? color : BLACK,
    );
    const picture = join(out, `${subject.name}-pca.png`);
    await writeFile(picture, encodePng(mosaic(subject.size, { colors, rows, cols })));
    const share = isIn === undefined ? 1 : isIn.reduce((sum, each) => sum + each, 0) / isIn.length;
    images.push({ image: subject.file, picture, foreground: share });
    if (i < MAX_ON_SHEET) {
      const image = thumbnail(asPicture(await readSubject(subject, fit, reading), shownChannels(model.config)));
      sheet.push({ image, colors, rows, cols, label: basename(subject.file) });
    }
    options.onDrawn?.(i + 1, subjects.length);
  }
  const { shares } = palette.components;
  const path = join(out, "contact-sheet.png");
  await writeFile(path, encodePng(featurePairsPicture({ items: sheet, title: titleOf(palette), shares })));
  return { images, sheet: path, shares: [...shares], failures };
}

function titleOf({ components }: Palette): string {
  return `Patch features: ${components.count} principal components of all images as colours`;
}

/** A sample of the patches of all images. */
interface Sample {
  readonly features: FeatureRows;
  /** Attention of the cls token to each patch, averaged over heads, relative to the mean of its image. */
  readonly attention: Float32Array;
}

/** Size of the sample from which components are computed. */
const MAX_SAMPLED = 10_000;

/** Stores the features of every image and samples its patches evenly. */
async function extractPatches(
  options: PcaOptions,
  subjects: readonly Subject[],
  features: DiskArrays,
): Promise<Sample> {
  const { model, size, reading = readingOf(options.model.config) } = options;
  const { dim, patch, heads } = model.vit;
  using inspector = openInspector(model, model.config, { patches: patchFeatures, attention: clsAttention });
  const counts = subjects.map(({ size: { rows, cols } }) => (rows / patch) * (cols / patch));
  const step = Math.ceil(counts.reduce((sum, count) => sum + count, 0) / MAX_SAMPLED);
  const taken: Float32Array[] = [];
  const attended: number[] = [];
  for (const [i, subject] of subjects.entries()) {
    const { patches, attention } = await inspector.inspect(await readSubject(subject, { size, patch }, reading));
    await features.append(patches);
    const mean = meanOfHeads(attention, heads);
    const average = mean.reduce((sum, value) => sum + value, 0) / mean.length;
    for (let r = i % step; r < mean.length; r += step) {
      taken.push(patches.slice(r * dim, (r + 1) * dim));
      attended.push(mean[r]! / average);
    }
    options.onExtracted?.(i + 1, subjects.length);
  }
  const values = new Float32Array(taken.length * dim);
  for (const [r, row] of taken.entries()) values.set(row, r * dim);
  return { features: { values, rows: taken.length, dim }, attention: Float32Array.from(attended) };
}

/** A classifier of foreground and background. */
export interface Foreground {
  /** Returns 1 for rows of the foreground, else 0: [rows, dim] -> [rows]. */
  readonly isIn: (features: FeatureRows) => Uint8Array;
}

/**
 * Fits the foreground: the side of the first component, relative to the mean, with more attention of the cls token. The
 * sign of a component is arbitrary, but attention is on objects.
 */
export function fitForeground({ features, attention }: Sample): Foreground {
  const { projected, ...basis } = principalComponents({ ...features, count: 1 });
  const together = projected.reduce((sum, along, r) => sum + along * attention[r]!, 0); // projected has mean 0
  const sign = together < 0 ? -1 : 1;
  return {
    isIn: ({ values }) =>
      Uint8Array.from(project(basis satisfies Basis, values), (along) => (sign * along > 0 ? 1 : 0)),
  };
}

function rowsWhere(features: FeatureRows, isIn: (features: FeatureRows) => Uint8Array): FeatureRows {
  const kept = isIn(features);
  return selectRows(
    features,
    Array.from(kept.keys()).filter((r) => kept[r] === 1),
  );
}

interface Mosaic {
  readonly colors: readonly Color[];
  readonly rows: number;
  readonly cols: number;
}

function mosaic({ rows: height, cols: width }: Size, { colors, rows, cols }: Mosaic): Picture {
  const picture = blankPicture(width, height, BLACK);
  const patchOf = patchIn(picture, rows, cols);
  paintBox(picture, { x: 0, y: 0, width, height }, (u, v) => colors[patchOf(u, v)]!);
  return picture;
}
