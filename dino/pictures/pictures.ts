/** Pictures of attention maps, and of patch features as colours. */
import { resize } from "../images/pixels.js";
import {
  blankPicture,
  categoryColor,
  clipText,
  drawText,
  fillBox,
  heatColor,
  mix,
  paintBox,
  pixel,
  placePicture,
  scalePicture,
  textWidth,
  type Rectangle,
  type Color,
  type Picture,
} from "./drawing.js";
import { colorsOf, fitColors } from "./feature-colors.js";
import { dimColor, grey, overlayColor, patchIn, smoothIn } from "./map-colors.js";
import { attentionMask, meanOfHeads, toUnitRange } from "./visualize.js";

const PAPER: Color = [255, 255, 255];
const INK: Color = [28, 32, 38];
const FAINT: Color = [118, 124, 133];
const OUTLINE: Color = [255, 214, 64];

const MARGIN = 28;
const GAP = 10;
/** Minimum width of a picture; small images are enlarged to fill it. */
const MIN_WIDTH = 1000;
/** Maximum side of a cell; larger images are shrunk. */
const MAX_CELL = 320;
const MAX_COLUMNS = 8;

export interface AttentionItem {
  /** The input image, of `rows` x `cols` whole patches. */
  readonly image: Picture;
  /** Attention of its cls token, [heads, rows * cols]; see `clsAttention`. */
  readonly attention: Float32Array;
  /** Shown beside the image. */
  readonly label?: string;
}

export interface AttentionPictureOptions {
  /** One band per image, all of one size. */
  readonly items: readonly AttentionItem[];
  readonly heads: number;
  /** Size of an image in patches. */
  readonly rows: number;
  readonly cols: number;
  /** Share of each head's mass that its mask keeps, in (0, 1]; default 0.6. */
  readonly share?: number;
  readonly title?: string;
}

/** One column of a band: the image, or one map in three forms. */
type Column =
  | { readonly kind: "image"; readonly item: AttentionItem }
  | { readonly kind: "map"; readonly item: AttentionItem; readonly name: string; readonly map: Map2d };

/** A map and its mask, over patches, [rows, cols]; `heat` runs from 0 to 1. */
interface Map2d {
  readonly heat: Float32Array;
  readonly mask: Uint8Array;
}

/**
 * Draws a band per image: the image, and for the mean of all heads and each head the heat map, the heat map over the
 * image, and the patches that hold `share` of its mass. At least 1000 pixels wide. Throws unless sizes match.
 */
export function attentionPicture(options: AttentionPictureOptions): Picture {
  const { items, heads, rows, cols, share = 0.6, title = "Attention of the cls token" } = options;
  const { width: imageWidth, height: imageHeight } = commonSize(
    "attentionPicture",
    items.map(({ image }) => image),
    rows,
    cols,
  );
  for (const { attention } of items) {
    if (attention.length !== heads * rows * cols) {
      throw new Error(
        `attentionPicture: expected attention [${heads}, ${rows * cols}], got ${attention.length} values`,
      );
    }
  }

  const rowLabels = ["attention", "on image", `${Math.round(share * 100)}% of mass`];
  const left = MARGIN + Math.max(...rowLabels.map((label) => textWidth(label, 11))) + GAP;
  const parts = Math.ceil((heads + 2) / MAX_COLUMNS);
  const columns = Math.ceil((heads + 2) / parts);
  const scale = scaleFor(imageWidth, imageHeight, (MIN_WIDTH - left - MARGIN + GAP) / columns - GAP);
  const cellWidth = Math.floor(imageWidth / scale.down) * scale.up;
  const cellHeight = Math.floor(imageHeight / scale.down) * scale.up;
  const bandHeight = 24 + 3 * (cellHeight + GAP) + 14;
  const top = MARGIN + 16 + 22;
  const legendHeight = 34;
  const picture = blankPicture(
    Math.max(MIN_WIDTH, Math.ceil(left + columns * (cellWidth + GAP) - GAP + MARGIN)),
    top + items.length * parts * bandHeight + legendHeight + MARGIN,
    PAPER,
  );
  drawText(picture, title, { x: MARGIN, y: MARGIN, color: INK, size: 16 });

  for (const [i, item] of items.entries()) {
    const image = scalePicture(item.image, scale);
    const all = columnsOf(item, { heads, share });
    for (const [c, column] of all.entries()) {
      const part = Math.floor(c / columns);
      const x = Math.round(left + (c % columns) * (cellWidth + GAP));
      const y = top + (i * parts + part) * bandHeight;
      const name = column.kind === "image" ? (item.label ?? "image") : column.name;
      drawText(picture, clipText(name, cellWidth, 11), {
        x: x + cellWidth / 2,
        y: y + 6,
        color: INK,
        size: 11,
        align: "center",
      });
      const cell = (row: number): Rectangle => ({
        x,
        y: y + 24 + row * (cellHeight + GAP),
        width: cellWidth,
        height: cellHeight,
      });
      if (column.kind === "image") {
        placePicture(picture, image, x, y + 24);
        drawStrongestHeads(picture, cell(1), image, { item, heads, rows, cols });
        const below = { x: x + cellWidth / 2, y: cell(2).y, color: FAINT, size: 10, align: "center" } as const;
        drawText(picture, clipText("strongest head", cellWidth, 10), below);
      } else {
        drawMap(picture, [cell(0), cell(1), cell(2)], image, { map: column.map, rows, cols });
      }
      if (c % columns === 0) {
        for (const [row, label] of rowLabels.entries()) {
          const middle = Math.round(cell(row).y + cellHeight / 2 - 5);
          drawText(picture, label, { x: left - GAP, y: middle, color: FAINT, size: 11, align: "right" });
        }
      }
    }
  }
  drawAttentionLegend(picture, left, picture.height - MARGIN - 12, heads);
  return picture;
}

