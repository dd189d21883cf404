/** Animated WebP, as a substitute for videos without ffmpeg. */
import sharp from "sharp";
import { writeFileAtomically } from "../files/files.js";

export interface AnimationOptions {
  /** Pictures of one size, in order. */
  readonly files: readonly string[];
  /** Pictures per second. */
  readonly fps: number;
}

/**
 * Limits on memory, since the encoder keeps all pages: longer sequences are thinned evenly, wider pictures are shrunk.
 */
const MAX_PAGES = 300;
const MAX_WIDTH = 640;

/** Writes a looping animation with the speed of the pictures. */
export async function writeAnimation(path: string, { files, fps }: AnimationOptions): Promise<void> {
  const step = Math.ceil(files.length / MAX_PAGES);
  const frames = files.filter((_, i) => i % step === 0);
  let page: { readonly width: number; readonly height: number } | undefined;
  let pages = new Uint8Array(0);
  for (const [i, file] of frames.entries()) {
    const shrunk = sharp(file).resize({ width: MAX_WIDTH, withoutEnlargement: true }).removeAlpha().raw();
    const { data, info } = await shrunk.toBuffer({ resolveWithObject: true });
    if (page === undefined) {
      page = info;
      pages = new Uint8Array(data.length * frames.length);
    }
    pages.set(data, i * data.length);
  }
  const { width, height } = page!;
  const raw = { width, height: height * frames.length, channels: 3, pageHeight: height } as const;
  const delay = new Array<number>(frames.length).fill(Math.round((1000 * step) / fps));
  await writeFileAtomically(
    path,
    await sharp(pages, { raw }).webp({ quality: 80, effort: 2, loop: 0, delay }).toBuffer(),
  );
}
