import { expect } from "chai";
import fc from "fast-check";
import { cosineSchedule, teacherTemperatureSchedule } from "../../../dino/math/schedules.js";

describe("schedule", () => {
  it("meets its end points: warm-up start, base twice, near final", () => {
    const schedule = cosineSchedule({
      base: 3,
      final: 1,
      epochs: 4,
      iterationsPerEpoch: 5,
      warmupEpochs: 2,
      warmupStart: 0.5,
    });
    expect(schedule(0)).to.equal(0.5);
    expect(schedule(9)).to.equal(3);
    expect(schedule(10)).to.equal(3);
    expect(schedule(15)).to.be.closeTo(2, 1e-12);
    expect(schedule(19)).to.be.within(1, 1.05);
  });

  it("never leaves the range from warm-up start over base to final", () => {
    const value = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(
        value,
        value,
        value,
        fc.integer({ min: 1, max: 9 }),
        fc.nat(9),
        (base, final, start, epochs, warmup) => {
          const warmupEpochs = Math.min(warmup, epochs);
          const options = { base, final, epochs, iterationsPerEpoch: 3, warmupEpochs, warmupStart: start };
          const schedule = cosineSchedule(options);
          for (let i = 0; i < 3 * epochs; i++) {
            const ends = i < 3 * warmupEpochs ? [start, base] : [base, final];
            expect(schedule(i)).to.be.within(Math.min(...ends) - 1e-12, Math.max(...ends) + 1e-12);
          }
        },
      ),
    );
  });

  it("stays at the warm-up's start when that is one step long, as numpy.linspace does", () => {
    const cosine = cosineSchedule({
      base: 1,
      final: 0,
      epochs: 2,
      iterationsPerEpoch: 1,
      warmupEpochs: 1,
      warmupStart: 0.2,
    });
    expect([cosine(0), cosine(1)]).to.deep.equal([0.2, 1]);
    const options = { warmupTemperature: 0.04, temperature: 0.07, warmupEpochs: 1, epochs: 2 };
    expect([0, 1].map(teacherTemperatureSchedule(options))).to.deep.equal([0.04, 0.07]);
  });

  it("may be warm-up from start to end", () => {
    const cosine = cosineSchedule({ base: 1, final: 0, epochs: 1, iterationsPerEpoch: 3, warmupEpochs: 1 });
    expect([0, 1, 2].map(cosine)).to.deep.equal([0, 0.5, 1]);
  });

  it("refuses a warm-up longer than the run, a broken count, and steps outside the run", () => {
    const options = { base: 1, final: 0, epochs: 2, iterationsPerEpoch: 3 };
    expect(() => cosineSchedule({ ...options, warmupEpochs: 3 })).to.throw(
      "a warm-up of 3 epochs does not fit a run of 2",
    );
    expect(() => cosineSchedule({ ...options, epochs: 1.5 })).to.throw("schedule epochs: expected a whole number");
    const temperatures = { warmupTemperature: 0.04, temperature: 0.07, warmupEpochs: 30, epochs: 10 };
    expect(() => teacherTemperatureSchedule(temperatures)).to.throw("a warm-up of 30 epochs does not fit a run of 10");
    const schedule = cosineSchedule(options);
    for (const i of [-1, 0.5, 6, NaN]) expect(() => schedule(i)).to.throw("expected a whole number from 0 to 5");
  });
});
