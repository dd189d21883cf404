/** The built-in images: sheets of many small shapes, a pure function of their index. */
import { type Rng, rng } from "../math/random.js";
import { type ImageSet, memoryImages } from "./image-set.js";
import type { Image } from "./pixels.js";

/** The value of `--data` that selects the built-in images. */
export const BUILTIN = "builtin";

/** Whether `data` names the built-in images. */
export function isBuiltin(data: string): boolean {
  return data === BUILTIN;
}

const TRAIN = 2000;
const HELD_OUT = 500;

/** Side of a sheet in pixels. */
const SIDE = 64;
/**
 * Distance between neighboring shapes in pixels, before each is displaced by a random share of it, up to JITTER in each
 * direction.
 */
const CELL = 10.5;
const JITTER = 0.35;
/** Range of the size of a shape in pixels. */
const SIZE = [7, 11.5] as const;
/** Largest rotation of a shape in either direction, in degrees. */
const TURN = 20;

/** Signed distance from a shape's outline, negative inside: coordinates from -1 to 1, x to the right, y down. */
type Outline = (x: number, y: number) => number;

const { abs, max, min, sqrt } = Math;
const length = (x: number, y: number): number => sqrt(x * x + y * y);
const box = (x: number, y: number, halfWidth: number, halfHeight: number): number =>
  max(abs(x) - halfWidth, abs(y) - halfHeight);

/** The classes and their shapes. */
const OUTLINES = {
  bar: (x, y) => box(x, y, 0.95, 0.25),
  chevron: (x, y) => max(abs(abs(x) - y / 2 - 0.45) - 0.26, abs(y) - 0.75),
  disc: (x, y) => length(x, y) - 0.75,
  frame: (x, y) => abs(box(x, y, 0.6, 0.6)) - 0.16,
  moon: (x, y) => max(length(x, y) - 0.85, 0.68 - length(x - 0.42, y)),
  plus: (x, y) => min(box(x, y, 0.9, 0.22), box(x, y, 0.22, 0.9)),
  ring: (x, y) => abs(length(x, y) - 0.66) - 0.17,
  square: (x, y) => box(x, y, 0.68, 0.68),
  star,
  triangle: (x, y) => max(y - 0.5, (sqrt(3) / 2) * abs(x) - y / 2 - 0.5),
} as const satisfies Record<string, Outline>;

const CLASSES = Object.keys(OUTLINES) as (keyof typeof OUTLINES)[];

/** A star of five points, the first upwards: folds the plane onto one half of one point and measures from its edge. */
function star(x: number, y: number): number {
  const [cos36, sin36] = [0.8090169943749475, 0.5877852522924731];
  let [u, v] = [abs(x), -y];
  const fold = (nx: number, ny: number) => {
    const over = 2 * max(nx * u + ny * v, 0);
    u -= over * nx;
    v -= over * ny;
  };
  fold(cos36, -sin36);
  fold(-cos36, -sin36);
  u = abs(u);
  v -= 1;
  const inner = 0.42;
  const [edgeX, edgeY] = [inner * sin36, inner * cos36 - 1];
  const along = min(max((u * edgeX + v * edgeY) / (edgeX * edgeX + edgeY * edgeY), 0), 1);
  return length(u - edgeX * along, v - edgeY * along) * Math.sign(v * edgeX - u * edgeY);
}

/** Scale factors that give all shapes the same area, so that brightness does not reveal the class. */
const ENLARGEMENTS = CLASSES.map((name) => {
  const steps = 64;
  let inside = 0;
  for (let row = 0; row < steps; row++) {
    for (let col = 0; col < steps; col++) {
      if (OUTLINES[name]((2 * col + 1) / steps - 1, (2 * row + 1) / steps - 1) < 0) inside++;
    }
  }
  return sqrt(0.35 / (inside / steps ** 2));
});

/** The built-in images: training and held-out split. */
export interface BuiltinImages {
  readonly train: ImageSet;
  readonly test: ImageSet;
}

