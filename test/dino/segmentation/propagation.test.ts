import { expect } from "chai";
import fc from "fast-check";
import {
  bandsOf,
  labelPixels,
  oneHot,
  openPropagator,
  type PropagationOptions,
} from "../../../dino/segmentation/propagation.js";
import type { Size } from "../../../dino/images/pixels.js";
import { rng } from "../../../dino/math/random.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";

const dim = 5;

/** Rows of unit length: [patches, dim]. */
function unitRows(patches: number, seed: number): Float32Array {
  const random = rng({ seed, purpose: "features" });
  const values = Float32Array.from({ length: patches * dim }, () => random.normal());
  for (let r = 0; r < patches; r++) {
    const row = values.subarray(r * dim, (r + 1) * dim);
    const length = Math.hypot(...row);
    row.forEach((value, c) => (row[c] = value / length));
  }
  return values;
}

/** The official label_propagation, with its matrices whole and in float64. */
function reference(
  frames: readonly { readonly features: Float32Array; readonly labels: ArrayLike<number> }[],
  target: Float32Array,
  { grid, classes, topk, radius }: { grid: Size; classes: number; topk: number; radius: number },
): number[] {
  const patches = grid.rows * grid.cols;
  const isNear = (a: number, b: number): boolean => {
    const down = Math.abs(Math.floor(a / grid.cols) - Math.floor(b / grid.cols));
    return radius === 0 || (down <= radius && Math.abs((a % grid.cols) - (b % grid.cols)) <= radius);
  };
  return Array.from({ length: patches }, (_, q) => {
    const affinities = frames.flatMap(({ features }) =>
      Array.from({ length: patches }, (_, k) => {
        let product = 0;
        for (let c = 0; c < dim; c++) product += target[q * dim + c]! * features[k * dim + c]!;
        return isNear(q, k) ? Math.exp(product / 0.1) : 0;
      }),
    );
    const least = [...affinities].sort((a, b) => b - a)[topk - 1] ?? 0;
    const kept = affinities.map((affinity) => (affinity < least ? 0 : affinity));
    const mass = kept.reduce((sum, weight) => sum + weight, 0);
    return Array.from({ length: classes }, (_, c) =>
      kept.reduce(
        (sum, w, i) => sum + (w / mass) * frames[Math.floor(i / patches)]!.labels[(i % patches) * classes + c]!,
        0,
      ),
    );
  }).flat();
}

