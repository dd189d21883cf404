/** Detection of a data bottleneck. */

/** An interval between two lines of the log. */
export interface DataInterval {
  readonly steps: number;
  readonly startMs: number;
  /** Time of it spent waiting for batches. */
  readonly waitedMs: number;
}

/** Share of waiting time above which a warning is due. */
const LARGE = 0.25;

/**
 * Returns a function that takes the log intervals of a run and returns a warning once, never for the first interval, in
 * which the workers start. `inFiles`: shards are read in random order, which is slow on slow disks.
 */
export function dataWatch(inFiles: boolean): (interval: DataInterval, nowMs?: number) => string | undefined {
  let intervals = 0;
  let hasWarned = false;
  return ({ steps, startMs, waitedMs }, nowMs = performance.now()) => {
    const share = waitedMs / (nowMs - startMs);
    if (intervals++ === 0 || hasWarned || !(share > LARGE)) return undefined;
    hasWarned = true;
    const buffer = inFiles ? ", on a slow disk --shuffle-buffer 10000" : "";
    return (
      `${Math.round(100 * share)} % of the last ${steps} steps went by in waiting for images: more --threads, ` +
      `--short-side for large images, --crops-on gpu${buffer} may help`
    );
  };
}
