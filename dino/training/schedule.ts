/** Length of a run, and its schedules. */
import type { Config } from "../config/settings.js";
import { cosineSchedule, teacherTemperatureSchedule } from "../math/schedules.js";
import type { EpochLine } from "../run/log.js";
import { dinov2Schedules } from "./dinov2-schedule.js";
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

/** Returns the official schedules of all hyperparameters. */
export function schedules(config: Config, length: RunLength): Schedules {
  return config.method === "dino" ? dinoSchedules(config, length) : dinov2SchedulesOf(config, length);
}

/** Returns the schedules of DINOv2, in steps; the learning rate is scaled by sqrt(batch / 1024). */
function dinov2SchedulesOf(config: Config, { steps, iterationsPerEpoch }: RunLength): Schedules {
  const inSteps = (epochs: number) => Math.round(epochs * iterationsPerEpoch);
  return dinov2Schedules({
    iterations: steps,
    lr: [config.lr * Math.sqrt(config.batch / 1024), config.minLr],
    warmup: inSteps(config.warmupEpochs),
    weightDecay: [config.weightDecay, config.weightDecayEnd],
    momentum: [config.momentumTeacher, config.momentumTeacherEnd],
    teacherTemperature: [config.warmupTeacherTemp, config.teacherTemp],
    temperatureWarmup: inSteps(config.warmupTeacherTempEpochs),
    freezeLastLayer: inSteps(config.freezeLastLayer),
  });
}

/** Returns the schedules of DINO, some of them in epochs; the learning rate is scaled by batch / 256. */
function dinoSchedules(config: Config, { steps, iterationsPerEpoch }: RunLength): Schedules {
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