describe("label propagation", () => {
  const grid = { rows: 5, cols: 4 };
  const patches = 20;
  const cases: readonly (readonly [string, PropagationOptions, number | undefined])[] = [
    ["near patches of the first and two last frames", { lastFrames: 2, topk: 3, radius: 1 }, undefined],
    ["near patches in bands of one row", { lastFrames: 2, topk: 3, radius: 1 }, 1],
    ["near patches in bands of two rows", { lastFrames: 2, topk: 3, radius: 2 }, 4 * 3 * (2 * 4) * (5 * 4)],
    ["patches anywhere", { lastFrames: 3, topk: 5, radius: 0 }, undefined],
    ["the first frame alone", { lastFrames: 0, topk: 2, radius: 2 }, undefined],
    ["more patches than there are", { lastFrames: 1, topk: 99, radius: 1 }, undefined],
  ];
  for (const [what, options, bytes] of cases) {
    it(`takes ${what}, as the official code does`, async () => {
      const device = await testDevice();
      using propagator = openPropagator(device, { grid, dim, ...options, ...(bytes !== undefined && { bytes }) });
      for (const [video, classes] of [3, 2].entries()) {
        const random = rng({ seed: video, purpose: "labels" });
        const labels = oneHot(
          Uint8Array.from({ length: patches }, () => random.integer(classes)),
          classes,
        );
        const first = { features: unitRows(patches, 100 * video), labels };
        propagator.begin(first);
        const known: { features: Float32Array; labels: ArrayLike<number> }[] = [first];
        for (let frame = 1; frame < 6; frame++) {
          const features = unitRows(patches, 100 * video + frame);
          const found = await propagator.next(features);
          const last = options.lastFrames === 0 ? [] : known.slice(1).slice(-options.lastFrames);
          const expected = reference([first, ...last], features, { grid, classes, ...options });
          for (let i = 0; i < expected.length; i++) expect(found[i]).to.be.closeTo(expected[i]!, 1e-4, `at ${i}`);
          known.push({ features, labels: found });
        }
      }
    });
  }

  it("keeps all of equal similarity, and so gives each the same say", async () => {
    const features = new Float32Array(patches * dim).fill(1 / Math.sqrt(dim));
    const labels = oneHot(
      Uint8Array.from({ length: patches }, (_, i) => (i < 5 ? 1 : 0)),
      2,
    );
    using propagator = openPropagator(await testDevice(), { grid, dim, lastFrames: 1, topk: 1, radius: 0 });
    propagator.begin({ features, labels });
    const found = await propagator.next(features);
    for (let i = 0; i < patches; i++) expect(found[2 * i + 1]).to.be.closeTo(0.25, 1e-6);
  });

  it("begins with a labelled frame", async () => {
    using propagator = openPropagator(await testDevice(), { grid, dim, lastFrames: 1, topk: 1, radius: 0 });
    expect(await rejection(propagator.next(unitRows(patches, 1)))).to.include("expected begin() before next()");
  });

  it("cuts a grid into bands that hold every row once and all near it, within the memory given", () => {
    const length = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(length, length, fc.nat(9), fc.integer({ min: 1, max: 1e6 }), (rows, cols, radius, bytes) => {
        const bands = bandsOf({ rows, cols }, { radius, frames: 3, bytes });
        let next = 0;
        for (const { top, rows: height, keyTop, keyRows } of bands) {
          expect(top).to.equal(next);
          next += height;
          const reach = radius === 0 ? rows : radius;
          expect(keyTop).to.equal(Math.max(0, top - reach));
          expect(keyTop + keyRows).to.equal(Math.min(rows, top + height + reach));
          if (height > 1) expect(4 * 3 * height * cols * keyRows * cols).to.be.at.most(bytes);
        }
        expect(next).to.equal(rows);
      }),
    );
  });
});

describe("labels of pixels", () => {
  it("lie between patch centres, and are stretched to the whole range first", () => {
    const grid = { rows: 1, cols: 2 };
    const row = (labels: readonly number[]): number[] => [
      ...labelPixels(Float32Array.from(labels), grid, 4).subarray(0, 8),
    ];
    expect(row([1, 0, 0, 1])).to.deep.equal([0, 0, 0, 0, 1, 1, 1, 1]);
    expect(row([1, 0, 0.8, 0.2])).to.deep.equal([0, 0, 0, 0, 1, 1, 1, 1]); // little, but all there is of it
    expect(row([0.5, 0.5, 0, 1])).to.deep.equal([0, 0, 0, 0, 1, 1, 1, 1]);
  });

  it("of what is everywhere are everywhere", () => {
    const labels = Float32Array.of(0, 1, 0, 1, 0, 1, 0, 1);
    expect([...labelPixels(labels, { rows: 2, cols: 2 }, 2)]).to.deep.equal(new Array(16).fill(1));
  });

  it("of whole patches give the patches back, but for corners", () => {
    const random = rng({ seed: 5, purpose: "labels" });
    const grid = { rows: 6, cols: 7 };
    const labels = Uint8Array.from({ length: 42 }, () => random.integer(3));
    const pixels = labelPixels(oneHot(labels, 3), grid, 8);
    for (let y = 0; y < 6; y++) {
      for (let x = 0; x < 7; x++) expect(pixels[(8 * y + 4) * 56 + 8 * x + 4]).to.equal(labels[y * 7 + x]);
    }
  });
});
