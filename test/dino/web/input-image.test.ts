import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import sharp from "sharp";
import { encodeNpyBytes } from "../../../dino/files/npy.js";
import type { Image } from "../../../dino/images/pixels.js";
import { decodingOf, type Reading } from "../../../dino/images/reading.js";
import { decodeImage } from "../../../dino/images/sources/decode.js";
import { type InputImage, isForNetwork, readInput } from "../../../dino/web/viewer/input-image.js";
import { fuzzRuns } from "../../support/fuzz.js";
import { rejection } from "../../support/rejection.js";
import { drawSpectralFolder, spectralChannels } from "../../support/spectral-images.js";
import { tiff, type TiffPage } from "../images/formats/written-formats.js";
import { inFolder, noise } from "../images/sources/written-images.js";

const five = { channels: 5, channelNames: spectralChannels };
const colors = { channels: 3, channelNames: null };
const gray = { channels: 1, channelNames: null };

const input = (bytes: Uint8Array, name = "a.tif"): InputImage => ({ name, image: new Blob([Uint8Array.from(bytes)]) });

/** A page of one row of bytes. */
const page = (channels: number, samples: readonly number[]): TiffPage => ({
  ...{ rows: 1, cols: samples.length / channels, channels, bits: 8, samples: Uint8Array.from(samples) },
});

describe("images for a network of the viewer", () => {
  it("are TIFF files as Node reads them, of any channels and range", () =>
    inFolder(async (folder) => {
      await drawSpectralFolder(folder, 1);
      const path = join(folder, "water", "0.tif");
      for (const range of ["depth", [0, 4095], [0, 4095, 0, 4095, 0, 4095, 0, 2000, 0, 1000]] as const) {
        const reading: Reading = { channels: 5, range };
        const expected = await decodeImage({ name: path, bytes: { kind: "file", path } }, decodingOf(reading));
        expect(await readInput(input(await readFile(path)), five, reading), String(range)).to.deep.include(expected);
      }
      const { pixels, rows, cols } = noise(7);
      for (const channels of [1, 3] as const) {
        const written = sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } }).toColourspace(
          channels === 1 ? "b-w" : "srgb",
        );
        for (const compression of ["none", "lzw", "deflate", "packbits"] as const) {
          const bytes = await written.clone().tiff({ compression, predictor: "none" }).toBuffer();
          const file = join(folder, "written.tif");
          await writeFile(file, bytes);
          const place = { name: file, bytes: { kind: "file", path: file } } as const;
          const expected = await decodeImage(place, { channels });
          const taken = channels === 1 ? gray : colors;
          expect(await readInput(input(bytes), taken, {}), compression).to.deep.include(expected);
        }
      }
    }));

  it("are pages as channels, where the network reads them so", async () => {
    const pages = tiff([page(1, [1, 2]), page(1, [3, 4])]);
    const two = { channels: 2, channelNames: null };
    const image = await readInput(input(pages), two, { channels: 2, pages: "channels" });
    expect([...image.pixels]).to.deep.equal([1, 3, 2, 4]);
    expect([...(await readInput(input(pages), gray, { channels: 1 })).pixels], "the first page").to.deep.equal([1, 2]);
  });

  it("are bytes of .npy files and pictures of the browser as they are", async () => {
    const values = Uint8Array.from({ length: 30 }, (_, i) => i);
    const npy = encodeNpyBytes({ values, shape: [2, 3, 5] });
    expect(await readInput(input(npy), five, {})).to.deep.include({ rows: 2, cols: 3, pixels: values });
    const picture: Image = { rows: 2, cols: 5, pixels: values };
    for (const taken of [gray, colors])
      expect(await readInput({ name: "a.png", image: picture }, taken, {})).to.deep.equal(picture);
    expect(await isForNetwork(new Blob([npy]))).to.equal(true);
    expect(await isForNetwork(new Blob([Uint8Array.from(tiff([page(1, [1])]))]))).to.equal(true);
    expect(await isForNetwork(new Blob(["\x89PNG\r\n\x1a\n"]))).to.equal(false);
  });

  it("lie on the background of the network where they are transparent", async () => {
    const image: Image = { rows: 1, cols: 2, pixels: Uint8Array.of(10, 20, 30, 255, 0, 0, 0, 0) };
    const read = async (reading: Reading) => [...(await readInput({ name: "a.png", image }, colors, reading)).pixels];
    expect(await read({ background: "white" })).to.deep.equal([10, 20, 30, 255, 255, 255]);
    expect(await read({}), "alpha, which the network drops").to.deep.equal([...image.pixels]);
    const rgba = tiff([page(4, [10, 20, 30, 255, 0, 0, 0, 0])]);
    const drawn = await readInput(input(rgba), colors, { background: "gray" });
    expect([...drawn.pixels]).to.deep.equal([10, 20, 30, 128, 128, 128]);
    expect(await rejection(readInput({ name: "a.png", image }, five, {}))).to.include("got 3 channels");
  });

  it("have the channels that the network takes; an error says which", async () => {
    const image: Image = { rows: 1, cols: 2, pixels: new Uint8Array(6) };
    expect(await rejection(readInput({ name: "a.png", image }, five, {}))).to.equal(
      "a.png: expected a TIFF of 5 channels (blue, green, red, nir, swir), or a .npy file of uint8 [rows, columns, 5], got 3 " +
        "channels; open such a file, or choose another model",
    );
    const twelve = Array.from({ length: 12 }, (_, i) => i);
    expect(
      await rejection(readInput(input(tiff([page(4, twelve)])), { channels: 6, channelNames: null }, {})),
    ).to.match(/^a\.tif: expected a TIFF of 6 channels, or .*, got 4 channels; /);
    expect(await rejection(readInput(input(tiff([page(6, twelve)])), colors, {}))).to.match(
      /^a\.tif: expected a picture that this browser reads, .* or a TIFF of gray or color, got 6 channels; /,
    );
    expect([...(await readInput(input(tiff([page(4, twelve)])), colors, {})).pixels]).to.have.length(12);
  });

  it("are refused by name when they are damaged", async () => {
    const empty = encodeNpyBytes({ values: new Uint8Array(0), shape: [0, 3, 5] });
    expect(await rejection(readInput(input(empty, "a.npy"), five, {}))).to.equal(
      "a.npy: npy: expected at least one pixel, got [0, 3, 5]",
    );
    const whole = [
      tiff([page(5, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])]),
      encodeNpyBytes({ values: new Uint8Array(10), shape: [1, 2, 5] }),
    ];
    const change = fc.record({ at: fc.nat(), value: fc.nat(255), cut: fc.nat(40), of: fc.nat(1) });
    await fc.assert(
      fc.asyncProperty(change, async ({ at, value, cut, of }) => {
        const bytes = Uint8Array.from(whole[of]!).subarray(0, whole[of]!.length - (at % 3 === 0 ? cut : 0));
        bytes[at % bytes.length] = value;
        await readInput(input(bytes, "a.file"), five, {}).then(
          ({ rows, cols, pixels }) => expect(pixels).to.have.length(rows * cols * 5),
          (error: unknown) => expect((error as Error).message).to.match(/^a\.file: ./),
        );
      }),
      { numRuns: fuzzRuns(300), examples: [[{ at: 22, value: 11, cut: 0, of: 0 }]] }, // a width that is a float
    );
  });
});
