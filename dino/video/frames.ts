/** Frames of a video: the images of a folder, or a file that ffmpeg reads. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { toChannels } from "../images/formats/samples.js";
import { isFailure } from "../images/image-location.js";
import type { Image } from "../images/pixels.js";
import { decodingOf, type Reading } from "../images/reading.js";
import { openImages } from "../images/sources/folder-images.js";
import { probeVideo, readVideo } from "./ffmpeg.js";

/** A sequence of frames, which can be read repeatedly. */
export interface Frames {
  /** Frames per second. */
  readonly fps: number;
  /** Number of frames, approximate for a file; 0 if unknown. */
  readonly count: number;
  /** Reads the frames in order, one in memory at a time. Throws, naming it, for a frame that cannot be decoded. */
  read(): AsyncIterable<Image>;
}

/** Default rate of a folder, as in the official video_generation.py. */
const USUAL_FPS = 30;

const byNumber = new Intl.Collator("en", { numeric: true });

/**
 * Opens a folder of images, sorted numerically and without its subfolders, or a video file. `fps` is the playback rate
 * of a folder, and the sampling rate of a file. Throws if neither exists, and for a file without ffmpeg.
 */
export async function openFrames(
  path: string,
  { fps, reading = {} }: { readonly fps?: number | undefined; readonly reading?: Reading } = {},
): Promise<Frames> {
  const target = await stat(path).catch(() => undefined);
  if (target === undefined) {
    throw new Error(`${path}: expected a video or a folder of frames, got nothing of that name`);
  }
  return target.isDirectory() ? openFolder(path, reading, fps) : openFile(path, reading, fps);
}

async function openFolder(folder: string, reading: Reading, fps = USUAL_FPS): Promise<Frames> {
  const images = await openImages(folder, decodingOf(reading));
  const order = Array.from({ length: images.count }, (_, index) => index)
    .filter((index) => !images.name(index).includes("/"))
    .sort((a, b) => byNumber.compare(images.name(a), images.name(b)) || a - b);
  if (order.length === 0) throw new Error(`${folder}: expected frames in the folder itself, got only subfolders`);
  return {
    fps,
    count: order.length,
    async *read() {
      for (const index of order) {
        const image = await images.decode(index);
        if (isFailure(image)) throw new Error(`${join(folder, image.path)}: expected a frame: ${image.reason}`);
        yield image;
      }
    },
  };
}

async function* withChannels(frames: AsyncIterable<Image>, channels: number | undefined): AsyncGenerator<Image> {
  for await (const frame of frames) yield toChannels({ ...frame, channels: 3 }, channels);
}

async function openFile(path: string, { channels }: Reading, fps?: number): Promise<Frames> {
  try {
    const found = await probeVideo(path);
    const rate = fps ?? found.fps;
    const count = Math.round((found.count * rate) / found.fps);
    return { fps: rate, count, read: () => withChannels(readVideo(path, rate), channels) };
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}
