/** Draws the map by WebGL2: a disc for each image, and thumbnails of those that have room. */
import { FIRST_CELLS, type PictureLevels, squareOf } from "../../explorer/picture-levels.js";
import { type Camera, type Extent, toCanvas } from "./camera.js";
import type { Rgb } from "./colors.js";
import { attribute, DISCS, instanced, PICTURES, programOf } from "./gl.js";
import { openSlots } from "./texture-slots.js";
import type { ThumbnailStore } from "./thumbnail-store.js";

/** What is drawn. */
export interface Scene {
  readonly camera: Camera;
  readonly extent: Extent;
  readonly pixelRatio: number;
}

/** A thumbnail on the canvas, in CSS pixels. */
export interface DrawnThumbnail {
  readonly row: number;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface Renderer extends Disposable {
  readonly draw: (scene: Scene) => void;
  /** Sets the colour of each row, and dims those that are not in `lit`. */
  readonly setColors: (colorOf: (row: number) => Rgb, isLit: (row: number) => boolean) => void;
  /** The thumbnails of the last drawing, the topmost last. */
  readonly thumbnails: () => readonly DrawnThumbnail[];
}

/** Pixels of a cell of the map from which on its image is shown. */
const CELL = 76;
const FRAME = 2.5;

/** Opens a renderer on a canvas. Throws if the browser has no WebGL2. */
export function openRenderer(
  canvas: HTMLCanvasElement,
  options: {
    readonly places: Float32Array;
    readonly levels: PictureLevels;
    readonly store: ThumbnailStore;
    /** Called when a thumbnail is ready to be drawn. */
    readonly onReady: () => void;
  },
): Renderer {
  const { places, levels, store, onReady } = options;
  const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true, preserveDrawingBuffer: true });
  if (gl === null) throw new Error("This browser offers no WebGL2; another browser or a newer driver does");
  const rows = places.length / 2;
  const square = squareOf(places);
  const colors = new Uint8Array(4 * rows).fill(255);
  const discs = openDiscs(gl, { places, colors, side: square.side });
  const pictures = openPictures(gl, { colors, store, onReady });
  let drawn: readonly DrawnThumbnail[] = [];
  return {
    draw(scene) {
      const { extent, pixelRatio } = scene;
      const [width, height] = [Math.round(extent.width * pixelRatio), Math.round(extent.height * pixelRatio)];
      if (canvas.width !== width) canvas.width = width;
      if (canvas.height !== height) canvas.height = height;
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      discs.draw(scene);
      drawn = pictures.draw(scene, inSight(scene, { places, levels, square }));
    },
    setColors(colorOf, isLit) {
      for (let row = 0; row < rows; row++) {
        colors.set(colorOf(row), 4 * row);
        colors[4 * row + 3] = isLit(row) ? 255 : 28;
      }
      discs.updateColors();
    },
    thumbnails: () => drawn,
    [Symbol.dispose]: () => gl.getExtension("WEBGL_lose_context")?.loseContext(),
  };
}

interface DiscOptions {
  readonly places: Float32Array;
  /** Red, green, blue and opacity of each row, [rows, 4]; shared, and read by `updateColors`. */
  readonly colors: Uint8Array;
  /** Side of the map. */
  readonly side: number;
}

function openDiscs(gl: WebGL2RenderingContext, { places, colors, side }: DiscOptions) {
  const rows = places.length / 2;
  const { program, uniform } = programOf(gl, DISCS);
  const arrays = gl.createVertexArray();
  gl.bindVertexArray(arrays);
  attribute(gl, { location: 0, values: places, size: 2 });
  const colorBuffer = attribute(gl, { location: 1, values: colors, size: 4 });
  return {
    draw: ({ camera, extent: { width, height }, pixelRatio }: Scene): void => {
      const nearness = camera.scale / (Math.min(width, height) / side);
      const crowd = Math.sqrt((width * height) / rows);
      const size = Math.min(16, Math.max(2.5, crowd * 0.28) * Math.max(1, nearness) ** 0.4);
      gl.useProgram(program);
      gl.bindVertexArray(arrays);
      gl.uniform4f(uniform("view"), camera.x, camera.y, width / 2 / camera.scale, height / 2 / camera.scale);
      gl.uniform1f(uniform("size"), size * pixelRatio);
      gl.drawArrays(gl.POINTS, 0, rows);
    },
    updateColors: (): void => {
      gl.bindBuffer(gl.ARRAY_BUFFER, colorBuffer);
      gl.bufferSubData(gl.ARRAY_BUFFER, 0, colors);
    },
  };
}

