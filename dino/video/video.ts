/** Attention of a backbone's last block through a video: a picture per frame, and a video of them. */
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openDiskArrays, type DiskArrays } from "../files/disk-arrays.js";
import { makeFolder } from "../files/files.js";
import { fitToPatches } from "../images/crop-to-patches.js";
import type { Image, Size } from "../images/pixels.js";
import type { Model } from "../model/backbone.js";
import { clsAttention, openInspector } from "../model/inspector.js";
import { writeAnimation } from "../pictures/animation.js";
import {
  blankPicture,
  type Color,
  heatColor,
  paintBox,
  pixel,
  placePicture,
  type Picture,
  asPicture,
} from "../pictures/drawing.js";
import { dimColor, overlayColor, patchIn, smoothIn } from "../pictures/map-colors.js";
import { encodePng } from "../pictures/png.js";
import { attentionMask, meanOfHeads } from "../pictures/visualize.js";
import { encodeVideo, hasFfmpeg } from "./ffmpeg.js";
import type { Frames } from "./frames.js";

/** Contents of a picture: the map, the frame under the map, or the frame beside the frame under the map. */
export const shows = ["map", "overlay", "side-by-side"] as const;
export type Show = (typeof shows)[number];

export interface VideoOptions {
  readonly model: Model;
  readonly frames: Frames;
  /** Folder for the pictures, created if needed. */
  readonly out: string;
  /** Shorter side to resize to, or the full size. */
  readonly size: number | Size;
  /** One head, counted from 0; default: the mean of all heads. */
  readonly head?: number;
  /** Shows only the patches that hold this share of a frame's attention, in (0, 1]; default: all. */
  readonly share?: number;
  readonly show: Show;
  /** Replaces the frames of a former video. */
  readonly overwrite: boolean;
  readonly onAttended?: (done: number, total: number) => void;
  readonly onDrawn?: (done: number, total: number) => void;
}

/** The result of `attendVideo`. */
export interface AttendedVideo extends Size {
  readonly frames: number;
  readonly fps: number;
  /** Attention values of the darkest and the brightest colour, common to all frames. */
  readonly scale: Scale;
  /** The video, or an animation of some frames if ffmpeg is missing. */
  readonly video: string;
  readonly usedFfmpeg: boolean;
}

/** The range of values from dark to bright. */
export interface Scale {
  readonly low: number;
  readonly high: number;
}

const FRAME = /^frame-\d{6}\.png$/;
const PATTERN = "frame-%06d.png";

/**
 * Computes the attention of every frame, then draws every frame with common colours: `frame-000001.png` and so on, and
 * a video of them. Holds one frame and one map in memory at a time. Throws for frames of several sizes, and if the
 * folder holds the frames of a former video.
 */
export async function attendVideo(options: VideoOptions): Promise<AttendedVideo> {
  const { frames, out, overwrite } = options;
  await makeFolder(out);
  const former = (await readdir(out)).filter((name) => FRAME.test(name));
  if (former.length > 0 && !overwrite) throw new Error(`--out ${out}: already holds frames; --overwrite replaces them`);
  await using maps = await openDiskArrays(out);
  const patches = await computeMaps(options, maps);
  const scale = await scaleOf(maps);
  for (const name of former) await rm(join(out, name));

  let drawn = 0;
  let size: Size = patches;
  for await (const frame of frames.read()) {
    const map = await maps.read(drawn);
    const image = fitToPatches(frame, fitOf(options));
    const picture = drawFrame(image, { map, patches, scale, show: options.show, share: options.share });
    size = { rows: picture.height, cols: picture.width };
    drawn++;
    await writeFile(framePath(out, drawn), encodePng(picture));
    options.onDrawn?.(drawn, maps.count);
  }

  const usedFfmpeg = await hasFfmpeg();
  const video = join(out, usedFfmpeg ? "video.mp4" : "video.webp");
  const { fps } = frames;
  if (usedFfmpeg) await encodeVideo({ folder: out, pattern: PATTERN, count: drawn, fps, name: "video.mp4" });
  else await writeAnimation(video, { files: Array.from({ length: drawn }, (_, i) => framePath(out, i + 1)), fps });
  return { frames: drawn, fps, scale, video, usedFfmpeg, ...size };
}

