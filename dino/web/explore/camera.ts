/** The part of the map that is seen: its middle, and the pixels of a unit of the map. */
import type { Square } from "../../explorer/picture-levels.js";

export interface Camera {
  readonly x: number;
  readonly y: number;
  /** CSS pixels of a unit of the map. */
  readonly scale: number;
}

/** Size of the canvas in CSS pixels. */
export interface Extent {
  readonly width: number;
  readonly height: number;
}

const MARGIN = 28;
const MOST_ZOOM = 4000;

/** Shows the whole map. */
export function wholeMap({ left, top, side }: Square, { width, height }: Extent): Camera {
  const room = Math.max(40, Math.min(width, height) - 2 * MARGIN);
  return { x: left + side / 2, y: top + side / 2, scale: room / side };
}

/** Moves the map by pixels. */
export function moved(camera: Camera, dx: number, dy: number): Camera {
  return { ...camera, x: camera.x - dx / camera.scale, y: camera.y - dy / camera.scale };
}

/** Zooms by a factor about a point of the canvas, between the whole map and `MOST_ZOOM` times it. */
export function zoomed(
  camera: Camera,
  factor: number,
  { at, extent, square }: { readonly at: readonly [number, number]; readonly extent: Extent; readonly square: Square },
): Camera {
  const whole = wholeMap(square, extent).scale;
  const scale = Math.min(MOST_ZOOM * whole, Math.max(0.5 * whole, camera.scale * factor));
  const [x, y] = toMap(camera, extent, at);
  return { x: x + (camera.x - x) * (camera.scale / scale), y: y + (camera.y - y) * (camera.scale / scale), scale };
}

export function toMap(
  { x, y, scale }: Camera,
  { width, height }: Extent,
  at: readonly [number, number],
): [number, number] {
  return [x + (at[0] - width / 2) / scale, y + (at[1] - height / 2) / scale];
}

export function toCanvas({ x, y, scale }: Camera, { width, height }: Extent, px: number, py: number): [number, number] {
  return [(px - x) * scale + width / 2, (py - y) * scale + height / 2];
}

/** Whether a point lies in a polygon, by the even-odd rule. */
export function isInside(polygon: readonly (readonly [number, number])[], x: number, y: number): boolean {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i]!;
    const [xj, yj] = polygon[j]!;
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}
