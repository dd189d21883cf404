import { expect } from "chai";
import { PNG } from "pngjs";
import { rng } from "../../../dino/math/random.js";
import { svgToPng } from "../../../dino/pictures/charts.js";
import { type MapOptions, mapSvg, type Places } from "../../../dino/pictures/map.js";
import { type LabelledImage, neighborsSvg } from "../../../dino/pictures/neighbors.js";
import { placeFeatures } from "../../../dino/retrieval/places.js";
import { rejection } from "../../support/rejection.js";

const grey = (side = 8) => ({ rows: side, cols: side, pixels: new Uint8Array(side * side * 3).fill(128) });
const labelled = (label: number): LabelledImage => ({ image: grey(), label });

/** Elements of a kind, by their attributes. */
function elementsOf(svg: string, name: string): readonly Readonly<Record<string, string>>[] {
  return Array.from(svg.matchAll(new RegExp(`<${name}((?: [\\w-]+="[^"]*")*)`, "g")), ([, attributes]) =>
    Object.fromEntries(Array.from(attributes!.matchAll(/([\w-]+)="([^"]*)"/g), ([, key, value]) => [key!, value!])),
  );
}

describe("picture of neighbours", () => {
  const classes = ["cat", "dog & fox"];
  const labels = [
    [0, 1, 0, 0, 1],
    [1, 1, 1, 0, 1],
  ];
  const groups = ["raw pixels", "untrained network", "after training"].map((title, i) => ({
    ...{ title, accuracy: [23.4, 31.2, 87][i]! },
    neighbors: labels.map((row) => row.map(labelled)),
  }));
  const queries = [labelled(0), labelled(1)];
  const caption = ["Queries: the first of each class."];
  const svg = neighborsSvg({ queries, groups, classes, title: "Neighbours", caption });

  it("frames what has the query's class in blue and the rest in dashed orange, at its place", () => {
    const frames = elementsOf(svg, "rect").filter((rect) => "class" in rect);
    const [inRows, inLegend] = [frames.slice(0, -2), frames.slice(-2)];
    expect(inLegend.map((frame) => frame["class"])).to.deep.equal(["right", "wrong"]);
    const expected = labels.flatMap((row, query) =>
      groups.flatMap(() => row.map((label) => (label === query ? "right" : "wrong"))),
    );
    expect(inRows.map((frame) => frame["class"])).to.deep.equal(expected);
    const png = PNG.sync.read(Buffer.from(svgToPng(svg)));
    expect(png.width).to.equal(2000);
    const colorAt = (x: number, y: number) => [...png.data.subarray(4 * (y * png.width + x)).subarray(0, 3)];
    for (const { class: kind, x, y } of inRows) {
      const corner = colorAt(2 * Number(x), 2 * Number(y)); // two pixels for one of the SVG
      expect(corner, `${kind} at ${x}, ${y}`).to.deep.equal(kind === "right" ? [0, 0x72, 0xb2] : [0xd5, 0x5e, 0]);
    }
    for (const { "stroke-dasharray": dashes, class: kind } of frames)
      expect(dashes !== undefined).to.equal(kind === "wrong");
  });

  it("heads every group with its accuracy, names the classes and says how queries are chosen", () => {
    for (const words of [
      "raw pixels 23 %",
      "untrained network 31 %",
      "after training 87 %",
      "cat",
      "dog &amp; fox",
      ...caption,
    ])
      expect(svg).to.include(`>${words}</text>`);
    expect(elementsOf(svg, "image")).to.have.length(2 * (1 + 3 * 5));
  });

  it("does not draw a group that lacks rows", () => {
    const short = [{ ...groups[0]!, neighbors: [] }];
    expect(() => neighborsSvg({ queries, groups: short, classes, title: "", caption })).to.throw(
      "a row for each of 2 queries",
    );
  });
});

describe("map of images", () => {
  const [rows, dim, count] = [120, 24, 3];
  const draws = rng({ seed: 5, purpose: "map test" });
  const labels = Array.from({ length: rows }, (_, row) => row % count);
  const values = Float32Array.from({ length: rows * dim }, (_, i) => {
    const isOwn = Math.floor((i % dim) / (dim / count)) === labels[Math.floor(i / dim)]!;
    return (isOwn ? 1 : 0) + 0.2 * draws.normal();
  });
  const features = { values, rows, dim };
  let places: Places;
  before(async () => {
    places = await placeFeatures(features, { seed: 3 });
  });

  const options = (panels: MapOptions["panels"]): MapOptions => ({
    ...{ panels, labels, classes: ["a", "b", "c"], images: labels.map(() => grey()), title: "Map", caption: ["Dots."] },
  });

  it("has the same bytes for the same features and seed", async () => {
    expect(await placeFeatures(features, { seed: 3 })).to.deep.equal(places);
    expect(await placeFeatures(features, { seed: 4 })).to.not.deep.equal(places);
    const draw = () => svgToPng(mapSvg(options([{ title: "one", places }])));
    expect(Buffer.from(draw()).equals(Buffer.from(draw()))).to.equal(true);
  });

  it("keeps classes apart that are apart in the features", () => {
    const distance = (a: number, b: number) =>
      Math.hypot(places[2 * a]! - places[2 * b]!, places[2 * a + 1]! - places[2 * b + 1]!);
    for (let row = 0; row < rows; row++) {
      const others = labels.map((_, other) => other).filter((other) => other !== row);
      const near = others.sort((a, b) => distance(row, a) - distance(row, b)).slice(0, 10);
      expect(
        near.map((other) => labels[other]),
        `row ${row}`,
      ).to.deep.equal(near.map(() => labels[row]));
    }
  });

  it("draws a dot for each image in the colour of its class, within its panel, and some images", () => {
    const panels = ["before", "after"].map((title) => ({ title, places }));
    const svg = mapSvg(options(panels));
    const dots = elementsOf(svg, "circle").filter((circle) => circle["fill-opacity"] !== undefined);
    expect(dots).to.have.length(2 * rows);
    const boxes = elementsOf(svg, "rect").filter((rect) => rect["stroke"] === "#cdd1d6");
    expect(boxes).to.have.length(2);
    const fills = ["#1f77b4", "#ff7f0e", "#2ca02c"];
    dots.forEach(({ cx, cy, fill }, i) => {
      expect(fill).to.equal(fills[labels[i % rows]!]);
      const { x, y, width, height } = boxes[Math.floor(i / rows)]!;
      expect(Number(cx)).to.be.within(Number(x), Number(x) + Number(width));
      expect(Number(cy)).to.be.within(Number(y), Number(y) + Number(height));
    });
    expect(elementsOf(svg, "image").length).to.be.within(6, 128);
    for (const { title } of panels) expect(svg).to.include(`>${title}</text>`);
    expect(PNG.sync.read(Buffer.from(svgToPng(svg))).width).to.equal(2000);
  });

  it("maps images whose features are all the same, and needs four of them", async () => {
    const same = await placeFeatures({ values: new Float32Array(6 * 2).fill(1), rows: 6, dim: 2 }, { seed: 0 });
    expect(
      mapSvg({ ...options([{ title: "", places: same }]), images: labels.slice(0, 6).map(() => grey()) }),
    ).to.not.include("NaN");
    expect(await rejection(placeFeatures({ values: new Float32Array(3), rows: 3, dim: 1 }, { seed: 0 }))).to.include(
      "map: expected at least 4 images, got 3",
    );
  });
});
