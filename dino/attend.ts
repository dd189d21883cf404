/** Pictures of the attention of a backbone's last block: of each head a map, an overlay and a mask, and all together. */
import { mkdir } from "node:fs/promises";
import { basename, extname, join, resolve } from "node:path";
import { writeFileAtomically } from "./checkpoint-file.js";
import { encodePng, heatColor, mix, paintBox, pixel, type Picture } from "./drawing.js";
import { inspect, type Model, type Sight } from "./features.js";
import { decodeFrom, isFailure } from "./images.js";
import { attentionPicture } from "./pictures.js";
import { centerCrop, type Image, normalize, normalizeTable, resize, resizeShortSide, type Size } from "./pixels.js";
import { attentionMask, blowUp } from "./visualize.js";

export interface AttendOptions {
  readonly model: Model;
  readonly files: readonly string[];
  /** Where the pictures go; made if it is missing. */
  readonly out: string;
  /** Shorter side to resize an image to, or its whole size. */
  readonly size: number | Size;
  /** Share of each head's mass that its mask keeps, above 0 to 1. */
  readonly share: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/** The pictures of one image. */
export interface Attended {
  readonly image: string;
  /** Everything in one picture. */
  readonly picture: string;
  /** Each head by itself. */
  readonly heads: readonly { readonly map: string; readonly overlay: string; readonly mask: string }[];
}

/** Draws and writes the pictures. Throws for a file that is no image, before anything is computed. */
export async function attend(options: AttendOptions): Promise<readonly Attended[]> {
  const { model, files, out, size, share } = options;
  const { patch, heads } = model.vit;
  const images: Image[] = [];
  for (const file of files) images.push(toPatches(await readImage(file), size, patch, file));
  await mkdir(out, { recursive: true });

  const table = normalizeTable(model.config);
  const names = uniqueNames(files);
  const attended: Attended[] = [];
  for (const [i, image] of images.entries()) {
    const [sight] = await inspect(model, image, [normalize(image, table)]);
    const name = names[i]!;
    const picture = asPicture(image);
    const { rows, cols, attention } = sight!;
    const write = async (suffix: string, drawn: Picture): Promise<string> => {
      const path = join(out, `${name}-${suffix}.png`);
      await writeFileAtomically(path, encodePng(drawn));
      return path;
    };
    const together = attentionPicture({
      items: [{ image: picture, attention, label: basename(files[i]!) }],
      heads,
      rows,
      cols,
      share,
    });
    const masks = attentionMask({ attention, heads, share });
    const perHead: Attended["heads"][number][] = [];
    for (let head = 0; head < heads; head++) {
      const heat = pixelMap(attention, head, sight!, patch);
      const mask = pixelMap(masks, head, sight!, patch);
      perHead.push({
        map: await write(
          `head${head}`,
          paint(picture, (at) => heatColor(heat[at]!)),
        ),
        overlay: await write(
          `head${head}-overlay`,
          paint(picture, (at, color) => mix(color, heatColor(heat[at]!), 0.6)),
        ),
        mask: await write(
          `head${head}-mask`,
          paint(picture, (at) => (mask[at] === 0 ? BLACK : WHITE)),
        ),
      });
    }
    attended.push({ image: files[i]!, picture: await write("attention", together), heads: perHead });
    options.onProgress?.(i + 1, images.length);
  }
  return attended;
}

const BLACK = [0, 0, 0] as const;
const WHITE = [255, 255, 255] as const;

/** One file as pixels. Throws, naming it, if it is no image. */
export async function readImage(file: string): Promise<Image> {
  const decoded = await decodeFrom({ kind: "files", folder: "", shortSide: undefined }, 0, resolve(file));
  if (isFailure(decoded)) throw new Error(`${file}: expected an image: ${decoded.reason}`);
  return decoded;
}

/** The image as the network sees it: resized, then its middle cut to whole patches. Throws if not one patch fits. */
export function toPatches(image: Image, size: number | Size, patch: number, name: string): Image {
  const resized = typeof size === "number" ? resizeShortSide(image, size) : resize(image, size);
  const rows = Math.floor(resized.rows / patch) * patch;
  const cols = Math.floor(resized.cols / patch) * patch;
  if (rows === 0 || cols === 0) {
    throw new Error(
      `${name}: an image of ${resized.cols} x ${resized.rows} holds no patch of ${patch}; make it larger`,
    );
  }
  return centerCrop(resized, { rows, cols });
}

/** An image as something to draw on. */
export function asPicture({ rows, cols, pixels }: Image): Picture {
  return { width: cols, height: rows, rgb: pixels };
}

/** A head's values blown up to pixels; attention from its least, 0, to its most, 1: -> [rows * patch, cols * patch]. */
function pixelMap(
  values: Float32Array | Uint8Array,
  head: number,
  { rows, cols }: Sight,
  patch: number,
): Float32Array | Uint8Array {
  const own = values.subarray(head * rows * cols, (head + 1) * rows * cols);
  if (own instanceof Uint8Array) return blowUp({ maps: own, rows, cols, factor: patch });
  const low = Math.min(...own);
  const span = Math.max(...own) - low;
  const unit = own.map((value) => (span > 0 ? (value - low) / span : 0));
  return blowUp({ maps: unit, rows, cols, factor: patch });
}

/** A new picture of the same size, each pixel by its place and its colour. */
function paint(
  picture: Picture,
  colorAt: (at: number, color: ReturnType<typeof pixel>) => ReturnType<typeof pixel>,
): Picture {
  const { width, height } = picture;
  const painted = { width, height, rgb: new Uint8Array(width * height * 3) };
  paintBox(painted, { x: 0, y: 0, width, height }, (x, y) => colorAt(y * width + x, pixel(picture, x, y)));
  return painted;
}

/** A file name for each image, none of them twice. */
function uniqueNames(files: readonly string[]): string[] {
  const used = new Set<string>();
  return files.map((file) => {
    const stem = basename(file, extname(file));
    let name = stem;
    for (let i = 2; used.has(name); i++) name = `${stem}-${i}`;
    used.add(name);
    return name;
  });
}
