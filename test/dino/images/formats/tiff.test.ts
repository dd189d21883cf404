import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { isFailure } from "../../../../dino/images/image-location.js";
import type { Image } from "../../../../dino/images/pixels.js";
import { decodeImage, measureSize } from "../../../../dino/images/sources/decode.js";
import { openData } from "../../../../dino/images/sources/open.js";
import { inFolder, noise, survivesDamage } from "../sources/written-images.js";
import { tiff, type TiffPage } from "./written-formats.js";

/** Decodes a file of these bytes, from memory and from disk, which must agree. */
async function decode(bytes: Buffer): Promise<Image | string> {
  return inFolder(async (folder) => {
    const path = join(folder, "a");
    await writeFile(path, bytes);
    const places = [
      { name: "a", bytes: { kind: "file", path } },
      { name: "a", bytes: { kind: "memory", memory: bytes, start: 0, size: bytes.length } },
    ] as const;
    const [image, again] = [await decodeImage(places[0]), await decodeImage(places[1])];
    expect(image).to.deep.equal(again);
    if (isFailure(image)) return image.reason;
    expect(await measureSize(places[0])).to.deep.equal({ rows: image.rows, cols: image.cols });
    return image;
  });
}

/** Decodes pages of one row and returns the red channel. */
async function row(page: Omit<TiffPage, "rows" | "cols"> & { readonly cols?: number }): Promise<number[] | string> {
  const { channels = 1, bits, samples } = page;
  const cols = page.cols ?? (samples.length * 8) / bits / channels;
  const image = await decode(tiff([{ ...page, rows: 1, cols }]));
  return typeof image === "string" ? image : Array.from({ length: cols }, (_, i) => image.pixels[3 * i]!);
}

const bytesOf = (array: Uint16Array | Int16Array | Uint32Array | Float32Array | Float64Array): Uint8Array =>
  new Uint8Array(array.buffer);

