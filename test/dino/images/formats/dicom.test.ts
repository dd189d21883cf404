import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { measureImage } from "../../../../dino/images/sources/folder-images.js";
import { openData } from "../../../../dino/images/sources/open.js";
import { rejection } from "../../../support/rejection.js";
import { imagesOf, inFolder, survivesDamage } from "../sources/written-images.js";

const LITTLE_ENDIAN = "1.2.840.10008.1.2.1";
const BASELINE_JPEG = "1.2.840.10008.1.2.4.50";

/** An element with an explicit type. */
function element(group: number, number: number, type: string, value: Buffer): Buffer {
  const isLong = ["OB", "OW"].includes(type);
  const head = Buffer.alloc(isLong ? 12 : 8);
  head.writeUInt16LE(group);
  head.writeUInt16LE(number, 2);
  head.write(type, 4);
  const padded = Buffer.concat([value, Buffer.alloc(value.length % 2, type === "UI" || isLong ? 0 : 0x20)]);
  if (isLong) head.writeUInt32LE(padded.length, 8);
  else head.writeUInt16LE(padded.length, 6);
  return Buffer.concat([head, padded]);
}

const short = (value: number): Buffer => Buffer.from(Uint16Array.of(value).buffer);

interface Fields {
  readonly rows: number;
  readonly cols: number;
  readonly bits?: number;
  readonly stored?: number;
  readonly isSigned?: boolean;
  readonly channels?: number;
  readonly isPlanar?: boolean;
  readonly photometric?: string;
  readonly frames?: number;
  readonly window?: readonly [center: string, width: string];
  readonly rescale?: readonly [intercept: string, slope: string];
  readonly syntax?: string;
}

/** A DICOM file; the pixels of another syntax than little endian are one fragment. */
function dicom(fields: Fields, pixels: Uint8Array): Buffer {
  const { rows, cols, bits = 16, stored = bits, isSigned, channels = 1, isPlanar, frames, window, rescale } = fields;
  const { photometric = "MONOCHROME2", syntax = LITTLE_ENDIAN } = fields;
  const text = (group: number, number: number, type: string, value: string): Buffer =>
    element(group, number, type, Buffer.from(value));
  const item = (bytes: Uint8Array): Buffer =>
    Buffer.concat([Buffer.from("feff00e0", "hex"), Buffer.from(Uint32Array.of(bytes.length).buffer), bytes]);
  const encapsulated = (): Buffer =>
    Buffer.concat([
      Buffer.from("e07f10004f420000ffffffff", "hex"),
      item(new Uint8Array(0)),
      item(pixels),
      Buffer.from("feffdde000000000", "hex"),
    ]);
  return Buffer.concat([
    Buffer.alloc(128),
    Buffer.from("DICM"),
    text(2, 0x10, "UI", syntax),
    element(0x28, 0x02, "US", short(channels)),
    text(0x28, 0x04, "CS", photometric),
    element(0x28, 0x06, "US", short(isPlanar ? 1 : 0)),
    ...(frames === undefined ? [] : [text(0x28, 0x08, "IS", `${frames}`)]),
    element(0x28, 0x10, "US", short(rows)),
    element(0x28, 0x11, "US", short(cols)),
    element(0x28, 0x100, "US", short(bits)),
    element(0x28, 0x101, "US", short(stored)),
    element(0x28, 0x103, "US", short(isSigned ? 1 : 0)),
    ...(window ? [text(0x28, 0x1050, "DS", window[0]), text(0x28, 0x1051, "DS", window[1])] : []),
    ...(rescale ? [text(0x28, 0x1052, "DS", rescale[0]), text(0x28, 0x1053, "DS", rescale[1])] : []),
    syntax === LITTLE_ENDIAN ? element(0x7fe0, 0x10, "OW", Buffer.from(pixels)) : encapsulated(),
  ]);
}

const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Int16Array.from(values).buffer);

/** The red channel of each image of a file. */
async function reds(bytes: Buffer, name = "a"): Promise<readonly number[][]> {
  return inFolder(async (folder) => {
    await writeFile(join(folder, name), bytes);
    const set = await openData(join(folder, name));
    const images = await imagesOf(set);
    const [{ rows, cols }] = images as [(typeof images)[0]];
    expect(await measureImage(set, 0)).to.deep.equal({ rows, cols });
    return images.map(({ pixels }) => [...pixels].filter((_, i) => i % 3 === 0));
  });
}

async function reason(bytes: Buffer): Promise<string> {
  return inFolder(async (folder) => {
    await writeFile(join(folder, "a.dcm"), bytes);
    return rejection((await openData(join(folder, "a.dcm"))).decode(0));
  });
}

