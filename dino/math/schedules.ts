/** Schedules of hyperparameters in float64, as pure functions of the iteration or the epoch. */

/** Maps step `i`, from 0, to a value; throws for an `i` outside the run. */
export type Schedule = (i: number) => number;

export interface CosineOptions {
  /** Value at the end of the warm-up, where the cosine starts. */
  readonly base: number;
  /** Value that the cosine would reach one iteration after the last. */
  readonly final: number;
  readonly epochs: number;
  readonly iterationsPerEpoch: number;
  /** Epochs of linear warm-up, counted in `epochs`; 0 if left out. */
  readonly warmupEpochs?: number;
  /** Value at the start of the warm-up; 0 if left out. */
  readonly warmupStart?: number;
}

/**
 * Returns a schedule of linear warm-up followed by half a cosine, per iteration. The warm-up includes its end point, so
 * `base` occurs twice. Throws for a warm-up longer than the run. Source: `cosine_scheduler` of
 * https://github.com/facebookresearch/dino/blob/main/utils.py
 */
export function cosineSchedule(options: CosineOptions): Schedule {
  const { base, final, epochs, iterationsPerEpoch, warmupEpochs = 0, warmupStart = 0 } = options;
  whole("epochs", epochs);
  whole("iterationsPerEpoch", iterationsPerEpoch);
  whole("warmupEpochs", warmupEpochs);
  checkWarmup(warmupEpochs, epochs);
  const warmup = warmupEpochs * iterationsPerEpoch;
  const iterations = epochs * iterationsPerEpoch - warmup;
  return within(warmup + iterations, (i) =>
    i < warmup
      ? linspace(warmupStart, base, warmup, i)
      : final + 0.5 * (base - final) * (1 + Math.cos((Math.PI * (i - warmup)) / iterations)),
  );
}

export interface TeacherTemperatureOptions {
  /** Temperature of epoch 0. */
  readonly warmupTemperature: number;
  /** Temperature from the last epoch of the warm-up on. */
  readonly temperature: number;
  /** Epochs of linear warm-up, counted in `epochs`. */
  readonly warmupEpochs: number;
  readonly epochs: number;
}

/**
 * Returns a schedule of linear warm-up followed by a constant, per epoch. Throws for a warm-up longer than the run.
 * Source: `teacher_temp_schedule` of https://github.com/facebookresearch/dino/blob/main/main_dino.py
 */
export function teacherTemperatureSchedule(options: TeacherTemperatureOptions): Schedule {
  const { warmupTemperature, temperature, warmupEpochs, epochs } = options;
  whole("epochs", epochs);
  whole("warmupEpochs", warmupEpochs);
  checkWarmup(warmupEpochs, epochs);
  return within(epochs, (epoch) =>
    epoch < warmupEpochs ? linspace(warmupTemperature, temperature, warmupEpochs, epoch) : temperature,
  );
}

/** Returns number `i` of `count` evenly spaced from `start` to `stop`, both included, rounded like numpy.linspace. */
function linspace(start: number, stop: number, count: number, i: number): number {
  if (count === 1) return start;
  if (i === count - 1) return stop;
  const step = (stop - start) / (count - 1);
  return start + (step === 0 ? (i / (count - 1)) * (stop - start) : i * step);
}

function within(length: number, value: Schedule): Schedule {
  return (i) => {
    if (!Number.isInteger(i) || i < 0 || i >= length) {
      throw new Error(`schedule: expected a whole number from 0 to ${length - 1}, got ${i}`);
    }
    return value(i);
  };
}

function whole(what: string, value: number): void {
  if (!Number.isInteger(value) || value < 0) {
    throw new Error(`schedule ${what}: expected a whole number, got ${value}`);
  }
}

function checkWarmup(warmupEpochs: number, epochs: number): void {
  if (warmupEpochs > epochs) {
    throw new Error(
      `schedule: a warm-up of ${warmupEpochs} epochs does not fit a run of ${epochs}; shorten the warm-up`,
    );
  }
}
