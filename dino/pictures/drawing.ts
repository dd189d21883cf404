/** Pictures in memory: boxes, images, text. */
import { asColors } from "../images/formats/samples.js";
import { FIRST_CHANNELS } from "../images/image-location.js";
import type { Image } from "../images/pixels.js";

/** A picture with eight bits per channel: `rgb` is row-major [height, width, 3]. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
}

/** Red, green and blue, each 0 to 255. */
export type Color = readonly [number, number, number];

export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface TextOptions {
  /** Left edge, center or right edge of the text, depending on `align`. */
  readonly x: number;
  /** Top of the capital letters. */
  readonly y: number;
  readonly color: Color;
  /** Height of the capital letters in pixels; default 12. */
  readonly size?: number;
  /** Default "left". */
  readonly align?: "left" | "center" | "right";
}

/** Creates a picture of one colour. */
export function blankPicture(width: number, height: number, color: Color): Picture {
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < rgb.length; i++) rgb[i] = color[i % 3]!;
  return { width, height, rgb };
}

/** Returns an image as a picture. One channel becomes gray; of other channels, three are shown. */
export function asPicture(image: Image, shown = FIRST_CHANNELS): Picture {
  const { rows, cols, pixels } = asColors(image, shown);
  return { width: cols, height: rows, rgb: pixels };
}

/** Blends `color` over a pixel with opacity `alpha`; pixels outside the picture are ignored. */
function blendPixel(picture: Picture, x: number, y: number, color: Color, alpha: number): void {
  if (x < 0 || y < 0 || x >= picture.width || y >= picture.height) return;
  const at = (y * picture.width + x) * 3;
  for (let c = 0; c < 3; c++) {
    picture.rgb[at + c] = Math.round(picture.rgb[at + c]! * (1 - alpha) + color[c]! * alpha);
  }
}

export function fillBox(picture: Picture, box: Rectangle, color: Color): void {
  for (let y = box.y; y < box.y + box.height; y++) {
    for (let x = box.x; x < box.x + box.width; x++) blendPixel(picture, x, y, color, 1);
  }
}

/**
 * Colours every pixel of a box: `colorAt(u, v)` takes its position in the box in pixels, u to the right and v
 * downwards.
 */
export function paintBox(picture: Picture, box: Rectangle, colorAt: (u: number, v: number) => Color): void {
  for (let v = 0; v < box.height; v++) {
    for (let u = 0; u < box.width; u++) blendPixel(picture, box.x + u, box.y + v, colorAt(u, v), 1);
  }
}

/** Returns a picture of the same size whose pixels depend on their row-major index and their former colour. */
export function paintPicture(picture: Picture, colorAt: (at: number, color: Color) => Color): Picture {
  const { width, height } = picture;
  const painted = { width, height, rgb: new Uint8Array(width * height * 3) };
  paintBox(painted, { x: 0, y: 0, width, height }, (x, y) => colorAt(y * width + x, pixel(picture, x, y)));
  return painted;
}

/** Enlarges a picture by an integer factor (nearest neighbour), or shrinks it by one (box average). */
export function scalePicture(
  picture: Picture,
  { up = 1, down = 1 }: { readonly up?: number; readonly down?: number },
): Picture {
  const width = Math.floor(picture.width / down) * up;
  const height = Math.floor(picture.height / down) * up;
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let dy = 0; dy < down; dy++) {
          const row = (Math.floor(y / up) * down + dy) * picture.width;
          for (let dx = 0; dx < down; dx++) sum += picture.rgb[(row + Math.floor(x / up) * down + dx) * 3 + c]!;
        }
        rgb[(y * width + x) * 3 + c] = Math.round(sum / (down * down));
      }
    }
  }
  return { width, height, rgb };
}

/** Copies `source` into `picture` with its top left corner at (x, y). */
export function placePicture(picture: Picture, source: Picture, x: number, y: number): void {
  paintBox(picture, { x, y, width: source.width, height: source.height }, (u, v) => pixel(source, u, v));
}

export function pixel({ width, rgb }: Picture, x: number, y: number): Color {
  const at = (y * width + x) * 3;
  return [rgb[at]!, rgb[at + 1]!, rgb[at + 2]!];
}

