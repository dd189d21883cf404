/** Says once that a training waits for its images, and what may help. */

/** Steps between two lines of the log. */
export interface DataInterval {
  readonly steps: number;
  readonly startMs: number;
  /** Of it, waiting for batches. */
  readonly waitedMs: number;
}

/** Share of the time from which on waiting is worth a word. */
const LARGE = 0.25;

/**
 * Takes the intervals of a run as they end and returns a warning once the first but one has passed: in the first the workers
 * start. `inFiles` says that large files are read in any order, which slow disks do badly.
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
      `${Math.round(100 * share)} % of the last ${steps} steps went by in waiting for images: more --threads, images ` +
      `stored no larger than training needs, --crops-on gpu${buffer} may help`
    );
  };
}
