import { expect } from "chai";
import fc from "fast-check";
import { disjointSets } from "../../../dino/math/disjoint-sets.js";

describe("disjoint sets", () => {
  it("know the smallest number of each set, whatever the order of joining", () => {
    const pairs = fc.array(fc.tuple(fc.nat(19), fc.nat(19)), { maxLength: 30 });
    fc.assert(
      fc.property(pairs, (joined) => {
        const sets = disjointSets(20);
        let plain = Array.from({ length: 20 }, (_, i) => i);
        for (const [a, b] of joined) {
          sets.join(a, b);
          const [x, y] = [plain[a]!, plain[b]!];
          plain = plain.map((own) => (own === x || own === y ? Math.min(x, y) : own));
        }
        expect(plain.map((_, i) => sets.find(i))).to.deep.equal(plain);
      }),
    );
  });
});
