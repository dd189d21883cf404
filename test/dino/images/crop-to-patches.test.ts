import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { fittedSize, fitToPatches, MAX_PATCHES } from "../../../dino/images/crop-to-patches.js";
import { openSubjects } from "../../../dino/images/sources/image-files.js";
import { rejection } from "../../support/rejection.js";
import { inFolder, noise, pngOf } from "./sources/written-images.js";

describe("images in whole patches", () => {
  it("have at most so many patches, and say what to change", () => {
    const fit = { size: 32, patch: 8 };
    expect(() => fittedSize({ rows: 1, cols: 4000 }, fit)).to.throw(
      "an image of 4000 x 1, shown at 128000 x 32, holds 64000 patches of 8; expected at most 32768; lower --image-size, " +
        "set it to ROWSxCOLS, or crop the image",
    );
    const most = { rows: 32, cols: (MAX_PATCHES / 4) * 8 };
    expect(fittedSize(most, fit)).to.deep.equal(most);
    expect(() => fittedSize({ ...most, cols: most.cols + 8 }, fit)).to.throw("holds 32772 patches");
    const started = performance.now();
    expect(() => fitToPatches({ rows: 1, cols: 10 ** 8, pixels: new Uint8Array(0) }, fit)).to.throw("patches of 8");
    expect(performance.now() - started).to.be.below(1000);
  });

  it("are refused by name where the file is named, and passed over in folders", () =>
    inFolder(async (folder) => {
      await writeFile(join(folder, "wide.png"), await pngOf({ rows: 1, cols: 4000, pixels: new Uint8Array(12_000) }));
      await writeFile(join(folder, "x.png"), await pngOf(noise(0)));
      const fit = { size: 32, patch: 8 };
      expect(await rejection(openSubjects([join(folder, "wide.png")], fit))).to.match(
        /wide\.png: an image of 4000 x 1, /,
      );
      const { subjects, failures } = await openSubjects([folder], fit);
      expect([subjects.length, failures.length]).to.deep.equal([1, 1]);
      expect(failures[0]!.path).to.match(/wide\.png$/);
    }));
});
