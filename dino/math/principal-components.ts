import { rng } from "./random.js";

export interface PrincipalComponentsOptions {
  /** Row-major [rows, dim]. */
  readonly values: Float32Array;
  readonly rows: number;
  readonly dim: number;
  /** Number of components; at most dim are found. */
  readonly count: number;
}

/** An orthonormal basis to project rows onto. */
export interface Basis {
  /** Number of components found: the smaller of the requested number and dim. */
  readonly count: number;
  /** The average row, [dim]. */
  readonly mean: Float64Array;
  /** Unit vectors [count, dim] by decreasing variance; the largest entry of each is positive. */
  readonly directions: Float64Array;
}

export interface PrincipalComponents extends Basis {
  /** Share of the total variance per component, 0 to 1, [count]. */
  readonly shares: Float64Array;
  /** Centered rows in this basis: [rows, count]. */
  readonly projected: Float64Array;
}

/** Extra directions that are iterated along; they speed up convergence. */
const EXTRA = 4;
const MOST_ITERATIONS = 1000;

/**
 * Computes the directions of largest variance, by subspace iteration on the covariance in float64. Equal input gives
 * equal output. Throws unless there are rows and all values are finite.
 */
export function principalComponents(options: PrincipalComponentsOptions): PrincipalComponents {
  const { values, rows, dim } = options;
  if (rows < 1 || dim < 1 || values.length !== rows * dim) {
    throw new Error(`principalComponents: expected [${rows}, ${dim}] with rows, got ${values.length} values`);
  }
  const count = Math.min(options.count, dim);
  const mean = meanRow(values, rows, dim);
  const covariance = covarianceOf(values, rows, dim, mean);
  let whole = 0;
  for (let i = 0; i < dim; i++) whole += covariance[i * dim + i]!;
  if (!Number.isFinite(whole)) throw new Error("principalComponents: the features hold NaN or infinity");

  const { vectors, variances } = largestEigenvectors(covariance, dim, Math.min(count + EXTRA, dim), count, whole);
  const directions = vectors.slice(0, count * dim);
  for (let d = 0; d < count; d++) makeLargestPositive(directions.subarray(d * dim, (d + 1) * dim));

  const projected = project({ count, mean, directions }, values);
  const shares = variances.slice(0, count).map((variance) => (whole > 0 ? Math.max(0, variance) / whole : 0));
  return { count, mean, directions, shares, projected };
}

/** Projects centered rows onto a basis: [rows, dim] -> [rows, count]. */
export function project({ count, mean, directions }: Basis, values: Float32Array): Float64Array {
  const dim = mean.length;
  const rows = values.length / dim;
  const projected = new Float64Array(rows * count);
  for (let r = 0; r < rows; r++) {
    for (let d = 0; d < count; d++) {
      let sum = 0;
      for (let c = 0; c < dim; c++) sum += (values[r * dim + c]! - mean[c]!) * directions[d * dim + c]!;
      projected[r * count + d] = sum;
    }
  }
  return projected;
}

/** Computes the mean row: [rows, dim] -> [dim]. */
export function meanRow(values: Float32Array, rows: number, dim: number): Float64Array {
  const mean = new Float64Array(dim);
  for (let r = 0; r < rows; r++) for (let c = 0; c < dim; c++) mean[c]! += values[r * dim + c]! / rows;
  return mean;
}

/** Computes the covariance of columns, divided by rows (not rows - 1): [rows, dim], their mean [dim] -> [dim, dim]. */
export function covarianceOf(values: Float32Array, rows: number, dim: number, mean: Float64Array): Float64Array {
  const covariance = new Float64Array(dim * dim);
  const centered = new Float64Array(dim);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < dim; c++) centered[c] = values[r * dim + c]! - mean[c]!;
    for (let i = 0; i < dim; i++) {
      const x = centered[i]! / rows;
      for (let j = i; j < dim; j++) covariance[i * dim + j]! += x * centered[j]!;
    }
  }
  for (let i = 0; i < dim; i++) for (let j = 0; j < i; j++) covariance[i * dim + j] = covariance[j * dim + i]!;
  return covariance;
}

/**
 * Computes the `size` largest eigenvectors [size, dim], of which `count` are converged, by subspace iteration with
 * Rayleigh-Ritz.
 */
