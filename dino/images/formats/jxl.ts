/** Reader of JPEG XL, through jxl-oxide compiled to WebAssembly. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { initSync, JxlImage } from "jxl-oxide-wasm";
import type { Size } from "../pixels.js";
import * as photo from "./photo.js";
import { checkSize, type ReadOptions, type Samples, type Source, type Visit } from "./samples.js";
import { wholeFile } from "./whole-file.js";

initSync({ module: readFileSync(fileURLToPath(import.meta.resolve("jxl-oxide-wasm/module.wasm"))) });

/** Reads the first frame as RGB. */
export async function read(source: Source, options: ReadOptions): Promise<Samples> {
  const bytes = await wholeFile(source);
  return photo.read(
    withImage(bytes, (image) => render(image, options)),
    options,
  );
}

/** Visits the values of the first frame. */
export async function scan(source: Source, options: ReadOptions, visit: Visit): Promise<void> {
  const bytes = await wholeFile(source);
  await photo.scan(
    withImage(bytes, (image) => render(image, options)),
    options,
    visit,
  );
}

/** Reads the size from the header. */
export async function measure(source: Source): Promise<Size> {
  return withImage(await wholeFile(source), sizeOf);
}

/** Opens an image and frees it after `use`. Errors begin with the format. */
function withImage<T>(bytes: Uint8Array, use: (image: JxlImage) => T): T {
  const image = new JxlImage();
  try {
    image.forceSrgb = true;
    image.feedBytes(bytes);
    if (!image.tryInit()) throw new Error("the file is cut off within its header");
    return use(image);
  } catch (error) {
    throw new Error(`JPEG XL: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    image.free();
  }
}

function sizeOf({ height, width }: JxlImage): Size {
  return { rows: height ?? 0, cols: width ?? 0 };
}

/** Renders the first frame as a PNG, whose depth is that of the image. */
function render(image: JxlImage, { maxPixels }: ReadOptions): Uint8Array {
  checkSize(sizeOf(image), maxPixels);
  if (!image.loaded) throw new Error("the file is cut off");
  return image.render().encodeToPng(); // which frees what was rendered
}
