import { expect } from "chai";
import { builtinImages } from "../../../dino/images/builtin.js";
import { dotProducts, type FeatureRows, normalizeRows } from "../../../dino/math/feature-rows.js";
import { pixelFeatures } from "../../../dino/model/extract.js";
import { mapNeighbors, neighborTable, placeFeatures } from "../../../dino/retrieval/places.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";

/** What UMAP of druidjs 0.9.0 reaches on the features below: the best of three seeds. */
const OF_DRUIDJS = 0.5662;

describe("places on a map", () => {
  let features: FeatureRows;
  before(async () => {
    const { test } = builtinImages();
    const view = { resize: 16, crop: { rows: 16, cols: 16 }, mean: [0, 0, 0], std: [1, 1, 1] } as const;
    features = normalizeRows((await pixelFeatures(test, { view })).features);
  });

  it("keep more neighbours than druidjs does", async () => {
    const places = await placeFeatures(features, { seed: 0 });
    expect(trustworthiness(features, places, 10)).to.be.above(OF_DRUIDJS);
  });

  it("come from the exact neighbours, without the image itself, the same on a device", async () => {
    const table = await neighborTable(features);
    const { rows } = features;
    for (const row of [0, 137, rows - 1]) {
      const similarity = dotProducts({ ...features, values: rowOf(features, row), rows: 1 }, features);
      const others = Array.from({ length: rows }, (_, other) => other).filter((other) => other !== row);
      const expected = others.sort((a, b) => similarity[b]! - similarity[a]!).slice(0, 15);
      expect([...table.neighbors.subarray(15 * row, 15 * row + 15)]).to.deep.equal(expected);
      const first = Math.sqrt(2 - 2 * similarity[expected[0]!]!);
      expect(table.distances[15 * row]).to.be.closeTo(first, 1e-5);
    }
    const onDevice = await mapNeighbors({ device: await testDevice(), features, seed: 0 });
    const same = onDevice.neighbors.filter((neighbor, i) => neighbor === table.neighbors[i]).length;
    expect(same / table.neighbors.length).to.be.above(0.999); // ties within rounding may swap
  });

  it("need four images", async () => {
    const three = { values: new Float32Array(3), rows: 3, dim: 1 };
    expect(await rejection(placeFeatures(three, { seed: 0 }))).to.include("map: expected at least 4 images, got 3");
  });
});

function rowOf({ values, dim }: FeatureRows, row: number): Float32Array {
  return values.subarray(row * dim, (row + 1) * dim);
}

/**
 * Share of true neighbours among those on the map, weighted by how far off false ones are: 0.5 by chance, 1 if all are true.
 * Venna and Kaski 2001, https://doi.org/10.1007/3-540-44668-0_68
 */
function trustworthiness(features: FeatureRows, places: Float64Array, k: number): number {
  const { rows: n } = features;
  let off = 0;
  for (let row = 0; row < n; row++) {
    const similarity = dotProducts({ ...features, values: rowOf(features, row), rows: 1 }, features);
    const others = Array.from({ length: n }, (_, other) => other).filter((other) => other !== row);
    const ranks = new Map(
      others.toSorted((a, b) => similarity[b]! - similarity[a]!).map((other, i) => [other, i + 1] as const),
    );
    const distance = (other: number) =>
      Math.hypot(places[2 * other]! - places[2 * row]!, places[2 * other + 1]! - places[2 * row + 1]!);
    const onMap = others.sort((a, b) => distance(a) - distance(b)).slice(0, k);
    for (const other of onMap) off += Math.max(0, ranks.get(other)! - k);
  }
  return 1 - (2 / (n * k * (2 * n - 3 * k - 1))) * off;
}
