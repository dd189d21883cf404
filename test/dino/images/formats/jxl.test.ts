import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { measureImage } from "../../../../dino/images/sources/folder-images.js";
import { openData } from "../../../../dino/images/sources/open.js";
import { rejection } from "../../../support/rejection.js";
import { imagesOf, inFolder, survivesDamage } from "../sources/written-images.js";

/** Written by cjxl 0.7: 4 x 3 pixels [60 row, 50 col, 10 (row + col)] without loss, bare and in a container. */
const BARE = "/woQMBBQXAgIAgEAZABLGJvtTkFBQjnRH6BgHOMwOTkJIIqiRzwC";
const CONTAINER =
  "AAAADEpYTCANCocKAAAAFGZ0eXBqeGwgAAAAAGp4bCAAAAAxanhsY/8KEDAQUFwICAIBAGwASxib7U5BQUI50R/AgXGMw9ra2gUuIIqiRzwC";
/** Gray values 0, 4096 and 65535 of 16 bits. */
const WIDE = "AAAADEpYTCANCocKAAAAFGZ0eXBqeGwgAAAAAGp4bCAAAAAJanhsbAoAAAAlanhsY/8KAAAE4AcoLgQIAgEANABLGIsVQooELo4AwP7f";

const expected = Array.from({ length: 3 }, (_, row) =>
  Array.from({ length: 4 }, (__, col) => [60 * row, 50 * col, 10 * (row + col)]),
).flat(2);

describe("JPEG XL files", () => {
  it("give their pixels, bare and in a container, and tiles of them", () =>
    inFolder(async (folder) => {
      await writeFile(join(folder, "a.jxl"), Buffer.from(BARE, "base64"));
      await writeFile(join(folder, "b"), Buffer.from(CONTAINER, "base64"));
      await writeFile(join(folder, "c.JXL"), Buffer.from(WIDE, "base64"));
      const set = await openData(folder);
      const [bare, contained, wide] = await imagesOf(set);
      expect(bare).to.deep.equal({ rows: 3, cols: 4, pixels: Uint8Array.from(expected) });
      expect(contained).to.deep.equal(bare);
      expect([...wide!.pixels]).to.deep.equal([0, 0, 0, 16, 16, 16, 255, 255, 255]);
      expect(await measureImage(set, 0)).to.deep.equal({ rows: 3, cols: 4 });
      const tiles = await openData(join(folder, "a.jxl"), { tile: 2 });
      expect([tiles.count, tiles.name(3)]).to.deep.equal([4, "a.jxl#2x2+2+1"]);
      const [, , , last] = await imagesOf(tiles);
      expect([...last!.pixels]).to.deep.equal([...expected.slice(18, 24), ...expected.slice(30, 36)]);
    }));

  it("say what is wrong with them", () =>
    inFolder(async (folder) => {
      const reason = async (bytes: Buffer, maxPixels?: number) => {
        await writeFile(join(folder, "a.jxl"), bytes);
        return rejection((await openData(join(folder, "a.jxl"), { maxPixels })).decode(0));
      };
      const whole = Buffer.from(BARE, "base64");
      expect(await reason(whole.subarray(0, -3))).to.match(/a\.jxl: JPEG XL: the file is cut off$/);
      expect(await reason(whole.subarray(0, 3))).to.match(/a\.jxl: JPEG XL: the file is cut off within its header$/);
      expect(await reason(whole, 11)).to.match(
        /JPEG XL: 4 x 3 exceeds pixel limit of 11; --max-pixels sets the limit$/,
      );
    }));

  it("do no harm when they are damaged", () =>
    inFolder((folder) =>
      survivesDamage(join(folder, "a.jxl"), Buffer.from(CONTAINER, "base64"), openData, { runs: 500 }),
    ));
});
