import { mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { type CacheOptions, withFeatureCache } from "../../../dino/evaluation/feature-cache.js";
import type { Extract } from "../../../dino/evaluation/labelled.js";
import { memoryImages } from "../../../dino/images/image-set.js";
import { openImages } from "../../../dino/images/sources/folder-images.js";
import { fullSubset } from "../../../dino/images/split.js";
import type { View } from "../../../dino/model/backbone.js";
import { pixelFeatures } from "../../../dino/model/extract.js";
import { drawFolder } from "../../support/command-line.js";

const view: View = { resize: 4, crop: { rows: 4, cols: 4 }, mean: [0, 0, 0], std: [1, 1, 1] };

describe("kept features", () => {
  let folder: string;
  let photos: string;
  let options: CacheOptions;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "kept-"));
    photos = join(folder, "photos");
    await drawFolder(photos, 3);
    await writeFile(join(photos, "red", "torn.png"), "torn");
    await writeFile(join(folder, "checkpoint"), "some weights");
    options = {
      folder: join(folder, "cache"),
      checkpoint: join(folder, "checkpoint"),
      ...{ which: "teacher", view, descriptor: "pixels" },
    };
  });
  afterEach(() => rm(options.folder, { recursive: true, force: true }));
  after(() => rm(folder, { recursive: true }));

  /** Features by way of the cache, and how many images were looked at for them. */
  async function look(changes: Partial<CacheOptions> = {}, indices?: readonly number[]) {
    let made = 0;
    const extract: Extract = async ({ images, indices: all }) => {
      made += all.length;
      return pixelFeatures(images, { view, indices: all });
    };
    const kept = await withFeatureCache({ ...options, ...changes }, extract);
    const whole = fullSubset(await openImages(photos));
    const found = await kept(indices ? { ...whole, indices: Int32Array.from(indices) } : whole, "images");
    return { ...found, made };
  }

  it("are made once, of the whole set, and then found, without what could not be decoded", async () => {
    const direct = await pixelFeatures(await openImages(photos), { view });
    const first = await look();
    const second = await look();
    expect([first.made, second.made]).to.deep.equal([7, 0]);
    for (const { features, indices, failures } of [first, second]) {
      expect({ features, indices }).to.deep.equal({ features: direct.features, indices: direct.indices });
      expect(failures.map(({ path }) => path)).to.deep.equal(["red/torn.png"]);
    }
  });

  it("serve any part of a set", async () => {
    const { features: all } = await look();
    const some = await look({}, [5, 6, 1]); // 6 is torn
    expect(some.made).to.equal(0);
    expect([...some.indices]).to.deep.equal([5, 1]);
    const dim = all.dim;
    expect([...some.features.values]).to.deep.equal([
      ...all.values.subarray(5 * dim, 6 * dim),
      ...all.values.subarray(dim, 2 * dim),
    ]);
  });

  it("tell once where they were found", async () => {
    const told: number[] = [];
    const onFound = (_: string, images: number): void => void told.push(images);
    await look({ onFound });
    expect(told).to.deep.equal([]);
    const kept = await withFeatureCache({ ...options, onFound }, () => Promise.reject(new Error("not to be made")));
    const whole = fullSubset(await openImages(photos));
    await kept(whole, "train images");
    await kept({ ...whole, indices: Int32Array.of(0) }, "test images");
    expect(told).to.deep.equal([6]);
  });

  it("are made anew for another checkpoint, view, descriptor, network or image", async () => {
    await look();
    await writeFile(options.checkpoint, "other weights");
    expect((await look()).made).to.equal(7);
    expect((await look({ view: { ...view, resize: 5 } })).made).to.equal(7);
    expect((await look({ descriptor: "patches" })).made).to.equal(7);
    expect((await look({ which: "student" })).made).to.equal(7);
    await utimes(join(photos, "blue", "0.png"), 1, 1);
    expect((await look()).made).to.equal(7);
    expect((await look()).made).to.equal(0);
    expect((await readdir(options.folder)).filter((name) => name.endsWith(".npy"))).to.have.length(6);
  });

  it("of images in memory go by their pixels", async () => {
    const extract: Extract = ({ images }) => pixelFeatures(images, { view });
    const kept = await withFeatureCache(options, extract);
    for (const level of [10, 200]) {
      const images = [{ rows: 4, cols: 4, pixels: new Uint8Array(48).fill(level) }];
      const { features } = await kept(fullSubset(memoryImages({ images })), "images");
      expect(features.values[0]).to.be.closeTo(level / 255, 1e-6);
    }
  });
});
