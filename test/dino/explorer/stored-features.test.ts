import { utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { readFeatures } from "../../../dino/evaluation/feature-files.js";
import { updateFeatures } from "../../../dino/explorer/stored-features.js";
import type { ImageSet } from "../../../dino/images/image-set.js";
import { openData } from "../../../dino/images/sources/open.js";
import type { Extracted } from "../../../dino/model/extract.js";
import { drawFolder } from "../../support/command-line.js";
import { rejection } from "../../support/rejection.js";
import { temporaryFolders } from "../../support/temporary-folders.js";

describe("features of an explorer", () => {
  const folder = temporaryFolders("dino-explorer");

  /** Twelve images, and a function that brings their features up to date and returns the names of those it made. */
  async function open() {
    const [photos, out] = [await folder(), await folder()];
    await drawFolder(photos, 6);
    const update = async (options: { readonly extraction?: string; readonly failAfter?: number } = {}) => {
      const { extraction = "one", failAfter = Infinity } = options;
      const images = await openData(photos);
      const made: string[] = [];
      const extract = (indices: Int32Array) => batches(images, indices, { made, failAfter });
      const source = { data: photos, checkpoint: "network", which: "teacher" } as const;
      const done = updateFeatures({ folder: out, images, source, extraction, extract, partMs: 0 });
      return { made, found: await done.catch((error: unknown) => error as Error) };
    };
    return { photos, out, update };
  }

  it("are made once, and for changed, new and removed images alone", async () => {
    const { photos, out, update } = await open();
    const first = await update();
    expect(first.made).to.have.length(12);
    expect((await update()).made).to.deep.equal([]);
    const changed = join(photos, "red", "2.png");
    await utimes(changed, new Date(), new Date(Date.now() + 60_000));
    await drawFolder(photos, 7);
    await utimes(changed, new Date(), new Date(Date.now() + 120_000));
    const second = await update();
    expect(second.made).to.include.members(["red/2.png", "red/6.png", "blue/6.png"]);
    const { features, list } = await readFeatures(join(out, "features.npy"));
    expect(list.files).to.have.length(14);
    for (const [row, file] of list.files.entries()) expect(features.values[2 * row]).to.equal(file.length);
  });

  it("of a stopped run are not made again", async () => {
    const { update } = await open();
    const stopped = await update({ failAfter: 2 });
    expect((stopped.found as Error).message).to.equal("stopped");
    const rest = await update();
    expect(stopped.made.length + rest.made.length).to.equal(12);
    expect(new Set([...stopped.made, ...rest.made])).to.have.property("size", 12);
  });

  it("of another network are made again, those of another program never replaced", async () => {
    const { photos, update } = await open();
    await update();
    expect((await update({ extraction: "two" })).made).to.have.length(12);
    const other = await folder();
    await writeFile(join(other, "features.npy"), "of another program");
    const images = await openData(photos);
    const source = { data: photos, checkpoint: "", which: "teacher" } as const;
    const extract = (indices: Int32Array) => batches(images, indices, { made: [], failAfter: 0 });
    const refused = updateFeatures({ folder: other, images, source, extraction: "", extract });
    expect(await rejection(refused)).to.match(
      /holds features.npy, which dino explore did not write; name another folder/,
    );
  });
});

/** Features [length of the name, index] in batches of three; fails after some batches. */
async function* batches(
  images: ImageSet,
  wanted: Int32Array,
  { made, failAfter }: { readonly made: string[]; readonly failAfter: number },
): AsyncGenerator<Extracted> {
  for (let from = 0, count = 0; from < wanted.length; from += 3, count++) {
    if (count === failAfter) throw new Error("stopped");
    const indices = wanted.slice(from, from + 3);
    const names = Array.from(indices, (index) => images.name(index));
    made.push(...names);
    const values = Float32Array.from(names.flatMap((name, i) => [name.length, indices[i]!]));
    yield await Promise.resolve({ features: { values, rows: names.length, dim: 2 }, indices, failures: [] });
  }
}