describe("TIFF files", () => {
  it("give what sharp wrote, in 8 and 16 bits, in strips and tiles, compressed or not", async () => {
    const { rows, cols, pixels } = await sharp({
      create: {
        width: 150,
        height: 130,
        channels: 3,
        background: "white",
        noise: { type: "gaussian", mean: 128, sigma: 60 },
      },
    })
      .raw()
      .toBuffer({ resolveWithObject: true })
      .then(({ data, info }) => ({ rows: info.height, cols: info.width, pixels: new Uint8Array(data) }));
    const image = sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } });
    for (const compression of ["none", "lzw", "deflate", "packbits"] as const)
      for (const tile of [false, true]) {
        const written = { compression, tile, tileWidth: 64, tileHeight: 64 } as const;
        expect(await decode(await image.clone().tiff(written).toBuffer()), compression).to.deep.equal({
          rows,
          cols,
          pixels,
        });
        const wide = await image.clone().toColourspace("rgb16").tiff(written).toBuffer();
        expect((await sharp(wide).metadata()).depth).to.equal("ushort");
        expect(await decode(wide), `${compression}, 16 bits`).to.deep.equal({ rows, cols, pixels });
      }
  });

  it("map unsigned integers by their full range, or by the range that the file states", async () => {
    const values = Uint16Array.of(0, 256, 4095, 32768, 65535);
    expect(await row({ bits: 16, samples: bytesOf(values) })).to.deep.equal([0, 1, 15, 128, 255]);
    const range = [
      [280, "short", [0]],
      [281, "short", [4095]],
    ] as const;
    expect(await row({ bits: 16, samples: bytesOf(values), tags: range })).to.deep.equal([0, 16, 255, 255, 255]);
    expect(await row({ bits: 12, cols: 4, samples: Uint8Array.of(0, 0x08, 0, 0xff, 0xf0, 0x10) })).to.deep.equal([
      0, 128, 255, 1,
    ]);
    expect(await row({ bits: 1, cols: 4, samples: Uint8Array.of(0b0101_0000) })).to.deep.equal([0, 255, 0, 255]);
    const white = [[262, "short", [0]], ...range] as const;
    expect(await row({ bits: 16, samples: bytesOf(values), tags: white })).to.deep.equal([255, 239, 0, 0, 0]);
  });

  it("map floats and other integers by the minimum and maximum of the image", async () => {
    const expected = [0, 64, 128, 255];
    expect(await row({ bits: 32, format: "float", samples: bytesOf(Float32Array.of(-1, -0.5, 0, 1)) })).to.deep.equal(
      expected,
    );
    expect(
      await row({ bits: 64, format: "float", samples: bytesOf(Float64Array.of(1e9, 2e9, 3e9, 5e9)) }),
    ).to.deep.equal(expected);
    expect(
      await row({ bits: 16, format: "signed", samples: bytesOf(Int16Array.of(-1000, -500, 0, 1000)) }),
    ).to.deep.equal(expected);
    expect(await row({ bits: 32, samples: bytesOf(Uint32Array.of(1e9, 15e8, 2e9, 3e9)) })).to.deep.equal(expected);
    expect(await row({ bits: 32, format: "float", samples: bytesOf(Float32Array.of(7, 7)) })).to.deep.equal([0, 0]);
  });

  it("leave NaN, infinities and what GDAL calls missing out of the minimum and maximum", async () => {
    const values = Float32Array.of(NaN, Infinity, -Infinity, 0, 1, 2);
    expect(await row({ bits: 32, format: "float", samples: bytesOf(values) })).to.deep.equal([0, 255, 0, 0, 128, 255]);
    const missing = Float32Array.of(-9999, 10, 15, 20);
    const tags = [[42113, "text", "-9999"]] as const;
    expect(await row({ bits: 32, format: "float", samples: bytesOf(missing), tags })).to.deep.equal([0, 0, 128, 255]);
    expect(await row({ bits: 32, format: "float", samples: bytesOf(Float32Array.of(NaN, NaN)) })).to.deep.equal([0, 0]);
  });

  it("repeat gray, drop alpha, and say how many other channels there are", async () => {
    const wide = (count: number) => bytesOf(Uint16Array.from({ length: count }, (_, i) => i << 8));
    const pixelsOf = async (channels: number, page: Partial<TiffPage> = {}) => {
      const image = await decode(
        tiff([{ rows: 1, cols: 2, channels, bits: 16, samples: wide(2 * channels), ...page }]),
      );
      return typeof image === "string" ? image : [...image.pixels];
    };
    expect(await pixelsOf(1)).to.deep.equal([0, 0, 0, 1, 1, 1]);
    expect(await pixelsOf(2)).to.deep.equal([0, 0, 0, 2, 2, 2]);
    expect(await pixelsOf(3)).to.deep.equal([0, 1, 2, 3, 4, 5]);
    expect(await pixelsOf(3, { isPlanar: true })).to.deep.equal([0, 2, 4, 1, 3, 5]);
    expect(await pixelsOf(4)).to.deep.equal([0, 1, 2, 4, 5, 6]);
    expect(
      await pixelsOf(4, {
        tags: [
          [262, "short", [2]],
          [338, "short", [2]],
        ],
      }),
    ).to.deep.equal([0, 1, 2, 4, 5, 6]);
    expect(
      await pixelsOf(3, {
        tags: [
          [262, "short", [1]],
          [338, "short", [0, 0]],
        ],
      }),
    ).to.deep.equal([0, 1, 2, 3, 4, 5]);
    for (const channels of [5, 13])
      for (const isPlanar of [false, true])
        expect(await pixelsOf(channels, { isPlanar })).to.equal(
          `expected 1 to 4 channels (gray or RGB, alpha is dropped), got ${channels}; --channels ${channels} takes all`,
        );
  });

  it("are upright, as photos, as values, as channels, and in tiles", async () => {
    const size = { rows: 5, cols: 7 };
    const values = Uint8Array.from({ length: 35 }, (_, i) => 7 * i);
    const grays = (image: Image) => ({
      rows: image.rows,
      cols: image.cols,
      pixels: [...image.pixels].filter((_, i) => i % 3 === 0),
    });
    for (let orientation = 1; orientation <= 8; orientation++) {
      const tags = [[274, "short", [orientation]]] as const;
      const photo = await decode(tiff([{ ...size, bits: 8, samples: values, tags }]));
      const turned = await sharp(values, { raw: { width: 7, height: 5, channels: 1 } })
        .png()
        .toBuffer()
        .then((png) => sharp(png).withMetadata({ orientation }).png().toBuffer())
        .then((png) => sharp(png).autoOrient().raw().toBuffer({ resolveWithObject: true }));
      if (typeof photo === "string") throw new Error(photo);
      const expected = grays(photo);
      const { data, info } = turned;
      const step = info.channels;
      expect(expected, `${orientation}`).to.deep.equal({
        rows: info.height,
        cols: info.width,
        pixels: [...data].filter((_, i) => i % step === 0),
      });
      const floats = { bits: 32, format: "float", samples: bytesOf(Float32Array.from(values)) } as const;
      const stated = [...tags, [42113, "text", "-1"]] as const; // read by geotiff
      const page = { ...size, ...floats, tags: stated };
      const image = await decode(tiff([page]));
      if (typeof image === "string") throw new Error(image);
      const full = Math.max(...values);
      const scaled = { ...expected, pixels: expected.pixels.map((value) => Math.round((value * 255) / full)) };
      expect(grays(image), `${orientation}`).to.deep.equal(scaled);
      await inFolder(async (folder) => {
        for (const [name, pages, options] of [
          ["photo.tif", [{ ...size, bits: 8, samples: values, tags }], {}],
          ["values.tif", [page], {}],
          ["channels.tif", [page, page, page], { pages: "channels" }],
        ] as const) {
          await writeFile(join(folder, name), tiff(pages));
          const whole = name === "photo.tif" ? expected : scaled;
          const set = await openData(join(folder, name), { ...options, tile: 3 });
          for (let i = 0; i < set.count; i++) {
            const [, left, top] = /\+(\d+)\+(\d+)$/.exec(set.name(i))!.map(Number);
            const tile = await set.decode(i);
            if (isFailure(tile)) throw new Error(tile.reason);
            const shown = grays(tile);
            for (let at = 0; at < shown.pixels.length; at++) {
              const place = (top! + Math.floor(at / shown.cols)) * whole.cols + left! + (at % shown.cols);
              expect(shown.pixels[at], `${name} ${orientation}`).to.equal(whole.pixels[place]);
            }
          }
        }
      });
    }
  });

  it("are read in bands that give what the whole gives", async () => {
    const [rows, cols] = [1100, 4000]; // more values than a band
    const values = Uint16Array.from({ length: rows * cols }, (_, i) => (i * 7919) % 1021);
    const page = {
      rows,
      cols,
      bits: 16,
      samples: bytesOf(values),
      stripRows: 100,
      tags: [[281, "short", [1020]]],
    } as const;
    const memory = tiff([page]);
    const image = await decodeImage({ name: "a", bytes: { kind: "memory", memory, start: 0, size: memory.length } });
    if (isFailure(image)) throw new Error(image.reason);
    const wrong = values.findIndex((value, i) => Math.floor((value * 255) / 1020 + 0.5) !== image.pixels[3 * i]);
    expect(wrong).to.equal(-1);
  });

  it("say what is wrong with them", async () => {
    const page = { rows: 4, cols: 4, bits: 32, format: "float", samples: new Uint8Array(64) } as const;
    expect(await decode(tiff([page]).subarray(0, 100))).to.match(/^TIFF: /);
    expect(await decode(tiff([{ ...page, rows: 2 ** 30, cols: 2 ** 30 }]))).to.match(
      /exceeds pixel limit of 178956970; --max-pixels/,
    );
    const tall = { ...page, tags: [[257, "long", [2 ** 22]]] } as const;
    expect(await decode(tiff([tall]))).to.equal(
      "TIFF: expected 1048576 tiles or strips, got fewer; the file is damaged",
    );
    expect(await decode(tiff([{ ...page, rows: 0 }]))).to.equal("TIFF: page 1 is 4 x 0");
    expect(await decode(tiff([{ ...page, tags: [[262, "short", [8]]] }]))).to.match(
      /^TIFF: expected gray or RGB, got 1 channels of 32 bits, photometric interpretation 8/,
    );
  });

  for (const [name, page] of [
    ["photos", { rows: 5, cols: 6, channels: 3, bits: 8, samples: noise(1).pixels.slice(0, 90) }],
    ["floats", { rows: 5, cols: 6, bits: 32, format: "float", samples: noise(1).pixels.slice(0, 120) }],
    [
      "turned",
      {
        rows: 5,
        cols: 6,
        bits: 8,
        samples: new Uint8Array(30),
        tags: [
          [274, "short", [6]],
          [280, "short", [1]],
        ],
      },
    ],
  ] as const satisfies readonly (readonly [string, TiffPage])[])
    it(`do no harm when they are damaged, ${name}`, () =>
      inFolder((folder) =>
        survivesDamage(join(folder, "a.tif"), tiff([page, page]), openData, { runs: 500, name: "a.tif" }),
      ));
});