function largestEigenvectors(
  matrix: Float64Array,
  dim: number,
  size: number,
  count: number,
  trace: number,
): { readonly vectors: Float64Array; readonly variances: Float64Array } {
  const random = rng({ seed: 0, purpose: "principal components" });
  let vectors = Float64Array.from({ length: size * dim }, () => random.normal());
  orthonormalize(vectors, size, dim);
  let variances = new Float64Array(size);
  // A small multiple of the identity separates directions without variance and changes no eigenvector.
  const shift = trace > 0 ? 1e-12 * trace : 1;
  for (let iteration = 0; iteration < MOST_ITERATIONS; iteration++) {
    const images = timesRows(matrix, vectors, size, dim, shift);
    const small = new Float64Array(size * size); // vectors . matrix . vectors, [size, size]
    for (let a = 0; a < size; a++) {
      for (let b = 0; b < size; b++) small[a * size + b] = dot(vectors, a * dim, images, b * dim, dim);
    }
    const { rotation, diagonal } = jacobi(small, size);
    const rotated = new Float64Array(size * dim);
    for (let a = 0; a < size; a++) {
      for (let b = 0; b < size; b++) {
        const weight = rotation[a * size + b]!;
        for (let c = 0; c < dim; c++) rotated[a * dim + c]! += weight * images[b * dim + c]!;
      }
    }
    orthonormalize(rotated, size, dim);
    let change = 0;
    for (let d = 0; d < count; d++) {
      change = Math.max(change, 1 - Math.abs(dot(rotated, d * dim, vectors, d * dim, dim)));
    }
    vectors = rotated;
    variances = diagonal.map((value) => value - shift);
    if (change < 1e-14) break;
  }
  return { vectors, variances };
}

/** Multiplies each row of `vectors` [size, dim] by the symmetric matrix plus `shift` times the identity. */
function timesRows(
  matrix: Float64Array,
  vectors: Float64Array,
  size: number,
  dim: number,
  shift: number,
): Float64Array {
  const out = new Float64Array(size * dim);
  for (let a = 0; a < size; a++) {
    for (let i = 0; i < dim; i++) {
      out[a * dim + i] = dot(vectors, a * dim, matrix, i * dim, dim) + shift * vectors[a * dim + i]!;
    }
  }
  return out;
}

/** Orthonormalizes the rows by Gram-Schmidt, twice for accuracy. */
function orthonormalize(vectors: Float64Array, size: number, dim: number): void {
  for (let a = 0; a < size; a++) {
    for (let pass = 0; pass < 2; pass++) {
      for (let b = 0; b < a; b++) {
        const overlap = dot(vectors, a * dim, vectors, b * dim, dim);
        for (let c = 0; c < dim; c++) vectors[a * dim + c]! -= overlap * vectors[b * dim + c]!;
      }
      const length = Math.sqrt(dot(vectors, a * dim, vectors, a * dim, dim));
      for (let c = 0; c < dim; c++) vectors[a * dim + c]! /= length;
    }
  }
}

/**
 * Computes the eigenvectors of a small symmetric matrix by Jacobi rotations: rows of `rotation`, by decreasing
 * `diagonal`.
 */
function jacobi(
  matrix: Float64Array,
  n: number,
): { readonly rotation: Float64Array; readonly diagonal: Float64Array<ArrayBuffer> } {
  const a = matrix.slice();
  const v = new Float64Array(n * n);
  for (let i = 0; i < n; i++) v[i * n + i] = 1;
  for (let sweep = 0; sweep < 30; sweep++) {
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const off = a[p * n + q]!;
        if (Math.abs(off) <= 1e-300) continue;
        const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * off);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const cos = 1 / Math.sqrt(t * t + 1);
        const sin = t * cos;
        for (let k = 0; k < n; k++) rotate(a, k * n + p, k * n + q, cos, sin);
        for (let k = 0; k < n; k++) rotate(a, p * n + k, q * n + k, cos, sin);
        for (let k = 0; k < n; k++) rotate(v, p * n + k, q * n + k, cos, sin);
      }
    }
  }
  const falling = Array.from({ length: n }, (_, i) => i).sort((x, y) => a[y * n + y]! - a[x * n + x]! || x - y);
  const rotation = new Float64Array(n * n);
  for (const [i, from] of falling.entries()) rotation.set(v.subarray(from * n, (from + 1) * n), i * n);
  return { rotation, diagonal: Float64Array.from(falling, (i) => a[i * n + i]!) };
}

function rotate(values: Float64Array, p: number, q: number, cos: number, sin: number): void {
  const [x, y] = [values[p]!, values[q]!];
  values[p] = cos * x - sin * y;
  values[q] = sin * x + cos * y;
}

function dot(a: Float64Array, aFrom: number, b: Float64Array, bFrom: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[aFrom + i]! * b[bFrom + i]!;
  return sum;
}

function makeLargestPositive(direction: Float64Array): void {
  let largest = 0;
  for (const entry of direction) if (Math.abs(entry) > Math.abs(largest) + 1e-9) largest = entry;
  if (largest < 0) for (let c = 0; c < direction.length; c++) direction[c] = -direction[c]!;
}
