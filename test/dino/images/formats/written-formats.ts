/** Image files of formats that sharp does not write, written for tests by hand. */
import type { Image } from "../../../../dino/images/pixels.js";

export interface BmpOptions {
  readonly bits: 1 | 4 | 8 | 16 | 24 | 32;
  /** Colors as [red, green, blue], for up to 8 bits. */
  readonly palette?: readonly (readonly [number, number, number])[];
  readonly isTopDown?: boolean;
  /** The header of OS/2, of 12 bytes. */
  readonly isCore?: boolean;
  /** Bits of red, green and blue. */
  readonly masks?: readonly [number, number, number];
  /** Compression code; `rows` are then the compressed bytes. */
  readonly compression?: number;
}

/** A bitmap of rows of bytes, each padded to a multiple of 4. */
export function bmp(
  { rows, cols }: { readonly rows: number; readonly cols: number },
  content: readonly Uint8Array[],
  { bits, palette = [], isTopDown = false, isCore = false, masks, compression }: BmpOptions,
): Buffer {
  const header = Buffer.alloc(isCore ? 12 : 40);
  header.writeUInt32LE(header.length);
  if (isCore) {
    header.writeUInt16LE(cols, 4);
    header.writeInt16LE(rows, 6);
    header.writeUInt16LE(1, 8);
    header.writeUInt16LE(bits, 10);
  } else {
    header.writeInt32LE(cols, 4);
    header.writeInt32LE(isTopDown ? -rows : rows, 8);
    header.writeUInt16LE(1, 12);
    header.writeUInt16LE(bits, 14);
    header.writeUInt32LE(compression ?? (masks ? 3 : 0), 16);
    header.writeUInt32LE(palette.length, 32);
  }
  const fields = Buffer.alloc(masks ? 12 : 0);
  masks?.forEach((mask, i) => fields.writeUInt32LE(mask, 4 * i));
  const colors = Buffer.from(palette.flatMap(([r, g, b]) => (isCore ? [b, g, r] : [b, g, r, 0])));
  const inOrder = isTopDown || compression ? content : [...content].reverse();
  const pixels = Buffer.concat(
    inOrder.flatMap((row) => [row, Buffer.alloc(compression ? 0 : (4 - (row.length % 4)) % 4)]),
  );
  const head = Buffer.alloc(14);
  head.write("BM");
  head.writeUInt32LE(14 + header.length + fields.length + colors.length, 10);
  return Buffer.concat([head, header, fields, colors, pixels]);
}

/** Rows of blue, green and red, as bitmaps of 24 bits have them. */
export function bgrRows({ rows, cols, pixels }: Image): readonly Uint8Array[] {
  return Array.from({ length: rows }, (_, row) =>
    Uint8Array.from({ length: cols * 3 }, (__, i) => pixels[row * cols * 3 + i - (i % 3) + 2 - (i % 3)]!),
  );
}

/** A PBM, PGM or PPM file with these words of its header. */
export function pnm(head: string, samples: Uint8Array | string): Buffer {
  return Buffer.concat([Buffer.from(head), Buffer.from(samples)]);
}

/** A page of a TIFF file, without compression. */
export interface TiffPage {
  readonly rows: number;
  readonly cols: number;
  readonly channels?: number;
  readonly bits: number;
  /** Unsigned integers if left out. */
  readonly format?: "signed" | "float";
  /** Little endian, [rows, cols, channels]; [channels, rows, cols] if `isPlanar`. */
  readonly samples: Uint8Array;
  readonly isPlanar?: boolean;
  /** Rows of a strip, a divisor of `rows`; all if left out. */
  readonly stripRows?: number;
  /** Further tags: number, values of 2, 4 or 8 bytes, or a text. */
  readonly tags?: readonly (readonly [
    tag: number,
    type: "short" | "long" | "text",
    values: readonly number[] | string,
  ])[];
}

const TYPES = { short: { code: 3, bytes: 2 }, long: { code: 4, bytes: 4 }, text: { code: 2, bytes: 1 } } as const;

/** A TIFF file of pages. `next`, if given, replaces the offset behind the last page. */
export function tiff(pages: readonly TiffPage[], next = 0): Buffer {
  const head = Buffer.from("49492a0000000000", "hex");
  const parts: Buffer[] = [head];
  let at = head.length;
  let link: { readonly of: Buffer; readonly offset: number } = { of: head, offset: 4 };
  for (const page of pages) {
    const samples = Buffer.concat([page.samples, Buffer.alloc(page.samples.length % 2)]);
    const directory = tiffDirectory(page, at);
    link.of.writeUInt32LE(at + samples.length, link.offset);
    parts.push(samples, directory.bytes);
    at += samples.length + directory.bytes.length;
    link = { of: directory.bytes, offset: directory.link };
  }
  link.of.writeUInt32LE(next, link.offset);
  return Buffer.concat(parts);
}

function tiffDirectory(page: TiffPage, dataAt: number): { readonly bytes: Buffer; readonly link: number } {
  const { rows, cols, channels = 1, bits, format, samples, isPlanar, stripRows = rows, tags = [] } = page;
  const strips = (isPlanar ? channels : 1) * (rows === 0 ? 1 : rows / stripRows);
  const each = <T>(value: T, count: number): T[] => Array.from({ length: count }, () => value);
  const own = [
    [256, "long", [cols]],
    [257, "long", [rows]],
    [258, "short", each(bits, channels)],
    [259, "short", [1]],
    [262, "short", [channels === 3 ? 2 : 1]],
    [273, "long", Array.from({ length: strips }, (_, i) => dataAt + (i * samples.length) / strips)],
    [277, "short", [channels]],
    [278, "long", [stripRows]],
    [279, "long", each(samples.length / strips, strips)],
    [284, "short", [isPlanar ? 2 : 1]],
    [339, "short", each(format === "float" ? 3 : format === "signed" ? 2 : 1, channels)],
  ] as const;
  const given = new Set(tags.map(([tag]) => tag));
  const entries = [...own.filter(([tag]) => !given.has(tag)), ...tags].sort(([a], [b]) => a - b);
  const fixed = Buffer.alloc(2 + 12 * entries.length + 4);
  fixed.writeUInt16LE(entries.length);
  const longer: Buffer[] = [];
  let end = dataAt + samples.length + (samples.length % 2) + fixed.length;
  for (const [i, [tag, type, values]] of entries.entries()) {
    const bytes = valueBytes(type, values);
    const entry = 2 + 12 * i;
    fixed.writeUInt16LE(tag, entry);
    fixed.writeUInt16LE(TYPES[type].code, entry + 2);
    fixed.writeUInt32LE(bytes.length / TYPES[type].bytes, entry + 4);
    if (bytes.length <= 4) {
      bytes.copy(fixed, entry + 8);
      continue;
    }
    fixed.writeUInt32LE(end, entry + 8);
    longer.push(bytes, Buffer.alloc(bytes.length % 2));
    end += bytes.length + (bytes.length % 2);
  }
  return { bytes: Buffer.concat([fixed, ...longer]), link: fixed.length - 4 };
}

function valueBytes(type: keyof typeof TYPES, values: readonly number[] | string): Buffer {
  if (typeof values === "string") return Buffer.from(`${values}\0`);
  const array = type === "short" ? Uint16Array.from(values) : Uint32Array.from(values);
  return Buffer.from(array.buffer);
}

/** A gray page of 2 x 2 pixels of one value. */
export function gray(value: number, more: Partial<TiffPage> = {}): TiffPage {
  return { rows: 2, cols: 2, bits: 8, samples: new Uint8Array(4).fill(value), ...more };
}