function columnsOf(
  item: AttentionItem,
  { heads, share }: { readonly heads: number; readonly share: number },
): Column[] {
  const patches = item.attention.length / heads;
  const mean = meanOfHeads(item.attention, heads);
  const mask = attentionMask({ attention: item.attention, heads, share });
  const perHead = Array.from({ length: heads }, (_, head): Column => {
    const [from, to] = [head * patches, (head + 1) * patches];
    const map = { heat: toUnitRange(item.attention.subarray(from, to)), mask: mask.subarray(from, to) };
    return { kind: "map", item, name: `head ${head + 1}`, map };
  });
  const meanMap = { heat: toUnitRange(mean), mask: attentionMask({ attention: mean, heads: 1, share }) };
  return [{ kind: "image", item }, { kind: "map", item, name: "mean", map: meanMap }, ...perHead];
}

interface MapOptions {
  readonly map: Map2d;
  readonly rows: number;
  readonly cols: number;
}

/** Draws the map alone, interpolated over the image, and as a mask. */
function drawMap(
  picture: Picture,
  boxes: readonly [Rectangle, Rectangle, Rectangle],
  image: Picture,
  { map, rows, cols }: MapOptions,
): void {
  const patchOf = patchIn(boxes[0], rows, cols);
  const smooth = smoothIn(boxes[0], map.heat, rows, cols);
  paintBox(picture, boxes[0], (u, v) => heatColor(map.heat[patchOf(u, v)]!));
  paintBox(picture, boxes[1], (u, v) => {
    return overlayColor(pixel(image, u, v), smooth(u, v));
  });
  const isKept = (u: number, v: number): boolean => {
    const inside = u >= 0 && v >= 0 && u < boxes[2].width && v < boxes[2].height;
    return inside && map.mask[patchOf(u, v)] === 1;
  };
  const patchPixels = boxes[2].width / cols;
  const thickness = patchPixels >= 16 ? 2 : patchPixels >= 6 ? 1 : 0; // an outline must not fill its patch
  paintBox(picture, boxes[2], (u, v) => {
    const color = pixel(image, u, v);
    if (!isKept(u, v)) return dimColor(color);
    const border =
      !isKept(u - thickness, v) || !isKept(u + thickness, v) || !isKept(u, v - thickness) || !isKept(u, v + thickness);
    return border ? OUTLINE : color;
  });
}

interface StrongestOptions {
  readonly item: AttentionItem;
  readonly heads: number;
  readonly rows: number;
  readonly cols: number;
}

/** Draws the image in grey, tinted with the colour of the head of the largest attention, in proportion to it. */
function drawStrongestHeads(
  picture: Picture,
  box: Rectangle,
  image: Picture,
  { item, heads, rows, cols }: StrongestOptions,
): void {
  const patches = rows * cols;
  const unit = Array.from({ length: heads }, (_, head) =>
    toUnitRange(item.attention.subarray(head * patches, (head + 1) * patches)),
  );
  const smooth = unit.map((heat) => smoothIn(box, heat, rows, cols));
  paintBox(picture, box, (u, v) => {
    let strongest = 0;
    let strength = -1;
    for (const [head, at] of smooth.entries()) {
      const heat = at(u, v);
      if (heat > strength) [strongest, strength] = [head, heat];
    }
    return mix(grey(pixel(image, u, v)), categoryColor(strongest), 0.75 * Math.max(0, strength));
  });
}