function framePath(out: string, number: number): string {
  return join(out, `frame-${String(number).padStart(6, "0")}.png`);
}

function fitOf({ size, model }: VideoOptions): { readonly size: number | Size; readonly patch: number } {
  return { size, patch: model.vit.patch };
}

/** Stores the map of every frame, [rows * cols]; returns rows and cols. */
async function computeMaps(options: VideoOptions, maps: DiskArrays): Promise<Size> {
  const { model, frames, head } = options;
  const { heads } = model.vit;
  using inspector = openInspector(model, model.config, { attention: clsAttention });
  let first: { readonly image: Size; readonly patches: Size } | undefined;
  for await (const frame of frames.read()) {
    const image = fitToPatches(frame, fitOf(options));
    const { rows, cols, attention } = await inspector.inspect(image);
    first ??= { image: { rows: image.rows, cols: image.cols }, patches: { rows, cols } };
    if (image.rows !== first.image.rows || image.cols !== first.image.cols) {
      const size = `${first.image.cols} x ${first.image.rows}`;
      throw new Error(
        `frame ${maps.count + 1}: expected ${size} pixels as in the first, got ${image.cols} x ${image.rows}; ` +
          "--image-size ROWSxCOLS resizes all to one size",
      );
    }
    const own = attention.subarray((head ?? 0) * rows * cols, ((head ?? 0) + 1) * rows * cols);
    await maps.append(head === undefined ? meanOfHeads(attention, heads) : own);
    options.onAttended?.(maps.count, Math.max(frames.count, maps.count + 1));
  }
  if (first === undefined) throw new Error("expected frames, got a video without any");
  options.onAttended?.(maps.count, maps.count);
  return first.patches;
}

/** Size of the sample of values that determines the scale. */
const MAX_SAMPLES = 1_000_000;
/** Share of values below the darkest and above the brightest colour, so that outliers do not dim the rest. */
const DARKEST = 0.01;
const BRIGHTEST = 0.001;

/** Computes one scale for all maps, so that colours do not flicker. */
export async function scaleOf(maps: DiskArrays): Promise<Scale> {
  const length = (await maps.read(0)).length;
  const step = Math.ceil((maps.count * length) / MAX_SAMPLES);
  const samples: number[] = [];
  for (let i = 0; i < maps.count; i++) {
    const map = await maps.read(i);
    for (let at = i % step; at < length; at += step) samples.push(map[at]!);
  }
  const sorted = Float32Array.from(samples).sort();
  return {
    low: sorted[Math.floor(DARKEST * (sorted.length - 1))]!,
    high: sorted[Math.ceil((1 - BRIGHTEST) * (sorted.length - 1))]!,
  };
}

export interface FrameOptions {
  /** [rows * cols] */
  readonly map: Float32Array;
  readonly patches: Size;
  readonly scale: Scale;
  readonly show: Show;
  /** See VideoOptions. */
  readonly share: number | undefined;
}

/** Draws one picture of the video. */
export function drawFrame(image: Image, { map, patches, scale, show, share }: FrameOptions): Picture {
  const { rows, cols } = patches;
  const { low, high } = scale;
  const frame = asPicture(image);
  const { width, height } = frame;
  const heat = map.map((value) => (high > low ? (value - low) / (high - low) : 0));
  const mask = share === undefined ? undefined : attentionMask({ attention: map, heads: 1, share });
  const patchOf = patchIn(frame, rows, cols);
  const isKept = (u: number, v: number): boolean => mask === undefined || mask[patchOf(u, v)] === 1;
  const smooth = smoothIn(frame, heat, rows, cols);
  const mapAt = (u: number, v: number): Color => heatColor(isKept(u, v) ? heat[patchOf(u, v)]! : 0);
  const overlayAt = (u: number, v: number): Color => {
    const color = pixel(frame, u, v);
    return isKept(u, v) ? overlayColor(color, Math.min(1, Math.max(0, smooth(u, v)))) : dimColor(color);
  };
  const isBeside = show === "side-by-side";
  const picture = blankPicture(isBeside ? 2 * width : width, height, [0, 0, 0]);
  if (isBeside) placePicture(picture, frame, 0, 0);
  paintBox(picture, { x: isBeside ? width : 0, y: 0, width, height }, show === "map" ? mapAt : overlayAt);
  return picture;
}