/**
 * Draws the 2,500 sheets of 64 x 64 pixels, 2,000 for training and 500 held out, always the same. A sheet shows about
 * forty shapes of one of ten classes on black, each at a random position, rotation, size and color. Two crops of a
 * sheet share its class and hardly anything else, and two sheets of a class share no pixels: comparing pixels fails,
 * comparing features that DINO makes invariant works.
 */
export function builtinImages(): BuiltinImages {
  return { train: sheets(0, TRAIN), test: heldOutBuiltin() };
}

/** Draws the held-out split only, in a fifth of the time. */
export function heldOutBuiltin(): ImageSet {
  return sheets(TRAIN, HELD_OUT);
}

function sheets(first: number, count: number): ImageSet {
  const numbers = Array.from({ length: count }, (_, i) => first + i);
  return memoryImages({
    images: numbers.map(drawSheet),
    labels: numbers.map(classOf),
    names: numbers.map((number) => `${CLASSES[classOf(number)]!} ${number}`),
    classes: CLASSES,
  });
}

function classOf(number: number): number {
  return number % CLASSES.length;
}

function drawSheet(number: number): Image {
  const random = rng({ seed: 0, index: number, purpose: "built-in sheet" });
  const pixels = new Uint8Array(SIDE * SIDE * 3);
  const [left, top] = [-CELL * random.uniform(), -CELL * random.uniform()];
  for (let y = top + CELL / 2; y < SIDE + CELL; y += CELL) {
    for (let x = left + CELL / 2; x < SIDE + CELL; x += CELL) {
      drawShape(pixels, classOf(number), { x: x + jitter(random), y: y + jitter(random) }, random);
    }
  }
  return { rows: SIDE, cols: SIDE, pixels };
}

function jitter(random: Rng): number {
  return random.uniformIn(-JITTER, JITTER) * CELL;
}

/** Draws one antialiased shape around `center` with random size, rotation and color. */
function drawShape(
  pixels: Uint8Array,
  label: number,
  center: { readonly x: number; readonly y: number },
  random: Rng,
): void {
  const radius = (random.uniformIn(...SIZE) / 2) * ENLARGEMENTS[label]!;
  const turn = (random.uniformIn(-TURN, TURN) * Math.PI) / 180;
  const [cos, sin] = [Math.cos(turn) / radius, Math.sin(turn) / radius];
  const color = randomColor(random);
  const outline = OUTLINES[CLASSES[label]!];
  const reach = 1.1 * radius + 1;
  const from = (at: number) => max(0, Math.floor(at - reach));
  const to = (at: number) => min(SIDE, Math.ceil(at + reach));
  for (let row = from(center.y); row < to(center.y); row++) {
    for (let col = from(center.x); col < to(center.x); col++) {
      const [dx, dy] = [col + 0.5 - center.x, row + 0.5 - center.y];
      const covered = min(max(0.5 - radius * outline(cos * dx + sin * dy, cos * dy - sin * dx), 0), 1);
      if (covered === 0) continue;
      const at = (row * SIDE + col) * 3;
      for (let channel = 0; channel < 3; channel++) {
        pixels[at + channel] = Math.round(pixels[at + channel]! * (1 - covered) + color[channel]! * covered);
      }
    }
  }
}

/** Draws a color of any hue, from pale to saturated and from dim to bright: [red, green, blue] from 0 to 255. */
function randomColor(random: Rng): readonly [number, number, number] {
  const hue = 6 * random.uniform();
  const saturation = random.uniformIn(0.3, 1);
  const value = 255 * random.uniformIn(0.3, 1);
  const channel = (shift: number): number => {
    const distance = abs(((hue + shift) % 6) - 3); // from the hue at which the channel is darkest
    return value * (1 - saturation * (1 - min(max(distance - 1, 0), 1)));
  };
  return [channel(0), channel(4), channel(2)];
}
