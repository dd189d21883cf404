/** Length of a run, and its schedules. */
import type { Config } from "../config/settings.js";
import { cosineSchedule, teacherTemperatureSchedule } from "../math/schedules.js";
import type { EpochLine } from "../run/log.js";
import type { Hyperparameter } from "./step-inputs.js";

/** Length of a run. */
export interface RunLength {
  readonly iterationsPerEpoch: number;
  /** Steps of the whole run. */
  readonly steps: number;
}

/** Computes the steps per epoch and in total for a number of images. */
export function lengthOf(config: Config, images: number): RunLength {
  const iterationsPerEpoch = Math.max(1, Math.floor(images / config.batch));
  return { iterationsPerEpoch, steps: config.steps ?? config.epochs * iterationsPerEpoch };
}

/** Maps a step, from 0, to the values of its hyperparameters. */
export type Schedules = (step: number) => Record<Hyperparameter, number>;

/** Returns the official schedules of all hyperparameters; the learning rate is scaled by batch / 256. */
export function schedules(config: Config, { steps, iterationsPerEpoch }: RunLength): Schedules {
  const overSteps = { epochs: steps, iterationsPerEpoch: 1 };
  const lr = cosineSchedule({
    ...overSteps,
    base: (config.lr * config.batch) / 256,
    final: config.minLr,
    warmupEpochs: Math.round(config.warmupEpochs * iterationsPerEpoch),
  });
  const weightDecay = cosineSchedule({ ...overSteps, base: config.weightDecay, final: config.weightDecayEnd });
  const momentum = cosineSchedule({ ...overSteps, base: config.momentumTeacher, final: config.momentumTeacherEnd });
  const temperature = teacherTemperatureSchedule({
    warmupTemperature: config.warmupTeacherTemp,
    temperature: config.teacherTemp,
    warmupEpochs: config.warmupTeacherTempEpochs,
    epochs: Math.ceil(steps / iterationsPerEpoch),
  });
  return (step) => {
    const epoch = Math.floor(step / iterationsPerEpoch);
    return {
      lr: lr(step),
      weightDecay: weightDecay(step),
      momentum: momentum(step),
      teacherTemperature: temperature(epoch),
      frozen: epoch < config.freezeLastLayer ? 1 : 0,
    };
  };
}

/** Computes the mean learning rate and weight decay over some steps. */
export function meansOver(
  schedule: Schedules,
  { from, to }: { readonly from: number; readonly to: number },
): Pick<EpochLine, "lr" | "weightDecay"> {
  const values = Array.from({ length: to - from }, (_, i) => schedule(from + i));
  const meanOf = (name: Hyperparameter) => values.reduce((sum, value) => sum + value[name], 0) / values.length;
  return { lr: meanOf("lr"), weightDecay: meanOf("weightDecay") };
}
