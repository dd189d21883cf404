import { readdir, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { updateThumbnails } from "../../../dino/explorer/thumbnails.js";
import { rng } from "../../../dino/math/random.js";
import { temporaryFolders } from "../../support/temporary-folders.js";

describe("thumbnails of an explorer", () => {
  const folder = temporaryFolders("dino-thumbnails");
  const random = rng({ seed: 0, purpose: "noise" });
  /** Noise, the hardest to encode. */
  const noise = (rows: number, cols: number) => ({
    ...{ rows, cols },
    pixels: Uint8Array.from({ length: rows * cols * 3 }, () => random.integer(256)),
  });

  /** Size of an image that is larger than its thumbnail; the others are as large. */
  const sizes: Readonly<Record<string, readonly [number, number]>> = { a: [200, 150] };

  async function update(path: string, stamps: readonly string[]) {
    const decoded: number[] = [];
    const read = await updateThumbnails({
      ...{ folder: path, stamps },
      decode: (row) => {
        decoded.push(row);
        return Promise.resolve(
          stamps[row] === "bad" ? { path: "bad", reason: "broken" } : noise(...(sizes[stamps[row]!] ?? [96, 96])),
        );
      },
    });
    return { read, decoded };
  }

  it("are at most 96 pixels and 4 KiB, and empty for an image that cannot be decoded", async () => {
    const { read } = await update(await folder(), ["a", "bad", "b"]);
    const bytes = await read(0);
    expect(bytes.length).to.be.within(500, 4096);
    const { width, height, format } = await sharp(bytes).metadata();
    expect({ width, height, format }).to.deep.equal({ width: 72, height: 96, format: "webp" });
    expect(await read(1)).to.have.length(0);
    expect((await read(2)).length).to.be.within(500, 4096);
  });

  it("are made once, also for images that moved to other rows, and again where a file is cut off", async () => {
    const path = await folder();
    const first = await update(path, ["a", "b", "c"]);
    const bytes = await first.read(0);
    const second = await update(path, ["c", "new", "a"]);
    expect(second.decoded).to.deep.equal([1]);
    expect(await second.read(2)).to.deep.equal(bytes);
    const pack = join(path, "thumbnails", "0.pack");
    await truncate(pack, (await stat(pack)).size - 1);
    expect((await update(path, ["c", "new", "a"])).decoded).to.deep.equal([0, 2]);
  });

  it("leave no more than as much room for images that are gone", async () => {
    const path = await folder();
    await update(path, ["a", "b", "c"]);
    await update(path, ["a", "d"]);
    expect(await readdir(join(path, "thumbnails"))).to.deep.equal(["0.pack"]);
  });
});
