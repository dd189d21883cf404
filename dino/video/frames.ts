/** The frames of a video, in order: the images of a folder, or a file that ffmpeg reads. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { probeVideo, readVideo } from "./ffmpeg.js";
import { openImages } from "../images/sources/folder-images.js";
import type { Image } from "../images/pixels.js";
import { isFailure } from "../images/image-location.js";

/** Frames, to be read as often as wanted. */
export interface Frames {
  /** Frames a second. */
  readonly fps: number;
  /** How many there are, of a file about; 0 where nobody knows. */
  readonly count: number;
  /** From the first to the last, one at a time in memory. Throws, naming it, for a frame that cannot be decoded. */
  read(): AsyncIterable<Image>;
}

/** Of a folder that says nothing of its rate, as in the official video_generation.py. */
const USUAL_FPS = 30;

const byNumber = new Intl.Collator("en", { numeric: true });

/**
 * Opens a folder of images, sorted with 2 before 10 and without its subfolders, or a video file. `fps` is what a folder is to
 * be shown at, and how many frames a second of a file to take. Throws where there is neither, or a file and no ffmpeg.
 */
export async function openFrames(path: string, fps?: number): Promise<Frames> {
  const target = await stat(path).catch(() => undefined);
  if (target === undefined) {
    throw new Error(`${path}: expected a video or a folder of frames, got nothing of that name`);
  }
  return target.isDirectory() ? openFolder(path, fps) : openFile(path, fps);
}

async function openFolder(folder: string, fps = USUAL_FPS): Promise<Frames> {
  const images = await openImages(folder);
  const order = Array.from({ length: images.count }, (_, index) => index)
    .filter((index) => !images.name(index).includes("/"))
    .sort((a, b) => byNumber.compare(images.name(a), images.name(b)) || a - b);
  if (order.length === 0) throw new Error(`${folder}: expected frames in the folder itself, got subfolders alone`);
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

async function openFile(path: string, fps?: number): Promise<Frames> {
  try {
    const found = await probeVideo(path);
    const rate = fps ?? found.fps;
    return { fps: rate, count: Math.round((found.count * rate) / found.fps), read: () => readVideo(path, rate) };
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}
