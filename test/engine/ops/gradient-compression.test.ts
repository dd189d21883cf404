import { expect } from "chai";
import { rng } from "../../../dino/math/random.js";
import { evaluate, input, packBlocks, sumBlocks, type Tensor, transient, unpackBlocks } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";

/** What comes of numbers [pieces * elements] that are packed, summed over the pieces and unpacked. */
async function summed(values: Float32Array, pieces: number): Promise<Float32Array> {
  const device = await testDevice();
  using x = input(device, [values.length]);
  x.write(values);
  const elements = values.length / pieces;
  const { y } = await evaluate(device, () => {
    const y: Tensor = transient([elements]);
    unpackBlocks(sumBlocks(packBlocks(x, pieces)), y);
    return { y };
  });
  return y;
}

describe("numbers in blocks of half the size", () => {
  it("lose at most 5e-4 each, however large or small", async () => {
    const random = rng({ seed: 3, purpose: "blocks" });
    const values = Float32Array.from(
      { length: 1000 },
      (_, i) => random.normal() * 10 ** ((Math.floor(i / 64) % 9) * 4 - 20),
    );
    const found = await summed(values, 1);
    let [worst, sum, squares] = [0, 0, 0];
    values.forEach((value, i) => {
      const off = Math.abs(found[i]! - value);
      worst = Math.max(worst, off / Math.abs(value));
      sum += (off / Math.abs(value)) ** 2;
      squares++;
    });
    expect(worst).to.be.below(5e-4);
    expect(Math.sqrt(sum / squares), "root of the mean square").to.be.within(1e-5, 2.5e-4); // measured 1.8e-4
  });

  it("add up over pieces", async () => {
    const random = rng({ seed: 4, purpose: "blocks" });
    const values = Float32Array.from({ length: 3 * 128 }, () => random.normal());
    const found = await summed(values, 3);
    for (let i = 0; i < 128; i++) {
      const terms = [values[i]!, values[128 + i]!, values[256 + i]!];
      const sum = terms.reduce((sum, x) => sum + x, 0);
      const most = 5e-4 * terms.reduce((sum, x) => sum + Math.abs(x), Math.abs(sum));
      expect(Math.abs(found[i]! - sum), `at ${i}`).to.be.below(most);
    }
  });

  it("keep zeros, and are infinite throughout a block that is not finite", async () => {
    const values = new Float32Array(192);
    values[70] = 3;
    values[130] = Infinity;
    const found = await summed(values, 1);
    expect([...found.subarray(0, 128)]).to.deep.equal([...values.subarray(0, 128)]);
    expect([...found.subarray(128)].every((x) => x === Infinity)).to.equal(true);
  });
});
