/** The formats of image files, told apart by their first bytes. */
import { standInOf } from "../../files/stand-ins.js";

/** Number of bytes that `formatOf` looks at. */
export const HEAD_BYTES = 132;

const formats = {
  jpeg: { label: "JPEG", extensions: [".jpg", ".jpeg", ".jpe", ".jfif"], isHead: startsWith("\xff\xd8\xff") },
  png: { label: "PNG", extensions: [".png"], isHead: startsWith("\x89PNG\r\n\x1a\n") },
  webp: {
    label: "WebP",
    extensions: [".webp"],
    isHead: (head) => startsWith("RIFF")(head) && textAt(head, 8, 4) === "WEBP",
  },
  gif: { label: "GIF", extensions: [".gif"], isHead: startsWith("GIF87a", "GIF89a") },
  avif: { label: "AVIF", extensions: [".avif"], isHead: hasBrand("avif", "avis") },
  tiff: {
    label: "TIFF",
    extensions: [".tif", ".tiff"],
    isHead: startsWith("II*\0", "MM\0*", "II+\0", "MM\0+"),
  },
  jxl: { label: "JPEG XL", extensions: [".jxl"], isHead: startsWith("\xff\x0a", "\0\0\0\x0cJXL \r\n\x87\n") },
  dicom: { label: "DICOM", extensions: [".dcm", ".dicom"], isHead: (head) => textAt(head, 128, 4) === "DICM" },
  bmp: { label: "BMP", extensions: [".bmp", ".dib"], isHead: isBitmap },
  pnm: {
    label: "PNM",
    extensions: [".pbm", ".pgm", ".ppm", ".pnm"],
    isHead: (head) => startsWith("P1", "P2", "P3", "P4", "P5", "P6")(head) && /^\s|#$/.test(textAt(head, 2, 1)),
  },
} as const satisfies Record<string, FormatRow>;

interface FormatRow {
  readonly label: string;
  /** In lowercase, with the dot. */
  readonly extensions: readonly string[];
  readonly isHead: (head: Uint8Array) => boolean;
}

/** Formats that no reader exists for; files of these can be converted. */
const foreign: readonly FormatRow[] = [
  { label: "HEIC", extensions: [".heic", ".heif"], isHead: hasBrand("heic", "heix", "hevc", "heim", "heis", "mif1") },
  {
    label: "JPEG 2000",
    extensions: [".jp2", ".j2k", ".jpx"],
    isHead: startsWith("\0\0\0\x0cjP  \r\n", "\xff\x4f\xff\x51"),
  },
  { label: "Photoshop", extensions: [".psd", ".psb"], isHead: startsWith("8BPS") },
  { label: "OpenEXR", extensions: [".exr"], isHead: startsWith("\x76\x2f\x31\x01") },
  { label: "PDF", extensions: [".pdf"], isHead: startsWith("%PDF-") },
  { label: "SVG", extensions: [".svg"], isHead: startsWith("<svg") },
];

/** A format that is read. */
export type Format = keyof typeof formats;

const names = Object.keys(formats) as Format[];
const extensions = names.flatMap((name): readonly string[] => formats[name].extensions);

/** The extensions of files taken for images by name, for messages. */
export const imageNames = extensions.join(", ");

/** Whether a name has the extension of an image, in any case. */
export function isImageName(name: string): boolean {
  return extensions.includes(extensionOf(name));
}

/**
 * Returns the extension of a name in lowercase, with the dot; "" if the part behind the last dot does not begin with a
 * letter or has more than 8 characters, as in "scan.2" or "1.2.840".
 */
export function extensionOf(name: string): string {
  return /\.[a-z][a-z0-9_]{0,7}$/i.exec(name)?.[0].toLowerCase() ?? "";
}

/** Returns the format of a file that begins with `head`; undefined if it is none of those that are read. */
export function formatOf(head: Uint8Array): Format | undefined {
  return names.find((name) => formats[name].isHead(head));
}

/** Returns why a file that begins with `head` cannot be read, and the way out. */
export function whyForeign(head: Uint8Array): string {
  if (head.length === 0) return "expected an image, got an empty file";
  const standIn = standInOf(head);
  if (standIn !== undefined) return `expected an image, got ${standIn}`;
  const known = foreign.find(({ isHead }) => isHead(head));
  const labels = names.map((name) => formats[name].label).join(", ");
  return known
    ? `is ${known.label}, which is not read; ${conversion}`
    : `expected ${labels}, got a file that begins with ${hex(head.subarray(0, 8))}`;
}

/** Whether an extension stands for a format of images that is not read. */
export function isForeign(extension: string): boolean {
  return foreign.some(({ extensions: some }) => some.includes(extension));
}

/** How to make a file of any format readable. */
export const conversion = 'convert it to PNG or JPEG, for example with ImageMagick: "magick FILE FILE.png"';

function startsWith(...starts: readonly string[]): (head: Uint8Array) => boolean {
  return (head) => starts.some((start) => textAt(head, 0, start.length) === start);
}

/** Matches files of the ISO base media format that name one of these brands, major or compatible. */
function hasBrand(...brands: readonly string[]): (head: Uint8Array) => boolean {
  return (head) => {
    if (textAt(head, 4, 4) !== "ftyp") return false;
    const end = Math.min(new DataView(head.buffer, head.byteOffset).getUint32(0), head.length);
    for (let at = 8; at + 4 <= end; at += 4) if (brands.includes(textAt(head, at, 4))) return true;
    return false;
  };
}

/** Matches Windows and OS/2 bitmaps by the size of their header too, since texts may begin with the same two letters. */
function isBitmap(head: Uint8Array): boolean {
  return startsWith("BM")(head) && [12, 40, 52, 56, 64, 108, 124].includes(head[14]!) && head[15] === 0;
}

function textAt(bytes: Uint8Array, start: number, size: number): string {
  return String.fromCharCode(...bytes.subarray(start, start + size));
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
