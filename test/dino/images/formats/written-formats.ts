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
