import { expect } from "chai";
import fc from "fast-check";
import { firstUniform, philox4x32, rng, type RandomKey } from "../../../dino/math/random.js";

// Random123's tests/kat_vectors, lines "philox4x32 10": counter, key, expected.
const knownAnswers = [
  "00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
  "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd",
  "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1",
];

const draws = (key: RandomKey, n: number): number[] => {
  const random = rng(key);
  return Array.from({ length: n }, () => random.bits());
};

const anyKey = fc.record({
  seed: fc.maxSafeNat(),
  epoch: fc.nat(),
  index: fc.nat(),
  purpose: fc.string(),
});

describe("random", () => {
  for (const line of knownAnswers) {
    it(`gives Random123's answer for ${line.slice(0, 17)}...`, () => {
      const words = line.split(" ").map((word) => parseInt(word, 16));
      const [c0, c1, c2, c3, k0, k1, ...expected] = words as [number, number, number, number, number, number];
      const out = new Uint32Array(4);
      philox4x32([c0, c1, c2, c3], [k0, k1], out);
      expect([...out]).to.deep.equal(expected);
    });
  }

  it("gives the first draw of each index as a generator of its own does", () => {
    fc.assert(
      fc.property(anyKey, fc.array(fc.nat()), ({ seed, epoch, purpose }, indices) => {
        const draw = firstUniform({ seed, epoch, purpose });
        for (const index of indices) expect(draw(index)).to.equal(rng({ seed, epoch, index, purpose }).uniform());
      }),
    );
    expect(() => firstUniform({ seed: 0, purpose: "" })(-1)).to.throw("rng index: expected a whole number");
  });

  it("draws the same numbers for the same key, whatever else is drawn in between", () => {
    fc.assert(
      fc.property(anyKey, anyKey, (key, other) => {
        const alone = draws(key, 9);
        const [a, b] = [rng(key), rng(other)];
        const mixed = alone.map(() => (b.bits(), a.bits()));
        expect(mixed).to.deep.equal(alone);
      }),
    );
  });

  it("draws other numbers when any part of the key differs", () => {
    const key = { seed: 7, epoch: 3, index: 11, purpose: "crop 0" };
    const others = [
      { ...key, seed: 8 },
      { ...key, seed: 7 + 2 ** 32 },
      { ...key, epoch: 4 },
      { ...key, index: 12 },
      { ...key, epoch: 11, index: 3 },
      { ...key, purpose: "crop 1" },
    ];
    const all = new Set([key, ...others].map((each) => draws(each, 4).join()));
    expect(all.size).to.equal(others.length + 1);
  });

  it("is uniform in [0, 1): mean, variance and no correlation between neighbours", () => {
    const random = rng({ seed: 1, purpose: "test" });
    const n = 100000;
    const u = Array.from({ length: n }, () => random.uniform());
    const mean = u.reduce((sum, x) => sum + x, 0) / n;
    const variance = u.reduce((sum, x) => sum + (x - mean) ** 2, 0) / n;
    const lag = u.slice(1).reduce((sum, x, i) => sum + (x - mean) * (u[i]! - mean), 0) / n;
    expect(u.every((x) => x >= 0 && x < 1)).to.equal(true);
    expect(mean).to.be.closeTo(0.5, 0.004);
    expect(variance).to.be.closeTo(1 / 12, 0.001);
    expect(lag).to.be.closeTo(0, 0.001);
  });

  it("is uniform over keys that differ by one, not only along a stream", () => {
    const n = 20000;
    let sum = 0;
    for (let index = 0; index < n; index++) sum += rng({ seed: 1, index, purpose: "test" }).uniform();
    expect(sum / n).to.be.closeTo(0.5, 0.01);
  });

  it("keeps uniformIn and integer within their ranges, and reaches all of them", () => {
    const random = rng({ seed: 2, purpose: "test" });
    const seen = new Set<number>();
    for (let i = 0; i < 1000; i++) {
      const x = random.uniformIn(-3, 2);
      expect(x >= -3 && x < 2).to.equal(true);
      seen.add(random.integer(7));
    }
    expect([...seen].sort()).to.deep.equal([0, 1, 2, 3, 4, 5, 6]);
    expect(random.uniformIn(4, 4)).to.equal(4);
    expect(random.integer(1)).to.equal(0);
    expect(random.integer(2 ** 32)).to.be.within(0, 2 ** 32 - 1);
  });

  it("has normal draws of mean 0, variance 1 and kurtosis 3", () => {
    const random = rng({ seed: 3, purpose: "test" });
    const n = 100000;
    const moments = [0, 0, 0];
    for (let i = 0; i < n; i++) {
      const z = random.normal();
      moments[0]! += z / n;
      moments[1]! += z ** 2 / n;
      moments[2]! += z ** 4 / n;
    }
    expect(moments[0]).to.be.closeTo(0, 0.015);
    expect(moments[1]).to.be.closeTo(1, 0.02);
    expect(moments[2]).to.be.closeTo(3, 0.15);
  });

  it("permutes: every number once, every first place equally often", () => {
    const firsts = new Array<number>(5).fill(0);
    for (let index = 0; index < 5000; index++) {
      const order = rng({ seed: 4, index, purpose: "test" }).permutation(5);
      expect([...order].sort()).to.deep.equal([0, 1, 2, 3, 4]);
      firsts[order[0]!]!++;
    }
    for (const times of firsts) expect(times).to.be.closeTo(1000, 120);
    expect(rng({ seed: 4, purpose: "test" }).permutation(0)).to.have.lengthOf(0);
  });

  it("refuses keys and ranges that are no whole numbers, by name", () => {
    expect(() => rng({ seed: -1, purpose: "test" })).to.throw("rng seed: expected a whole number");
    expect(() => rng({ seed: 0.5, purpose: "test" })).to.throw("rng seed");
    expect(() => rng({ seed: 0, epoch: 2 ** 32, purpose: "test" })).to.throw("rng epoch");
    expect(() => rng({ seed: 0, index: NaN, purpose: "test" })).to.throw("rng index");
    expect(() => rng({ seed: 0, purpose: "test" }).integer(0)).to.throw("rng integer n");
  });
});