interface PictureOptions {
  readonly colors: Uint8Array;
  readonly store: ThumbnailStore;
  readonly onReady: () => void;
}

function openPictures(gl: WebGL2RenderingContext, { colors, store, onReady }: PictureOptions) {
  const { program, uniform } = programOf(gl, PICTURES);
  const arrays = gl.createVertexArray();
  gl.bindVertexArray(arrays);
  attribute(gl, { location: 0, values: Float32Array.of(0, 0, 1, 0, 0, 1, 1, 1), size: 2 });
  const slots = openSlots(gl, { thumbnail: store.peek, onReady });
  const boxes = new Float32Array(slots.most * 8);
  const boxBuffer = instanced(gl, boxes);
  const shades = new Uint8Array(slots.most * 4);
  const shadeBuffer = attribute(gl, { location: 3, values: shades, size: 4, divisor: 1 });
  /** Draws the thumbnails that are here, and returns them. */
  const draw = (
    { extent, pixelRatio }: Scene,
    wanted: Iterable<{ readonly row: number; readonly x: number; readonly y: number; readonly side: number }>,
  ): readonly DrawnThumbnail[] => {
    const drawn: DrawnThumbnail[] = [];
    slots.begin();
    for (const { row, x, y, side } of wanted) {
      const slot = slots.slotOf(row);
      if (slot === undefined || drawn.length === slots.most) continue;
      const scale = side / Math.max(slot.width, slot.height);
      const [width, height] = [slot.width * scale, slot.height * scale];
      const box = { row, x: x - width / 2, y: y - height / 2, width, height };
      const pixels = [box.x, box.y, width, height].map((length) => length * pixelRatio);
      boxes.set(pixels, 8 * drawn.length);
      boxes.set(slot.source, 8 * drawn.length + 4);
      shades.set(colors.subarray(4 * row, 4 * row + 4), 4 * drawn.length);
      drawn.push(box);
    }
    gl.useProgram(program);
    gl.bindVertexArray(arrays);
    gl.bindBuffer(gl.ARRAY_BUFFER, boxBuffer);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, boxes, 0, 8 * drawn.length);
    gl.bindBuffer(gl.ARRAY_BUFFER, shadeBuffer);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, shades, 0, 4 * drawn.length);
    gl.uniform2f(uniform("canvas"), extent.width * pixelRatio, extent.height * pixelRatio);
    gl.uniform1f(uniform("frame"), FRAME * pixelRatio);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, drawn.length);
    return drawn;
  };
  return { draw };
}

interface MapShape {
  readonly places: Float32Array;
  readonly levels: PictureLevels;
  readonly square: { readonly side: number };
}

/** Yields the images that have a thumbnail at this zoom and lie on the canvas, with the side of it. */
function* inSight({ camera, extent }: Scene, { places, levels: { levels, order }, square }: MapShape) {
  const { width, height } = extent;
  const first = (camera.scale * square.side) / FIRST_CELLS; // pixels of a cell of level 0
  const level = Math.max(0, Math.floor(Math.log2(first / CELL)));
  const side = Math.min(112, 0.6 * (first / 2 ** level));
  for (const row of order) {
    if (levels[row]! > level) return;
    const [x, y] = toCanvas(camera, extent, places[2 * row]!, places[2 * row + 1]!);
    if (x > -side && y > -side && x < width + side && y < height + side) yield { row, x, y, side };
  }
}
