import { expect } from "chai";
import { cosineSchedule, teacherTemperatureSchedule, type Schedule } from "../../dino/math/schedules.js";
import { golden } from "./golden.js";

interface Schedules {
  readonly cosine: readonly {
    readonly base_value: number;
    readonly final_value: number;
    readonly epochs: number;
    readonly niter_per_ep: number;
    readonly warmup_epochs: number;
    readonly start_warmup_value: number;
    readonly values: readonly number[];
  }[];
  readonly teacher_temp: readonly {
    readonly warmup_teacher_temp: number;
    readonly teacher_temp: number;
    readonly warmup_teacher_temp_epochs: number;
    readonly nepochs: number;
    readonly values: readonly number[];
  }[];
}

function expectValues(schedule: Schedule, values: readonly number[]): void {
  for (const [i, value] of values.entries()) expect(schedule(i)).to.be.closeTo(value, 1e-12 * Math.abs(value));
  expect(() => schedule(values.length)).to.throw("schedule: expected a whole number");
}

describe("golden schedules", () => {
  const { cosine, teacher_temp } = golden.json<Schedules>("schedules");

  for (const [number, { values, ...given }] of cosine.entries()) {
    it(`cosine ${number}: ${JSON.stringify(given)}`, () => {
      const schedule = cosineSchedule({
        base: given.base_value,
        final: given.final_value,
        epochs: given.epochs,
        iterationsPerEpoch: given.niter_per_ep,
        warmupEpochs: given.warmup_epochs,
        warmupStart: given.start_warmup_value,
      });
      expectValues(schedule, values);
    });
  }

  for (const [number, { values, ...given }] of teacher_temp.entries()) {
    it(`teacher temperature ${number}: ${JSON.stringify(given)}`, () => {
      const schedule = teacherTemperatureSchedule({
        warmupTemperature: given.warmup_teacher_temp,
        temperature: given.teacher_temp,
        warmupEpochs: given.warmup_teacher_temp_epochs,
        epochs: given.nepochs,
      });
      expectValues(schedule, values);
    });
  }
});
