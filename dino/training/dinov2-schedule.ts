/** Schedules of DINOv2, by iterations. */
import { cosineSchedule, teacherTemperatureSchedule } from "../math/schedules.js";
import type { Hyperparameter } from "./step-inputs.js";

/** Schedules of a run; lengths in iterations. */
export interface Dinov2ScheduleOptions {
  readonly iterations: number;
  /** Learning rate after warm-up and at the end. */
  readonly lr: readonly [number, number];
  readonly warmup: number;
  readonly weightDecay: readonly [number, number];
  readonly momentum: readonly [number, number];
  /** Temperature of the teacher, at the start and from the end of its warm-up on. */
  readonly teacherTemperature: readonly [number, number];
  readonly temperatureWarmup: number;
  /** Iterations in which the last layers have a learning rate of 0. */
  readonly freezeLastLayer: number;
}

/** Returns the values of all hyperparameters at a step, from 0, as `build_schedulers` of DINOv2 does. */
export function dinov2Schedules(options: Dinov2ScheduleOptions): (step: number) => Record<Hyperparameter, number> {
  const { iterations } = options;
  const cosine = ([base, final]: readonly [number, number], warmup = 0) =>
    cosineSchedule({ base, final, epochs: iterations, iterationsPerEpoch: 1, warmupEpochs: warmup });
  const [lr, weightDecay] = [cosine(options.lr, options.warmup), cosine(options.weightDecay)];
  const momentum = cosine(options.momentum);
  const [warmupTemperature, temperature] = options.teacherTemperature;
  const teacherTemperature = teacherTemperatureSchedule({
    ...{ warmupTemperature, temperature, warmupEpochs: options.temperatureWarmup, epochs: iterations },
  });
  return (step) => ({
    lr: lr(step),
    weightDecay: weightDecay(step),
    momentum: momentum(step),
    teacherTemperature: teacherTemperature(step),
    frozen: step < options.freezeLastLayer ? 1 : 0,
  });
}
