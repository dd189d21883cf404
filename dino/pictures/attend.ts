/**
 * Pictures of the last block's attention: a map, an overlay and a mask for the mean and for each head, and one picture
 * of all.
 */
import { basename, join } from "node:path";
import { readingOf, shownChannels } from "../config/derive.js";
import { makeFolder, writeFileAtomically } from "../files/files.js";
import type { DecodeFailure } from "../images/image-location.js";
import type { Size } from "../images/pixels.js";
import type { Reading } from "../images/reading.js";
import { openSubjects, readSubject } from "../images/sources/image-files.js";
import type { Model } from "../model/backbone.js";
import { clsAttention, openInspector } from "../model/inspector.js";
import { type Color, heatColor, mix, paintPicture, type Picture, asPicture } from "./drawing.js";
import { attentionPicture } from "./pictures.js";
import { encodePng } from "./png.js";
import { attentionMask, enlarge, meanOfHeads, toUnitRange } from "./visualize.js";

export interface AttendOptions {
  readonly model: Model;
  /** Images, and folders of images. */
  readonly paths: readonly string[];
  /** Folder for the pictures, created if needed. */
  readonly out: string;
  /** Shorter side to resize to, or the full size. */
  readonly size: number | Size;
  /** How images are read; if left out, as the model says. */
  readonly reading?: Reading;
  /** Share of a map's mass that its mask keeps, in (0, 1]. */
  readonly share: number;
  readonly onChecked?: (done: number, total: number) => void;
  readonly onProgress?: (done: number, total: number) => void;
}

/** The pictures of one map. */
export interface MapPictures {
  readonly map: string;
  readonly overlay: string;
  readonly mask: string;
}

/** The pictures of one image. */
export interface Attended {
  readonly image: string;
  /** All maps in one picture. */
  readonly picture: string;
  /** The mean over heads. */
  readonly mean: MapPictures;
  /** Each head by itself. */
  readonly heads: readonly MapPictures[];
}

/**
 * Draws and writes the pictures, with one image in memory at a time. Throws as `openSubjects` does, before any
 * computation.
 */
export async function attend(
  options: AttendOptions,
): Promise<{ readonly images: readonly Attended[]; readonly failures: readonly DecodeFailure[] }> {
  const { model, out, share, reading = readingOf(options.model.config) } = options;
  const { patch, heads } = model.vit;
  const fit = { size: options.size, patch };
  const { subjects, failures } = await openSubjects(options.paths, fit, options.onChecked, reading);
  await makeFolder(out);

  using inspector = openInspector(model, model.config, { attention: clsAttention });
  const images: Attended[] = [];
  for (const [i, subject] of subjects.entries()) {
    const image = await readSubject(subject, fit, reading);
    const { rows, cols, attention } = await inspector.inspect(image);
    const picture = asPicture(image, shownChannels(model.config));
    const write = async (suffix: string, drawn: Picture): Promise<string> => {
      const path = join(out, `${subject.name}-${suffix}.png`);
      await writeFileAtomically(path, encodePng(drawn));
      return path;
    };
    const writeMap = async (suffix: string, map: Float32Array): Promise<MapPictures> => {
      const heat = enlarge({ maps: toUnitRange(map), rows, cols, factor: patch });
      const mask = enlarge({ maps: attentionMask({ attention: map, heads: 1, share }), rows, cols, factor: patch });
      const draw = (colorAt: (at: number, color: Color) => Color): Picture => paintPicture(picture, colorAt);
      return {
        map: await write(
          suffix,
          draw((at) => heatColor(heat[at]!)),
        ),
        overlay: await write(
          `${suffix}-overlay`,
          draw((at, color) => mix(color, heatColor(heat[at]!), 0.6)),
        ),
        mask: await write(
          `${suffix}-mask`,
          draw((at) => (mask[at] === 0 ? BLACK : WHITE)),
        ),
      };
    };

    const together = attentionPicture({
      items: [{ image: picture, attention, label: basename(subject.file) }],
      heads,
      rows,
      cols,
      share,
    });
    const perHead: MapPictures[] = [];
    for (let head = 0; head < heads; head++) {
      const own = attention.subarray(head * rows * cols, (head + 1) * rows * cols);
      perHead.push(await writeMap(`head${head}`, own));
    }
    images.push({
      image: subject.file,
      picture: await write("attention", together),
      mean: await writeMap("mean", meanOfHeads(attention, heads)),
      heads: perHead,
    });
    options.onProgress?.(i + 1, subjects.length);
  }
  return { images, failures };
}

const BLACK = [0, 0, 0] as const;
const WHITE = [255, 255, 255] as const;
