/** A map of images by their features, with similar images close together. */
import type { Image } from "../images/pixels.js";
import { categoryColor } from "./drawing.js";
import { element, hex, ink, square, svgCaption, svgFile, svgText } from "./svg.js";

/** Positions on a map, [rows, 2]. */
export type Places = Float64Array;

/** One map. */
export interface MapPanel {
  readonly title: string;
  readonly places: Places;
}

export interface MapOptions {
  readonly panels: readonly MapPanel[];
  /** The class of each row. */
  readonly labels: ArrayLike<number>;
  /** Names of the classes. */
  readonly classes: readonly string[];
  /** The square image of each row; only a few are drawn. */
  readonly images: readonly Image[];
  readonly title: string;
  /** Lines below the picture. */
  readonly caption: readonly string[];
}

const WIDTH = 1000;
const MARGIN = 24;
const PANEL_GAP = 20;
const TOP = 92;
const THUMBNAIL = 24;
/** Cells per side of the grid in which one image per occupied cell is drawn. */
const CELLS = 8;
const MOST_NAMES = 40;

/** Draws the maps side by side as SVG: a dot per image in the colour of its class, and some of the images. */
export function mapSvg({ panels, labels, classes, images, title, caption }: MapOptions): string {
  const side = Math.floor((WIDTH - 2 * MARGIN - PANEL_GAP * (panels.length - 1)) / panels.length);
  const drawn = panels.flatMap((panel, i) => {
    const left = MARGIN + i * (side + PANEL_GAP);
    const style = { size: 16, color: ink.text, weight: "bold", anchor: "middle" } as const;
    const box = { x: left, y: TOP, width: side, height: side, fill: "none", stroke: ink.line };
    return [
      svgText(panel.title, { x: left + side / 2, y: TOP - 14 }, style),
      element("rect", box),
      ...pointsOf(panel.places, { left, side, labels, images }),
    ];
  });
  const legend = legendOf(classes, TOP + side + 28);
  const below = svgCaption(caption, { x: MARGIN, y: legend.bottom + 22 });
  return svgFile(WIDTH, below.bottom, [
    svgText(title, { x: MARGIN, y: 40 }, { size: 19, color: ink.text, weight: "bold" }),
    ...drawn,
    ...legend.content,
    ...below.lines,
  ]);
}

interface PointsOptions extends Pick<MapOptions, "labels" | "images"> {
  readonly left: number;
  readonly side: number;
}

function pointsOf(places: Places, { left, side, labels, images }: PointsOptions): readonly string[] {
  const inset = THUMBNAIL / 2 + 4;
  const along = [0, 1].map((axis) => {
    const values = places.filter((_, i) => i % 2 === axis);
    const [low, high] = values.reduce(
      ([a, b], value) => [Math.min(a, value), Math.max(b, value)],
      [Infinity, -Infinity],
    );
    const span = high - low || 1;
    return (row: number) => inset + ((side - 2 * inset) * (places[2 * row + axis]! - low)) / span;
  });
  const points = images.map((image, row) => ({
    image,
    x: along[0]!(row),
    y: along[1]!(row),
    color: hex(categoryColor(labels[row]!)),
  }));
  const dots = points.map(({ x, y, color }) =>
    element("circle", { cx: left + x, cy: TOP + y, r: 3, fill: color, "fill-opacity": 0.8 }),
  );
  const cell = side / CELLS;
  const chosen = new Map<number, { readonly point: (typeof points)[number]; readonly distance: number }>();
  for (const point of points) {
    const [column, row] = [Math.floor(point.x / cell), Math.floor(point.y / cell)];
    const distance = Math.hypot(point.x - (column + 0.5) * cell, point.y - (row + 0.5) * cell);
    const key = row * CELLS + column;
    if (distance < (chosen.get(key)?.distance ?? cell / 2)) chosen.set(key, { point, distance });
  }
  const thumbnails = [...chosen.values()].flatMap(({ point: { image, x, y, color } }) => {
    const at = { x: left + x - THUMBNAIL / 2, y: TOP + y - THUMBNAIL / 2 };
    const frame = { ...at, width: THUMBNAIL, height: THUMBNAIL, fill: "none", stroke: color, "stroke-width": 2.5 };
    return [square(image, { ...at, side: THUMBNAIL }), element("rect", frame)];
  });
  return [...dots, ...thumbnails];
}

/** Draws the legend of the class colours, in rows from the left. */
function legendOf(
  classes: readonly string[],
  top: number,
): { readonly content: readonly string[]; readonly bottom: number } {
  const names =
    classes.length > MOST_NAMES
      ? [...classes.slice(0, MOST_NAMES), `and ${classes.length - MOST_NAMES} more`]
      : classes;
  const widest = Math.max(...names.map(({ length }) => length));
  const width = Math.max(64, 34 + 8 * widest);
  const perLine = Math.max(1, Math.floor((WIDTH - 2 * MARGIN) / width));
  const content = names.flatMap((name, i) => {
    const [x, y] = [MARGIN + (i % perLine) * width, top + 22 * Math.floor(i / perLine)];
    const dot = element("circle", { cx: x + 7, cy: y - 4.5, r: 6, fill: hex(categoryColor(i)) });
    return [...(i < MOST_NAMES ? [dot] : []), svgText(name, { x: x + 20, y }, { size: 13, color: ink.text })];
  });
  return { content, bottom: top + 22 * Math.floor((names.length - 1) / perLine) };
}