function drawAttentionLegend(picture: Picture, x: number, y: number, heads: number): void {
  const bar: Rectangle = { x: Math.round(x), y, width: 160, height: 12 };
  paintBox(picture, bar, (u) => heatColor(u / (bar.width - 1)));
  const text = "least to most, each map by itself";
  drawText(picture, text, { x: bar.x + bar.width + 8, y: y + 1, color: FAINT, size: 10 });
  let at = bar.x + bar.width + 8 + textWidth(text, 10) + 28;
  drawText(picture, "strongest head:", { x: at, y: y + 1, color: FAINT, size: 10 });
  at += textWidth("strongest head:", 10) + 10;
  for (let head = 0; head < heads && at < picture.width - MARGIN - 24; head++) {
    fillBox(picture, { x: Math.round(at), y, width: 12, height: 12 }, categoryColor(head));
    const name = String(head + 1);
    drawText(picture, name, { x: at + 16, y: y + 1, color: FAINT, size: 10 });
    at += 16 + textWidth(name, 10) + 12;
  }
}

export interface FeatureMapOptions {
  /** Images of one size; the first 16 are shown. */
  readonly images: readonly Picture[];
  /** Patch features without the cls token: [images * rows * cols, dim]. */
  readonly features: Float32Array;
  readonly dim: number;
  /** Size of an image in patches. */
  readonly rows: number;
  readonly cols: number;
  readonly title?: string;
}

const MAX_IMAGES = 16;

/**
 * Draws each image beside its patches, coloured by the first three principal components over all patches, so that
 * similar features have similar colours. At least 1000 pixels wide. Throws unless sizes match.
 */
export function featureMapPicture(options: FeatureMapOptions): Picture {
  const { features, dim, rows, cols, title = "Patch features: first three principal components as colours" } = options;
  const patches = rows * cols;
  if (features.length !== options.images.length * patches * dim) {
    const expected = `[${options.images.length} * ${patches}, ${dim}]`;
    throw new Error(`featureMapPicture: expected features ${expected}, got ${features.length} values`);
  }
  const images = options.images.slice(0, MAX_IMAGES);
  const { width: imageWidth, height: imageHeight } = commonSize("featureMapPicture", images, rows, cols);

  const used = features.subarray(0, images.length * patches * dim);
  const palette = fitColors({ values: used, rows: images.length * patches, dim });
  const colors = colorsOf(palette, used);

  const pairs = Math.min(images.length, 4);
  const pairGap = 3;
  const room = (MIN_WIDTH - 2 * MARGIN + 2 * GAP) / pairs - 2 * GAP - pairGap;
  const scale = scaleFor(imageWidth, imageHeight, room / 2);
  const cellWidth = Math.floor(imageWidth / scale.down) * scale.up;
  const cellHeight = Math.floor(imageHeight / scale.down) * scale.up;
  const pairWidth = 2 * cellWidth + pairGap;
  const top = MARGIN + 16 + 36;
  const lines = Math.ceil(images.length / pairs);
  const gridWidth = pairs * (pairWidth + 2 * GAP) - 2 * GAP;
  const width = Math.max(MIN_WIDTH, gridWidth + 2 * MARGIN);
  const height = top + lines * (cellHeight + 2 * GAP) - 2 * GAP + MARGIN;
  const map = blankPicture(width, height, PAPER);
  drawText(map, title, { x: MARGIN, y: MARGIN, color: INK, size: 16 });
  drawText(map, sharesText(palette.components.shares), { x: MARGIN, y: MARGIN + 25, color: FAINT, size: 10 });

  const left = Math.round((width - gridWidth) / 2);
  for (const [i, image] of images.entries()) {
    const x = left + (i % pairs) * (pairWidth + 2 * GAP);
    const y = top + Math.floor(i / pairs) * (cellHeight + 2 * GAP);
    placePicture(map, scalePicture(image, scale), x, y);
    const box: Rectangle = { x: x + cellWidth + pairGap, y, width: cellWidth, height: cellHeight };
    const patchOf = patchIn(box, rows, cols);
    paintBox(map, box, (u, v) => colors[i * patches + patchOf(u, v)]!);
  }
  return map;
}

