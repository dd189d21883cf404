import { expect } from "chai";
import fc from "fast-check";
import {
  boundaryMeasure,
  meanStatistics,
  type ObjectMask,
  regionSimilarity,
  statisticsOf,
} from "../../../dino/segmentation/metrics.js";

/** A square of ten pixels in a picture of 100 by 100, where boundaries may lie ceil(0.008 * 141.4) = 2 pixels apart. */
function square(left: number, top = 20): ObjectMask {
  const pixels = new Uint8Array(100 * 100);
  for (let y = top; y < top + 10; y++) pixels.fill(1, y * 100 + left, y * 100 + left + 10);
  return { rows: 100, cols: 100, pixels };
}

const nothing: ObjectMask = { rows: 100, cols: 100, pixels: new Uint8Array(100 * 100) };

const anyMask = fc
  .uint8Array({ minLength: 63, maxLength: 63, max: 1 })
  .map((pixels): ObjectMask => ({ rows: 7, cols: 9, pixels }));

describe("segmentation metrics", () => {
  it("J is the intersection over the union", () => {
    expect(regionSimilarity(square(20), square(25))).to.equal(50 / 150);
    expect(regionSimilarity(square(20), square(30))).to.equal(0);
    expect(regionSimilarity(nothing, nothing)).to.equal(1);
    expect(regionSimilarity(square(20), nothing)).to.equal(0);
  });

  it("F forgives two pixels here, and counts what lies farther", () => {
    expect(boundaryMeasure(square(20), square(22))).to.equal(1);
    // Rings of 40 pixels, columns 19 to 29 and 22 to 32. Of either, ten pixels of both long sides are near the other, and of the
    // side within it the two next to each end.
    expect(boundaryMeasure(square(20), square(23))).to.be.closeTo(24 / 40, 1e-12);
    // Rings that share a column: that and two pixels of either long side are near, 15 of 40 both ways.
    expect(boundaryMeasure(square(20), square(30))).to.equal(15 / 40);
    expect(boundaryMeasure(square(20), square(60))).to.equal(0);
    expect(boundaryMeasure(nothing, nothing)).to.equal(1);
    expect(boundaryMeasure(nothing, square(20))).to.equal(0);
    expect(boundaryMeasure(square(20), nothing)).to.equal(0);
  });

  it("F has no boundary at the border of the picture", () => {
    const whole = { ...nothing, pixels: nothing.pixels.map(() => 1) };
    expect(boundaryMeasure(whole, nothing)).to.equal(1);
    // In the upper left corner 19 pixels of two sides; three rows below 29 of three sides. Near the other are the ten of the right
    // side and two of the lower one, and of the second nine of the right side and three of the upper one.
    expect(boundaryMeasure(square(0, 0), square(0, 3))).to.be.closeTo((2 * 12) / (19 + 29), 1e-12);
  });

  it("both are 1 for equal masks, symmetric, and within 0 to 1", () => {
    fc.assert(
      fc.property(anyMask, anyMask, (a, b) => {
        for (const measure of [regionSimilarity, boundaryMeasure]) {
          expect(measure(a, a)).to.equal(1);
          expect(measure(a, b)).to.be.within(0, 1);
          expect(measure(a, b)).to.be.closeTo(measure(b, a), 1e-12);
        }
      }),
    );
  });

  it("have mean, recall above a half, and decay from the first quarter to the last", () => {
    expect(statisticsOf([1, 1, 1, 1, 0, 0, 0, 0])).to.deep.equal({ mean: 0.5, recall: 0.5, decay: 1 });
    const { mean, recall, decay } = statisticsOf([1, 0.6, 0.5]); // quarters: the first two, the last
    expect(mean).to.be.closeTo(0.7, 1e-12);
    expect(recall).to.be.closeTo(2 / 3, 1e-12);
    expect(decay).to.be.closeTo(0.3, 1e-12);
    expect(statisticsOf([0.25])).to.deep.equal({ mean: 0.25, recall: 0, decay: 0 });
    const rising = Array.from({ length: 9 }, (_, i) => i / 8); // quarters of three values, which share their ends
    expect(statisticsOf(rising).decay).to.be.closeTo(1 / 8 - 7 / 8, 1e-12);
    expect(meanStatistics([statisticsOf([1]), statisticsOf([0])])).to.deep.equal({ mean: 0.5, recall: 0.5, decay: 0 });
  });

  it("say what does not fit", () => {
    const small = { rows: 2, cols: 2, pixels: new Uint8Array(4) };
    expect(() => regionSimilarity(nothing, small)).to.throw("expected masks of one size, got [100, 100] and [2, 2]");
    expect(() => boundaryMeasure(nothing, small)).to.throw("expected masks of one size");
    expect(() => statisticsOf([])).to.throw("expected at least one frame");
    expect(() => meanStatistics([])).to.throw("expected statistics");
  });
});
