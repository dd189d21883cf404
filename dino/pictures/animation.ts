/** Animated WebP out of pictures, for where nothing can encode a video. */
import sharp from "sharp";
import { writeFileAtomically } from "../files/files.js";

export interface AnimationOptions {
  /** Pictures of one size, in order. */
  readonly files: readonly string[];
  /** Pictures a second. */
  readonly fps: number;
}

/** An encoder keeps all pages in memory: of more pictures every second, third, ... is taken, and wider ones are shrunk. */
const MOST_PAGES = 300;
const MOST_WIDTH = 640;

/** Writes an animation that runs at the pictures' speed, again and again. */
export async function writeAnimation(path: string, { files, fps }: AnimationOptions): Promise<void> {
  const step = Math.ceil(files.length / MOST_PAGES);
  const shown = files.filter((_, i) => i % step === 0);
  let page: { readonly width: number; readonly height: number } | undefined;
  let pages = new Uint8Array(0);
  for (const [i, file] of shown.entries()) {
    const shrunk = sharp(file).resize({ width: MOST_WIDTH, withoutEnlargement: true }).removeAlpha().raw();
    const { data, info } = await shrunk.toBuffer({ resolveWithObject: true });
    if (page === undefined) {
      page = info;
      pages = new Uint8Array(data.length * shown.length);
    }
    pages.set(data, i * data.length);
  }
  const { width, height } = page!;
  const raw = { width, height: height * shown.length, channels: 3, pageHeight: height } as const;
  const delay = new Array<number>(shown.length).fill(Math.round((1000 * step) / fps));
  await writeFileAtomically(
    path,
    await sharp(pages, { raw }).webp({ quality: 80, effort: 2, loop: 0, delay }).toBuffer(),
  );
}