/** Stops of matplotlib's "inferno", evenly spaced from 0 to 1: perceptually uniform, also in grey. */
const INFERNO = [
  "000004",
  "160b39",
  "420a68",
  "6a176e",
  "932667",
  "bc3754",
  "dd513a",
  "f37819",
  "fca50a",
  "f6d746",
  "fcffa4",
];
const infernoStops = INFERNO.map(hexColor);

/** Maps a value from 0 (dark) to 1 (bright) to a colour; values outside are clamped, NaN counts as 0. */
export function heatColor(value: number): Color {
  const at = clamp(value) * (infernoStops.length - 1);
  const low = Math.min(Math.floor(at), infernoStops.length - 2);
  return mix(infernoStops[low]!, infernoStops[low + 1]!, at - low);
}

/** Ten distinct colours: Tableau's, as in matplotlib's "tab10". */
const CATEGORIES = ["1f77b4", "ff7f0e", "2ca02c", "d62728", "9467bd", "8c564b", "e377c2", "7f7f7f", "bcbd22", "17becf"];
const categoryColors = CATEGORIES.map(hexColor);

/** Returns the colour of a category: ten from the palette, then hues a golden angle apart. */
export function categoryColor(category: number): Color {
  const known = categoryColors[category];
  if (known !== undefined) return known;
  const hue = (category * 137.508) % 360;
  const lightness = [0.45, 0.62, 0.35][category % 3]!;
  const channel = (n: number): number => {
    const k = (n + hue / 30) % 12;
    const reach = 0.65 * Math.min(lightness, 1 - lightness);
    return Math.round(255 * (lightness - reach * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}

/** Interpolates from `a` to `b` by `share`, 0 to 1. */
export function mix(a: Color, b: Color, share: number): Color {
  return [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share];
}

/** Returns the perceived brightness, 0 to 255. */
export function luminance([r, g, b]: Color): number {
  return 0.299 * r + 0.587 * g + 0.114 * b;
}

/**
 * The public-domain 5x7 font of character displays, space to tilde: five columns per character from left to right, two
 * hex digits per column with the lowest bit on top; the eighth row holds descenders.
 */
const FONT =
  "0000000000 00005f0000 0007000700 147f147f14 242a7f2a12 2313086462 3649552250 0000070000 001c224100 0041221c00 " +
  "14083e0814 08083e0808 0080600000 0808080808 0000400000 2010080402 3e41413e00 00427f4000 4261514946 2141454b31 " +
  "1814127f10 2745454539 3c4a494930 0171090503 3649494936 064949291e 0000240000 0080640000 0814224100 1414141414 " +
  "0041221408 0201510906 3e415d559e 7c1211127c 7f49494936 3e41414122 7f4141221c 7f49494941 7f09090901 3e41495132 " +
  "7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040 7f020c027f 7f0408107f 3e4141413e 7f09090906 3e4151215e " +
  "7f09192946 4649494931 01017f0101 3f4040403f 0718601807 3f4038403f 6314081463 0708700807 6151494543 007f414100 " +
  "0204081020 0041417f00 0402010204 4040404040 0001020400 2054545478 7f48444438 3844444420 384444487f 3854545418 " +
  "087e090102 18a4a4a47c 7f08040478 00447d4000 4080847d00 007f102844 00417f4000 7c04180478 7c08040478 3844444438 " +
  "fc24242418 18242424fc 7c08040408 4854545420 043f444020 3c4040207c 0c3040300c 3c4030403c 4428102844 1ca0a0a07c " +
  "4464544c44 0008364100 00007f0000 0041360800 0804081008";

interface Glyph {
  /** Number of columns between the first and the last that are not empty. */
  readonly columns: number;
  /** Strokes between adjacent dots, in dots: [x0, y0, x1, y1]. */
  readonly strokes: readonly (readonly [number, number, number, number])[];
}

const glyphs: readonly Glyph[] = FONT.split(" ").map(glyphOf);
/** The glyph of characters that the font lacks: a box. */
const missing = glyphOf("7f4141417f");

/** Distance between two characters, and width of a space, in dots. */
const LETTER_GAP = 1.5;
const SPACE_COLUMNS = 2.2;

/** Draws one line of ASCII; dots of the font are joined to round strokes, which makes any size smooth. */
export function drawText(
  picture: Picture,
  text: string,
  { x, y, color, size = 12, align = "left" }: TextOptions,
): void {
  const dot = size / 7;
  const width = textWidth(text, size);
  let left = Math.round(align === "left" ? x : align === "right" ? x - width : x - width / 2);
  const radius = Math.max(0.6, dot * 0.47);
  for (const character of text) {
    const glyph = glyphFor(character);
    for (let py = Math.floor(y - 1); py <= y + 8 * dot + 1; py++) {
      for (let px = Math.floor(left - 1); px <= left + glyph.columns * dot + 1; px++) {
        const nearest = nearestStroke(glyph, (px + 0.5 - left) / dot - 0.5, (py + 0.5 - y) / dot - 0.5) * dot;
        const covered = clamp(radius + 0.5 - nearest);
        if (covered > 0) blendPixel(picture, px, py, color, covered);
      }
    }
    left += advance(glyph) * dot;
  }
}

/** Returns the width of a line of `drawText`, in pixels. */
export function textWidth(text: string, size = 12): number {
  let dots = 0;
  for (const character of text) dots += advance(glyphFor(character));
  return Math.max(0, dots - LETTER_GAP) * (size / 7);
}

/** Truncates a text to `width` pixels, with dots at the end. */
export function clipText(text: string, width: number, size: number): string {
  if (textWidth(text, size) <= width) return text;
  let clipped = text;
  while (clipped.length > 1 && textWidth(`${clipped}..`, size) > width) clipped = clipped.slice(0, -1);
  return `${clipped}..`;
}

function advance(glyph: Glyph): number {
  return (glyph.columns === 0 ? SPACE_COLUMNS : glyph.columns) + LETTER_GAP;
}

function glyphFor(character: string): Glyph {
  return glyphs[character.charCodeAt(0) - 0x20] ?? missing;
}

function glyphOf(hex: string): Glyph {
  const columns = (hex.match(/../g) ?? []).map((column) => parseInt(column, 16));
  while (columns.length > 0 && columns[0] === 0) columns.shift();
  while (columns.length > 0 && columns.at(-1) === 0) columns.pop();
  const dot = (x: number, y: number): boolean => (((columns[x] ?? 0) >> y) & 1) === 1;
  const strokes: [number, number, number, number][] = [];
  for (let x = 0; x < columns.length; x++) {
    for (let y = 0; y < 8; y++) {
      if (!dot(x, y)) continue;
      const before = strokes.length;
      if (dot(x + 1, y)) strokes.push([x, y, x + 1, y]);
      if (dot(x, y + 1)) strokes.push([x, y, x, y + 1]);
      // Diagonals only if no corner joins the two already.
      if (dot(x + 1, y + 1) && !dot(x + 1, y) && !dot(x, y + 1)) strokes.push([x, y, x + 1, y + 1]);
      if (dot(x + 1, y - 1) && !dot(x + 1, y) && !dot(x, y - 1)) strokes.push([x, y, x + 1, y - 1]);
      if (strokes.length === before) strokes.push([x, y, x, y]);
    }
  }
  return { columns: columns.length, strokes };
}

/** Returns the distance from (x, y) to the nearest stroke, in dots. */
function nearestStroke({ strokes }: Glyph, x: number, y: number): number {
  let nearest = Infinity;
  for (const [x0, y0, x1, y1] of strokes) {
    const [dx, dy] = [x1 - x0, y1 - y0];
    const length = dx * dx + dy * dy;
    const along = length === 0 ? 0 : clamp(((x - x0) * dx + (y - y0) * dy) / length);
    nearest = Math.min(nearest, Math.hypot(x - x0 - along * dx, y - y0 - along * dy));
  }
  return nearest;
}

function hexColor(hex: string): Color {
  return [parseInt(hex.slice(0, 2), 16), parseInt(hex.slice(2, 4), 16), parseInt(hex.slice(4), 16)];
}

function clamp(value: number): number {
  return value > 0 ? Math.min(value, 1) : 0;
}
