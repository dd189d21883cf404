/** Images that a network looks at: pictures that the browser decodes, and files of any number of channels. */
import { isNpy, parseNpyBytes } from "../../files/npy.js";
import { formatOf, HEAD_BYTES } from "../../images/formats/kind.js";
import { onBackground } from "../../images/formats/samples.js";
import { channelsOf, type Image } from "../../images/pixels.js";
import { decodingOf, type Reading } from "../../images/reading.js";

/** An image and its name. */
export interface InputImage {
  readonly name: string;
  /** RGB or RGBA, or a file that is read as the network reads files: TIFF, or uint8 [rows, cols, channels] as .npy. */
  readonly image: Image | Blob;
}

/** The channels that a network takes, and how it reads files. */
export interface TakenChannels {
  readonly channels: number;
  /** Null for channels without names. */
  readonly channelNames: readonly string[] | null;
}

/** Whether a network takes the pictures that browsers decode. */
export function takesPictures({ channels }: Pick<TakenChannels, "channels">): boolean {
  return channels === 1 || channels === 3;
}

/** Describes the files that a network takes. */
export function takenFiles({ channels, channelNames }: TakenChannels): string {
  if (takesPictures({ channels }))
    return "a picture that this browser reads, such as JPEG, PNG, WebP or AVIF, or a TIFF of gray or color";
  return `a TIFF of ${channelsInWords({ channels, channelNames })}, or a .npy file of uint8 [rows, columns, ${channels}]`;
}

/** Returns the number of channels with their names. */
export function channelsInWords({ channels, channelNames }: TakenChannels): string {
  return `${channels} channels${channelNames === null ? "" : ` (${channelNames.join(", ")})`}`;
}

/** Whether a file is read by the thread of the viewer, for its network. */
export async function isForNetwork(file: Blob): Promise<boolean> {
  const head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  return isNpy(head) || formatOf(head) === "tiff";
}

/**
 * Reads the pixels of an image, those for colors and gray on the background of the network, if it has one. Throws, naming it, for a damaged file, and for
 * channels that the network does not take.
 */
export async function readInput({ name, image }: InputImage, taken: TakenChannels, reading: Reading): Promise<Image> {
  try {
    const { background = "none" } = reading;
    const read = await readPixels(image, taken, reading);
    return background === "none" || !takesPictures(taken)
      ? read
      : onBackground({ ...read, channels: channelsOf(read) }, background);
  } catch (error) {
    throw new Error(`${name}: ${(error as Error).message}`, { cause: error });
  }
}

async function readPixels(image: Image | Blob, taken: TakenChannels, reading: Reading): Promise<Image> {
  if (!(image instanceof Blob)) {
    expectChannels(Math.min(3, channelsOf(image)), taken);
    return image;
  }
  const bytes = new Uint8Array(await image.arrayBuffer());
  return isNpy(bytes) ? readNpy(bytes, taken) : readTiff(bytes, taken, reading);
}

function readNpy(bytes: Uint8Array, taken: TakenChannels): Image {
  const { values, shape } = parseNpyBytes(bytes);
  const [rows, cols, channels] = shape;
  if (values.length === 0) throw new Error(`npy: expected at least one pixel, got [${shape.join(", ")}]`);
  expectChannels(channels, taken);
  return { rows, cols, pixels: values };
}

async function readTiff(bytes: Uint8Array, taken: TakenChannels, reading: Reading): Promise<Image> {
  const { countChannels, openTiff, piecesOf, readValues } = await import("../../images/formats/tiff-values.js");
  const tiff = await openTiff(piecesOf(bytes));
  const part = reading.pages === "channels" ? ({ page: "channels" } as const) : undefined;
  expectChannels(await countChannels(tiff, part), taken);
  return readValues(tiff, { ...decodingOf(reading), part });
}

function expectChannels(got: number, taken: TakenChannels): void {
  if (got === taken.channels || (takesPictures(taken) && got <= 4)) return;
  throw new Error(
    `expected ${takenFiles(taken)}, got ${got} channel${got === 1 ? "" : "s"}; open such a file, or choose another model`,
  );
}
