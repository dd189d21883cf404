import { expect } from "chai";
import { evaluate, fill, gradients, input, koleo } from "../../../engine/index.js";
import { rejection } from "../../support/rejection.js";
import { testDevice } from "../../support/device.js";

/** KoLeo of rows, and its gradient. */
async function of(rows: readonly (readonly number[])[], groups?: number) {
  const device = await testDevice();
  using x = input(device, [rows.length, rows[0]!.length]);
  x.write(rows.flat());
  const { loss, dx } = await evaluate(device, () => {
    const loss = koleo(x, groups);
    return { loss, dx: gradients(loss, fill([], 1), [x])[0]! };
  });
  return { loss: loss[0]!, dx: [...dx] };
}

describe("koleo by hand", () => {
  it("takes the nearest other row, of the own group alone", async () => {
    const together = await of([[0], [1], [3], [11]]); // distances 1, 1, 2, 8
    expect(together.loss).to.be.closeTo(-Math.log(1 * 1 * 2 * 8) / 4, 1e-6);
    const apart = await of([[0], [3], [1], [11]], 2); // distances 3, 3, 10, 10
    expect(apart.loss).to.be.closeTo(-Math.log(3 * 3 * 10 * 10) / 4, 1e-6);
  });

  it("parts neighbours, the more the nearer they are", async () => {
    const { dx } = await of([[0], [1], [3], [11]]);
    // a row is pulled by its own loss, 1 / distance away from its neighbour, and by those whose neighbour it is
    const expected = [1 + 1, -1 - 1 + 1 / 2, -1 / 2 + 1 / 8, -1 / 8];
    expected.forEach((pull, i) => expect(dx[i]).to.be.closeTo(pull / 4, 1e-6));
  });

  it("stays finite where rows are equal, and does not move them", async () => {
    const { loss, dx } = await of([
      [1, 2],
      [1, 2],
      [1, 2],
    ]);
    expect(loss).to.be.closeTo(-Math.log(1e-8), 1e-5);
    expect(dx).to.deep.equal([0, 0, 0, 0, 0, 0]);
  });

  it("refuses groups without neighbours", async () => {
    expect(await rejection(of([[0], [1]], 2))).to.equal("koleo x: expected 2 groups of two rows or more, got [2, 1]");
    expect(await rejection(of([[0], [1], [2]], 2))).to.include("got [3, 1]");
  });
});