/** An image with the colours of its patches. */
export interface FeaturePair {
  /** A thumbnail. */
  readonly image: Picture;
  /** [rows * cols] */
  readonly colors: readonly Color[];
  readonly rows: number;
  readonly cols: number;
  readonly label: string;
}

export interface FeaturePairsOptions {
  /** Images of any sizes. */
  readonly items: readonly FeaturePair[];
  readonly title: string;
  /** Share of variance of each component shown. */
  readonly shares: ArrayLike<number>;
}

/** Longer side of an image on a contact sheet. */
const THUMBNAIL = 150;
const PAIRS_A_LINE = 3;

/** Resizes a picture for a contact sheet. */
export function thumbnail({ width, height, rgb }: Picture): Picture {
  const scale = THUMBNAIL / Math.max(width, height);
  const [rows, cols] = [height, width].map((side) => Math.max(1, Math.round(scale * side))) as [number, number];
  const { pixels } = resize({ rows: height, cols: width, pixels: rgb }, { rows, cols });
  return { width: cols, height: rows, rgb: pixels };
}

/** Draws every image beside the colours of its patches, with its name, three pairs per line. */
export function featurePairsPicture({ items, title, shares }: FeaturePairsOptions): Picture {
  const pairGap = 4;
  const pairWidth = 2 * THUMBNAIL + pairGap;
  const lineHeight = THUMBNAIL + 14 + 2 * GAP;
  const top = MARGIN + 16 + 36;
  const width = Math.max(MIN_WIDTH, PAIRS_A_LINE * (pairWidth + 2 * GAP) - 2 * GAP + 2 * MARGIN);
  const lines = Math.ceil(items.length / PAIRS_A_LINE);
  const picture = blankPicture(width, top + lines * lineHeight + MARGIN - GAP, PAPER);
  drawText(picture, title, { x: MARGIN, y: MARGIN, color: INK, size: 16 });
  drawText(picture, sharesText(shares), { x: MARGIN, y: MARGIN + 25, color: FAINT, size: 10 });
  for (const [i, { image, colors, rows, cols, label }] of items.entries()) {
    const x = MARGIN + (i % PAIRS_A_LINE) * (pairWidth + 2 * GAP);
    const y = top + Math.floor(i / PAIRS_A_LINE) * lineHeight;
    const dx = Math.floor((THUMBNAIL - image.width) / 2);
    const dy = Math.floor((THUMBNAIL - image.height) / 2);
    placePicture(picture, image, x + dx, y + dy);
    const box: Rectangle = {
      x: x + THUMBNAIL + pairGap + dx,
      y: y + dy,
      width: image.width,
      height: image.height,
    };
    const patchOf = patchIn(box, rows, cols);
    paintBox(picture, box, (u, v) => colors[patchOf(u, v)]!);
    const name = clipText(label, pairWidth, 10);
    drawText(picture, name, { x: x + pairWidth / 2, y: y + THUMBNAIL + 6, color: FAINT, size: 10, align: "center" });
  }
  return picture;
}

function sharesText(shares: ArrayLike<number>): string {
  return `share of variance: ${Array.from(shares, (share) => `${(100 * share).toFixed(1)}%`).join(", ")}`;
}

/** Returns the first image. Throws if sizes differ or are not whole patches. */
function commonSize(who: string, images: readonly Picture[], rows: number, cols: number): Picture {
  const [first] = images;
  if (first === undefined) throw new Error(`${who}: expected at least one image`);
  for (const { width, height } of images) {
    if (width !== first.width || height !== first.height) {
      throw new Error(`${who}: images differ in size: ${first.width} x ${first.height} and ${width} x ${height}`);
    }
  }
  if (first.width % cols !== 0 || first.height % rows !== 0) {
    const size = `${first.width} x ${first.height}`;
    throw new Error(`${who}: ${cols} x ${rows} patches do not divide an image of ${size}; crop it to whole patches`);
  }
  return first;
}

/**
 * Returns the integer factor to enlarge by so that images fill `least` pixels, or to shrink by so that they fit a cell.
 */
function scaleFor(width: number, height: number, least: number): { readonly up: number; readonly down: number } {
  const side = Math.max(width, height);
  if (side > MAX_CELL) return { up: 1, down: Math.ceil(side / MAX_CELL) };
  const wanted = Math.max(1, Math.ceil(least / width));
  return { up: Math.max(1, Math.min(wanted, Math.floor(MAX_CELL / side))), down: 1 };
}
