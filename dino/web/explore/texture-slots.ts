/** Thumbnails on the graphics card: a texture with a slot for each of those seen last. */

/** Side of a slot in pixels, the most of a thumbnail. */
const SIDE = 96;
/** Slots along a side of the texture, which takes 36 MB. */
const ALONG = 32;
/** Thumbnails decoded at once, which keeps drawing smooth. */
const DECODING = 24;

export interface Slot {
  /** Size of the thumbnail in pixels. */
  readonly width: number;
  readonly height: number;
  /** Left, top, width and height in the texture, 0 to 1. */
  readonly source: readonly [number, number, number, number];
}

export interface Slots {
  readonly most: number;
  /** Begins a drawing: slots that it asks for are not taken away. */
  readonly begin: () => void;
  /** Returns the slot of a row; undefined until its thumbnail is here. */
  readonly slotOf: (row: number) => Slot | undefined;
}

interface Used extends Slot {
  readonly index: number;
  drawing: number;
}

export function openSlots(
  gl: WebGL2RenderingContext,
  { thumbnail, onReady }: { readonly thumbnail: (row: number) => Blob | undefined; readonly onReady: () => void },
): Slots {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, SIDE * ALONG, SIDE * ALONG);
  for (const [name, value] of [
    [gl.TEXTURE_MIN_FILTER, gl.LINEAR],
    [gl.TEXTURE_MAG_FILTER, gl.LINEAR],
    [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE],
    [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE],
  ] as const)
    gl.texParameteri(gl.TEXTURE_2D, name, value);
  const used = new Map<number, Used>();
  const decoding = new Set<number>();
  const broken = new Set<number>();
  const free = Array.from({ length: ALONG * ALONG }, (_, index) => index);
  let drawing = 0;

  /** Takes a free slot, or the one whose drawing is longest ago; undefined if all are being drawn. */
  const takeSlot = (): number | undefined => {
    const index = free.pop();
    if (index !== undefined) return index;
    let oldest: [number, Used] | undefined;
    for (const entry of used) if (!oldest || entry[1].drawing < oldest[1].drawing) oldest = entry;
    if (!oldest || oldest[1].drawing >= drawing) return undefined;
    used.delete(oldest[0]);
    return oldest[1].index;
  };
  const load = async (row: number, blob: Blob): Promise<void> => {
    decoding.add(row);
    try {
      const bitmap = await createImageBitmap(blob);
      const index = takeSlot();
      if (index === undefined) return;
      const [left, top] = [SIDE * (index % ALONG), SIDE * Math.floor(index / ALONG)];
      const { width, height } = bitmap;
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, left, top, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
      bitmap.close();
      const whole = SIDE * ALONG;
      used.set(row, {
        ...{ index, drawing, width, height },
        source: [left / whole, top / whole, width / whole, height / whole],
      });
      onReady();
    } catch {
      broken.add(row);
    } finally {
      decoding.delete(row);
    }
  };
  return {
    most: ALONG * ALONG,
    begin: () => drawing++,
    slotOf: (row) => {
      const found = used.get(row);
      if (found) {
        found.drawing = drawing;
        return found;
      }
      if (broken.has(row) || decoding.has(row) || decoding.size >= DECODING) return undefined;
      const blob = thumbnail(row);
      if (blob) void load(row, blob);
      return undefined;
    },
  };
}