describe("DICOM files", () => {
  const row = { rows: 1, cols: 4 };

  it("map unsigned values by the stored bits, and signed ones by their minimum and maximum", async () => {
    expect(await reds(dicom({ ...row, stored: 12 }, words(0, 2048, 4095, 1)))).to.deep.equal([[0, 128, 255, 0]]);
    expect(await reds(dicom({ ...row, bits: 8 }, Uint8Array.of(0, 7, 99, 255)), "a.DCM")).to.deep.equal([
      [0, 7, 99, 255],
    ]);
    expect(await reds(dicom({ ...row, isSigned: true }, words(-1000, -500, 0, 1000)))).to.deep.equal([
      [0, 64, 128, 255],
    ]);
    const overlay = dicom({ ...row, stored: 12, isSigned: true }, words(0x1fff, 0x0000, 0x07ff, 0x0800));
    expect(await reds(overlay)).to.deep.equal([[127, 128, 255, 0]]);
    const inverted = dicom({ ...row, stored: 12, photometric: "MONOCHROME1" }, words(0, 2048, 4095, 1));
    expect(await reds(inverted)).to.deep.equal([[255, 127, 0, 255]]);
  });

  it("follow the window of the file, in units that the file defines", async () => {
    const soft = { ...row, isSigned: true, window: ["40.5", "401"], rescale: ["-1024", "2"] } as const;
    expect(await reds(dicom(soft, words(0, 432, 533, 632)))).to.deep.equal([[0, 0, 129, 255]]);
  });

  it("give colors, by pixel or by plane, and every frame", async () => {
    await inFolder(async (folder) => {
      const color = { rows: 1, cols: 2, bits: 8, channels: 3, photometric: "RGB" };
      await writeFile(join(folder, "a.dcm"), dicom(color, Uint8Array.of(1, 2, 3, 4, 5, 6)));
      await writeFile(join(folder, "b.dcm"), dicom({ ...color, isPlanar: true }, Uint8Array.of(1, 4, 2, 5, 3, 6)));
      await writeFile(
        join(folder, "c.dcm"),
        dicom({ rows: 1, cols: 2, bits: 8, frames: 2 }, Uint8Array.of(7, 8, 9, 10)),
      );
      const set = await openData(folder);
      const [first, second, ...frames] = await imagesOf(set);
      expect([...first!.pixels]).to.deep.equal([1, 2, 3, 4, 5, 6]);
      expect(second).to.deep.equal(first);
      expect([set.name(2), set.name(3)]).to.deep.equal(["c.dcm#1", "c.dcm#2"]);
      expect(frames.map(({ pixels }) => [...pixels])).to.deep.equal([
        [7, 7, 7, 8, 8, 8],
        [9, 9, 9, 10, 10, 10],
      ]);
      const tiles = await openData(join(folder, "a.dcm"), { tile: 1 });
      expect((await imagesOf(tiles)).map(({ pixels }) => [...pixels])).to.deep.equal([
        [1, 2, 3],
        [4, 5, 6],
      ]);
    });
  });

  it("give what baseline JPEG holds, and name other compressions", async () => {
    const jpeg = await sharp({ create: { width: 8, height: 8, channels: 3, background: { r: 200, g: 20, b: 40 } } })
      .jpeg()
      .toBuffer();
    const fields = { rows: 8, cols: 8, bits: 8, channels: 3, photometric: "YBR_FULL_422", syntax: BASELINE_JPEG };
    const [red] = await reds(dicom(fields, jpeg));
    expect(red).to.have.length(64);
    for (const value of red!) expect(value).to.be.closeTo(200, 3);
    expect(await reason(dicom({ ...fields, syntax: "1.2.840.10008.1.2.4.90" }, jpeg))).to.match(
      /DICOM: expected pixels without compression or as baseline JPEG, got transfer syntax 1\.2\.840\.10008\.1\.2\.4\.90; decompress/,
    );
  });

  it("say what is wrong with them", async () => {
    expect(await reason(dicom({ ...row, rows: 2 }, words(1, 2, 3, 4)))).to.match(
      /DICOM: expected 8 values in frame 1, got a file that is cut off/,
    );
    expect(await reason(dicom({ ...row, photometric: "PALETTE COLOR" }, words(1, 2, 3, 4)))).to.match(
      /DICOM: expected gray or RGB of 8, 16 or 32 bits, got 1 PALETTE COLOR of 16 bits/,
    );
    expect(await reason(dicom({ ...row, rows: 0 }, words()))).to.match(/expected at least one pixel, got 4 x 0/);
  });

  it("do no harm when they are damaged", () =>
    inFolder((folder) => {
      const bytes = dicom({ rows: 3, cols: 4, frames: 2, window: ["5", "10"] }, words(...Array(24).keys()));
      return survivesDamage(join(folder, "a.dcm"), bytes, openData, { runs: 500, name: "a.dcm" });
    }));
});
