/** Finds rows on the canvas. */
import { type Camera, type Extent, isInside, toCanvas } from "./camera.js";
import type { Renderer } from "./renderer.js";

/** A point of the canvas in CSS pixels. */
export type Point = readonly [number, number];

/** How far from a disc one may point. */
const REACH = 14;

interface Place {
  readonly camera: Camera;
  readonly extent: Extent;
}

/** Returns the row of the thumbnail or disc at a point; undefined if nothing is near. */
export function rowAt(
  places: Float32Array,
  {
    camera,
    extent,
    renderer,
    at: [px, py],
    reach = REACH,
  }: Place & { readonly renderer: Renderer; readonly at: Point; readonly reach?: number },
): number | undefined {
  const over = renderer
    .thumbnails()
    .findLast(({ x, y, width, height }) => px >= x && px <= x + width && py >= y && py <= y + height);
  if (over) return over.row;
  let nearest: number | undefined;
  let best = reach ** 2;
  for (let row = 0; row < places.length / 2; row++) {
    const dx = (places[2 * row]! - camera.x) * camera.scale + extent.width / 2 - px;
    const dy = (places[2 * row + 1]! - camera.y) * camera.scale + extent.height / 2 - py;
    if (dx * dx + dy * dy >= best) continue;
    best = dx * dx + dy * dy;
    nearest = row;
  }
  return nearest;
}

/** Returns the rows within a polygon. */
export function rowsInside(
  places: Float32Array,
  { camera, extent, polygon }: Place & { readonly polygon: readonly Point[] },
): readonly number[] {
  const rows: number[] = [];
  for (let row = 0; row < places.length / 2; row++) {
    const [x, y] = toCanvas(camera, extent, places[2 * row]!, places[2 * row + 1]!);
    if (isInside(polygon, x, y)) rows.push(row);
  }
  return rows;
}
