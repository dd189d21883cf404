/** Whitening: a linear map after which features of other images have equal variance in all directions. */
import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import { dotProducts, type FeatureRows } from "../math/feature-rows.js";
import { covarianceOf, meanRow } from "../math/principal-components.js";

export interface Whitening {
  /** [dim] */
  readonly mean: Float64Array;
  /** Directions divided by the standard deviation along them, by descending variance: [dim, dim]. */
  readonly directions: FeatureRows;
  /** Number of directions with a variance below the floor, which are scaled as if it were the floor. */
  readonly raised: number;
}

/**
 * Minimum variance of a direction relative to the largest; smaller variance is mostly noise, which scaling would
 * amplify.
 */
const FLOOR = 1e-5;

/**
 * Learns whitening in float64. PCA of the official utils.py with a power of 0.5, but of the covariance about the mean:
 * the official eval_copy_detection.py leaves the mean in the covariance, so that the direction of the mean counts as
 * variance. Throws for less than two rows, and if all rows are equal.
 */
export function learnWhitening({ values, rows, dim }: FeatureRows): Whitening {
  if (rows < 2) throw new Error(`whitening: expected at least 2 images to learn from, got ${rows}`);
  const mean = meanRow(values, rows, dim);
  const covariance = Matrix.from1DArray(dim, dim, covarianceOf(values, rows, dim, mean));
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(covariance, { assumeSymmetric: true });
  const variances = realEigenvalues.map((variance, column) => ({ variance, column }));
  variances.sort((a, b) => b.variance - a.variance);
  const largest = variances[0]!.variance;
  if (!(largest > 0)) throw new Error("whitening: expected images with different features, got the same for all");
  const floor = FLOOR * largest;
  const directions = new Float32Array(dim * dim);
  for (const [row, { variance, column }] of variances.entries()) {
    const scale = 1 / Math.sqrt(Math.max(variance, floor));
    for (let c = 0; c < dim; c++) directions[row * dim + c] = scale * eigenvectorMatrix.get(c, column);
  }
  return {
    mean,
    directions: { values: directions, rows: dim, dim },
    raised: variances.filter(({ variance }) => variance < floor).length,
  };
}

/** Whitens features: [rows, dim] -> [rows, dim]. */
export function whiten({ values, rows, dim }: FeatureRows, { mean, directions }: Whitening): FeatureRows {
  const centered = values.map((value, i) => value - mean[i % dim]!);
  return { values: dotProducts({ values: centered, rows, dim }, directions), rows, dim };
}
