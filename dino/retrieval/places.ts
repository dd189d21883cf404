/** Places of images on a map, with similar images close together. */
import type { Device } from "../../engine/index.js";
import { similaritiesOn } from "../evaluation/device-similarities.js";
import { type FeatureRows, normalizeRows, selectRows } from "../math/feature-rows.js";
import type { FindNearest, NeighborRows } from "../math/nearest-rows.js";
import { principalComponents, project } from "../math/principal-components.js";
import { type NeighborTable, umap } from "../math/umap.js";
import { approximateNeighbors } from "./approximate-neighbors.js";
import { distanceOf, neighborsOf } from "./neighbors.js";

type OnProgress = (done: number, total: number) => void;

/** Neighbours of each image that the map keeps close, the default of UMAP. */
const NEIGHBORS = 15;
const MIN_ROWS = 4;
/** Maximum number of rows that the principal components are computed from; more change them little. */
const MOST_FITTED = 5000;

export interface PlacesOptions {
  readonly seed: number;
  /** Finds rows of the features, of length one; default: `nearestIn`. */
  readonly nearest?: FindNearest;
  readonly onProgress?: OnProgress;
}

/**
 * Places features in a plane: [rows, dim] -> [rows, 2], the same for the same features and seed. Throws for fewer than four
 * rows.
 */
export async function placeFeatures(features: FeatureRows, { seed, ...options }: PlacesOptions): Promise<Float64Array> {
  const unit = normalizeRows({ ...features, values: features.values.slice() });
  return placeNeighbors(unit, await neighborTable(unit, options), { seed });
}

/** Places rows of length one by their neighbours, starting from their first two principal components. */
export async function placeNeighbors(
  features: FeatureRows,
  table: NeighborTable,
  { seed, onProgress }: Pick<PlacesOptions, "seed" | "onProgress">,
): Promise<Float64Array> {
  const places = await umap({ table, start: flatStart(features), seed, ...(onProgress && { onProgress }) });
  for (const axis of [0, 1]) shortenGaps(places, axis);
  return places;
}

/** The maximum of an empty strip of the map, as a share of what is not empty. */
const MOST_EMPTY = 0.04;
/** Strips wider than this are empty, as a share of the map. */
const EMPTY = 0.01;

/**
 * Shortens the empty strips along an axis. UMAP drives groups that are not connected ever further apart, which says nothing about
 * the images and leaves little room for them.
 */
function shortenGaps(places: Float64Array, axis: number): void {
  const order = Int32Array.from({ length: places.length / 2 }, (_, row) => row);
  const along = Float64Array.from(order, (row) => places[2 * row + axis]!);
  order.sort((a, b) => along[a]! - along[b]! || a - b);
  const whole = along[order.at(-1)!]! - along[order[0]!]!;
  const gaps = Float64Array.from(order, (row, i) => (i === 0 ? 0 : along[row]! - along[order[i - 1]!]!));
  const filled = gaps.reduce((sum, gap) => sum + (gap > EMPTY * whole ? 0 : gap), 0);
  let at = along[order[0]!]!;
  for (const [i, row] of order.entries()) {
    at += gaps[i]! > EMPTY * whole ? Math.min(gaps[i]!, MOST_EMPTY * filled) : gaps[i]!;
    places[2 * row + axis] = at;
  }
}

function flatStart(features: FeatureRows): Float64Array {
  const { rows, dim, values } = features;
  const count = Math.min(rows, MOST_FITTED);
  const sample = selectRows(
    features,
    Int32Array.from({ length: count }, (_, i) => Math.floor((i * rows) / count)),
  );
  const basis = principalComponents({ ...sample, count: 2 });
  const projected = project(basis, values);
  return dim > 1 ? projected : Float64Array.from({ length: 2 * rows }, (_, i) => (i % 2 === 0 ? projected[i / 2]! : 0));
}

/**
 * Finds the 15 rows nearest to each row of length one, exactly; all others where there are fewer. Distances are Euclidean.
 * Throws for fewer than four rows.
 */
export async function neighborTable(
  features: FeatureRows,
  { nearest: find, onProgress }: Pick<PlacesOptions, "nearest" | "onProgress"> = {},
): Promise<NeighborTable> {
  const { rows } = features;
  if (rows < MIN_ROWS) throw new Error(`map: expected at least ${MIN_ROWS} images, got ${rows}`);
  return tableOf(await neighborsOf({ features, k: NEIGHBORS, nearest: find, onProgress }), rows);
}

function tableOf({ k, rows: neighbors, similarities }: NeighborRows, rows: number): NeighborTable {
  return { rows, count: k, neighbors, distances: Float32Array.from(similarities, distanceOf) };
}

/** Products of numbers that a CPU computes within about a minute; the exact neighbours take rows x rows x dim. */
const MOST_PRODUCTS = 3.5e11;

/** Options of `mapNeighbors`. */
export interface MapNeighborsOptions {
  readonly device: Device;
  /** Rows of length one. */
  readonly features: FeatureRows;
  readonly seed: number;
  readonly onProgress?: OnProgress | undefined;
  /** Called with a line that says how many neighbours were missed, if any may be. */
  readonly log?: ((line: string) => void) | undefined;
}

/** Finds the neighbours that a map needs: exactly on a GPU and for small sets, approximately for others. */
export async function mapNeighbors(options: MapNeighborsOptions): Promise<NeighborTable> {
  const { device, features, onProgress, log } = options;
  const { rows, dim } = features;
  if (device.kernels === "gpu" || rows ** 2 * dim <= MOST_PRODUCTS) {
    using onDevice = similaritiesOn(device, features);
    return await neighborTable(features, { nearest: onDevice.nearest, ...(onProgress && { onProgress }) });
  }
  const found = await approximateNeighbors({ ...options, k: NEIGHBORS });
  log?.(
    `map: found ${(100 * found.recall).toFixed(1)} % of the nearest images; a GPU compares all images and finds all`,
  );
  return tableOf(found, rows);
}
