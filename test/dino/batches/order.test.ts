import { expect } from "chai";
import fc from "fast-check";
import { epochOrders, type OrderOptions } from "../../../dino/batches/order.js";
import { rng } from "../../../dino/math/random.js";

const range = (count: number) => new Int32Array(count).map((_, i) => i);
const basics = {
  images: { count: 100, shards: undefined, mixture: undefined },
  indices: range(100),
  seed: 3,
  shuffleBuffer: 0,
} satisfies OrderOptions;

describe("order of images", () => {
  it("is a random one of all, another in each epoch, where nothing else is asked for", () => {
    const orderOf = epochOrders(basics);
    const expected = rng({ seed: 3, epoch: 4, purpose: "order" }).permutation(100);
    expect([...orderOf(4).next(100).positions]).to.deep.equal([...expected]);
    expect([...orderOf(5).next(100).positions]).to.not.deep.equal([...expected]);
    expect(orderOf(4).next(100).repeats).to.equal(undefined);
    const shards = [0, 40, 70];
    expect(epochOrders({ ...basics, images: { ...basics.images, shards } })(4).next(100)).to.deep.equal(
      orderOf(4).next(100),
    );
  });

  it("takes each image once, and those of a file together but for the buffer", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 4 }),
        fc.nat(1000),
        (sizes, shuffleBuffer, every, seed) => {
          const shards = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, 0));
          const count = sizes.reduce((sum, size) => sum + size, 0);
          const indices = range(count).filter((index) => index % every === 0); // as if others were held out
          const images = { count, shards, mixture: undefined };
          const orderOf = epochOrders({ images, indices, seed, shuffleBuffer });
          const { positions: places } = orderOf(2).next(indices.length);
          expect([...places].sort((a, b) => a - b)).to.deep.equal([...range(indices.length)]);
          const middle = seed % indices.length;
          const begun = orderOf(2);
          begun.next(middle);
          for (const order of [begun, orderOf(2, middle)])
            expect(order.next(indices.length - middle)).to.deep.equal({
              positions: places.slice(middle),
              repeats: undefined,
            });
          const order = epochOrders({ images, indices, seed, shuffleBuffer: 1 })(2).next(indices.length).positions; // file after file
          const shuffled = Int32Array.from(order); // by the whole list in memory
          const random = rng({ seed, epoch: 2, purpose: "shuffle buffer" });
          for (let i = 0; i < shuffled.length - 1; i++) {
            const j = i + random.integer(Math.min(shuffleBuffer, shuffled.length - i));
            [shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!];
          }
          expect(places).to.deep.equal(shuffled);
          const fileOf = (place: number) => shards.findLastIndex((first) => first <= indices[place]!);
          const files = [...order].map(fileOf);
          const visits = files.filter((file, i) => file !== files[i - 1]);
          expect(new Set(visits).size).to.equal(visits.length);
          const inOrder = new Map([...order].map((place, at) => [place, at]));
          for (const [at, place] of places.entries()) expect(inOrder.get(place)!).to.be.below(at + shuffleBuffer);
        },
      ),
      { seed: 1, numRuns: 100 },
    );
  });

  const mixture = (sizes: readonly number[], weights: readonly number[]) => {
    const firsts = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, 0));
    const count = sizes.reduce((sum, size) => sum + size, 0);
    const parts = weights.map((weight, i) => ({ first: firsts[i]!, weight }));
    return { count, shards: undefined, mixture: parts };
  };

  it("gives each part of a mixture its share, and each of its images as often as any other", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 60 }), fc.double({ min: 0.1, max: 10, noNaN: true })), {
          minLength: 2,
          maxLength: 5,
        }),
        fc.nat(1000),
        (parts, seed) => {
          const [sizes, weights] = [parts.map(([size]) => size), parts.map(([, weight]) => weight)];
          const images = mixture(sizes, weights);
          const { count } = images;
          const indices = range(count);
          const orderOf = epochOrders({ images, indices, seed, shuffleBuffer: 0 });
          const total = weights.reduce((sum, weight) => sum + weight, 0);
          const counts = new Uint32Array(count);
          for (let epoch = 0; epoch < 3; epoch++) {
            const { positions: places, repeats } = orderOf(epoch).next(count);
            const seen = new Set<string>();
            for (const [i, place] of places.entries()) {
              counts[place]!++;
              seen.add(`${place} ${repeats![i]!}`);
            }
            expect(seen.size).to.equal(places.length); // what comes again is told apart
            for (const [part, { first }] of images.mixture.entries()) {
              const own = places.filter((place) => place >= first && place < first + sizes[part]!).length;
              expect(own).to.be.closeTo((weights[part]! / total) * count, 1);
            }
          }
          for (const [part, { first }] of images.mixture.entries()) {
            const own = counts.subarray(first, first + sizes[part]!);
            expect(Math.max(...own) - Math.min(...own)).to.be.at.most(1);
          }
        },
      ),
      { seed: 1, numRuns: 100 },
    );
  });

  it("mixes the parts evenly over an epoch", () => {
    const images = mixture([500, 500], [3, 1]);
    const { positions: places } = epochOrders({ images, indices: range(1000), seed: 0, shuffleBuffer: 0 })(0).next(
      1000,
    );
    for (let from = 0; from < 1000; from += 250) {
      const ofFirst = places.subarray(from, from + 250).filter((place) => place < 500).length;
      expect(ofFirst).to.be.closeTo(187, 30);
    }
  });

  it("refuses a part that has nothing to give", () => {
    const images = mixture([10, 10], [1, 1]);
    expect(() => epochOrders({ images, indices: range(10), seed: 0, shuffleBuffer: 0 })).to.throw(
      "mixture: part 2 of 2 has no image to train on; leave it out",
    );
  });
});
