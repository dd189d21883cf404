import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import {
  auditLabels,
  classifyImages,
  clusterImages,
  findOutliers,
  loadModel,
  memoryImages,
  type Model,
  selectImages,
} from "../../dino/index.js";
import { drawFolder, writeTinyCheckpoint } from "../support/command-line.js";
import { testDevice } from "../support/device.js";
import { rejection } from "../support/rejection.js";

describe("functions that explore images", function () {
  this.timeout(120_000);
  let folder: string;
  let photos: string;
  let model: Model;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "library-exploration-"));
    photos = join(folder, "photos");
    await drawFolder(photos, 8);
    await writeFile(join(photos, "blue", "torn.png"), "torn");
    const checkpoint = join(folder, "run.safetensors");
    await writeTinyCheckpoint(checkpoint);
    model = await loadModel(checkpoint, { device: await testDevice() });
  });
  after(async () => {
    model[Symbol.dispose]();
    await rm(folder, { recursive: true });
  });

  const colorOf = (name: string): string => name.slice(0, name.indexOf("/"));
  const failed = (failures: readonly { readonly path: string }[]) => failures.map(({ path }) => path);

  it("find the groups of two colours", async () => {
    const { groups, noise, failures } = await clusterImages(model, photos, { groups: 2 });
    expect(groups.map(({ images }) => new Set(images.map(colorOf)).size)).to.deep.equal([1, 1]);
    expect(groups.map(({ images }) => images.length)).to.deep.equal([8, 8]);
    expect([noise, failed(failures)]).to.deep.equal([[], ["blue/torn.png"]]);
    const dense = await clusterImages(model, photos, { minSize: 4 });
    expect(dense.groups.length).to.be.at.least(2);
    for (const { images } of dense.groups) expect(new Set(images.map(colorOf)).size).to.equal(1);
  });

  it("score all images, a stranger first", async () => {
    const pixels = (color: number) => Uint8Array.from({ length: 300 }, (_, i) => (i % 3 === color ? 200 : i % 7));
    const images = [0, 0, 0, 1, 0, 0].map((color) => ({ rows: 10, cols: 10, pixels: pixels(color) }));
    for (const [i, image] of images.entries()) image.pixels[i] = 90 + i;
    const { outliers } = await findOutliers(model, memoryImages({ images }), { k: 2 });
    expect(outliers).to.have.length(6);
    expect(outliers[0]!.image).to.equal("image 3");
  });

  it("doubt a wrong label, and none of the classes", async () => {
    expect((await auditLabels(model, photos)).doubtful).to.deep.equal([]);
    const names = ["red", "blue"].flatMap((color) => [0, 1, 2, 3, 4].map((i) => `${color}/${i}.png`));
    const labels = Object.fromEntries(names.map((name) => [name, name === "red/3.png" ? "blue" : colorOf(name)]));
    const { doubtful } = await auditLabels(model, photos, { labels, by: "knn", k: 3 });
    expect(doubtful.map(({ image, label, suggested }) => [image, label, suggested])).to.deep.equal([
      ["red/3.png", "blue", "red"],
    ]);
  });

  it("choose images and label the others by them", async () => {
    const chosen = await selectImages(model, photos, { count: 3, given: ["red/1.png"] });
    expect(new Set([...chosen, "red/1.png"]).size).to.equal(4);
    const labels = Object.fromEntries([...chosen, "red/1.png", "blue/1.png"].map((name) => [name, colorOf(name)]));
    const { images, failures } = await classifyImages(model, photos, { labels });
    expect(images).to.have.length(16);
    for (const { image, label } of images) expect(label).to.equal(colorOf(image));
    expect(failed(failures)).to.deep.equal(["blue/torn.png"]);
  });

  it("refuse unknown images and images without labels", async () => {
    expect(await rejection(selectImages(model, photos, { count: 1, given: ["x.png"] }))).to.include("got x.png");
    const labels = { "red/1.png": "a", "x.png": "b" };
    expect(await rejection(classifyImages(model, photos, { labels }))).to.include("classifyImages: expected labels of");
    const images = memoryImages({ images: [{ rows: 1, cols: 1, pixels: new Uint8Array(3) }] });
    expect(await rejection(auditLabels(model, images))).to.include("expected labels, since the images have no classes");
    expect(await rejection(clusterImages(model, images, { groups: 1 }))).to.include("at least 2 images, got 1");
  });
});
