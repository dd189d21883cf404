import { expect } from "chai";
import { distillation, evaluate, fill, gradients, input, sizeOf } from "../../../../engine/index.js";
import { rng } from "../../../../dino/math/random.js";
import { testDevice } from "../../../support/device.js";
import { rejection } from "../../../support/rejection.js";

/** What the distillation says about targets made by Sinkhorn-Knopp of two views of one image or more; the temperature is 1. */
async function of(teacherRows: readonly (readonly number[])[], iterations: number) {
  const device = await testDevice();
  const shape = [teacherRows.length, teacherRows[0]!.length];
  using teacher = input(device, shape);
  using student = input(device, shape);
  teacher.write(teacherRows.flat());
  const { teacherEntropy, meanTargets, dStudent } = await evaluate(device, () => {
    const options = { studentTemperature: 1, teacherTemperature: fill([], 1) };
    const { loss, ...found } = distillation(student, teacher, { iterations }, options);
    const [dStudent] = gradients(loss, fill([], 1), [student]);
    return { ...found, dStudent: dStudent! };
  });
  // of a student whose logits are all 0, and whose crops are those of the teacher, swapped: (1 / cols - target) / rows
  const cols = shape[1]!;
  const half = sizeOf(shape) / 2;
  const targets = Array.from(dStudent, (_, i) => 1 / cols - dStudent[(i + half) % (2 * half)]! * teacherRows.length);
  return { teacherEntropy: teacherEntropy[0]!, meanTargets: [...meanTargets], targets };
}

function expectClose(found: readonly number[], expected: readonly number[], tolerance = 1e-6): void {
  expect(found).to.have.length(expected.length);
  expected.forEach((value, i) => expect(found[i], `at ${i}`).to.be.closeTo(value, tolerance));
}

describe("Sinkhorn-Knopp by hand", () => {
  const rows = [
    [Math.log(4), 0],
    [0, 0],
  ]; // exp of it: 4 1 / 1 1

  it("divides columns by their sums, then rows by theirs", async () => {
    const { targets, meanTargets, teacherEntropy } = await of(rows, 1);
    // columns sum to 5 and 2: 0.8 0.5 / 0.2 0.5
    const expected = [0.8 / 1.3, 0.5 / 1.3, 0.2 / 0.7, 0.5 / 0.7];
    expectClose(targets, expected);
    expectClose(meanTargets, [(expected[0]! + expected[2]!) / 2, (expected[1]! + expected[3]!) / 2]);
    expect(teacherEntropy).to.be.closeTo(-expected.reduce((sum, p) => sum + p * Math.log(p), 0) / 2, 1e-6);
  });

  it("ends at the matrix of equal sums with the same cross-ratio", async () => {
    // p / (1 - p) squared is 4 * 1 / (1 * 1)
    expectClose((await of(rows, 30)).targets, [2 / 3, 1 / 3, 1 / 3, 2 / 3]);
  });

  it("gives rows that sum to 1, and in the limit columns of equal sums, whatever the logits", async () => {
    const random = rng({ seed: 5, purpose: "sinkhorn" });
    const [count, cols] = [12, 5];
    const logits = Array.from({ length: count }, () =>
      Array.from({ length: cols }, (_, c) => 3 * random.normal() + 2 * c),
    );
    for (const [iterations, tolerance] of [
      [1, 1],
      [100, 1e-5],
    ] as const) {
      const { targets, meanTargets } = await of(logits, iterations);
      for (let r = 0; r < count; r++) {
        const row = targets.slice(r * cols, (r + 1) * cols);
        expect(row.reduce((sum, p) => sum + p)).to.be.closeTo(1, 1e-5);
        for (const p of row) expect(p).to.be.within(-1e-6, 1);
      }
      expectClose(meanTargets, new Array<number>(cols).fill(1 / cols), tolerance);
    }
  });

  it("is not moved by what a whole column has in common, however large", async () => {
    const plain = await of(rows, 3);
    const moved = await of(
      [
        [Math.log(4) + 100, -300],
        [100, -300],
      ],
      3,
    );
    expectClose(moved.targets, plain.targets, 2e-4); // f32 has 3e-5 left of 300
  });

  it("makes targets uniform where all rows are the same", async () => {
    const { targets, teacherEntropy } = await of(
      [
        [3, -1, 0],
        [3, -1, 0],
      ],
      1,
    );
    expectClose(targets, new Array<number>(6).fill(1 / 3));
    expect(teacherEntropy).to.be.closeTo(Math.log(3), 1e-6);
  });

  it("refuses a number of iterations that is none", async () => {
    for (const iterations of [0, 1.5]) {
      expect(await rejection(of(rows, iterations))).to.equal(
        `distillation: expected one Sinkhorn iteration or more, got ${iterations}`,
      );
    }
  });
});
