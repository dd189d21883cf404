import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import sharp from "sharp";
import { openDiskArrays } from "../../../dino/files/disk-arrays.js";
import type { Image } from "../../../dino/images/pixels.js";
import { heatColor, pixel } from "../../../dino/pictures/drawing.js";
import { parsePpm } from "../../../dino/video/ffmpeg.js";
import { openFrames } from "../../../dino/video/frames.js";
import { attendVideo, drawFrame, scaleOf } from "../../../dino/video/video.js";
import { loadModel } from "../../../dino/weights/load-model.js";
import { dinoIn, writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

function gray(rows: number, cols: number, value: number): Image {
  return { rows, cols, pixels: new Uint8Array(rows * cols * 3).fill(value) };
}

function writePng(path: string, { rows, cols, pixels }: Image): Promise<unknown> {
  return sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } })
    .png()
    .toFile(path);
}

function ppm({ rows, cols, pixels }: Image): Buffer {
  return Buffer.concat([Buffer.from(`P6\n${cols} ${rows}\n255\n`), pixels]);
}

describe("frames", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "frames-"));
    await mkdir(join(folder, "shots", "old"), { recursive: true });
    for (const number of [1, 2, 10]) await writePng(join(folder, "shots", `shot ${number}.png`), gray(4, 4, number));
    await writePng(join(folder, "shots", "old", "3.png"), gray(4, 4, 3));
  });
  after(() => rm(folder, { recursive: true }));

  it("of a folder come with 2 before 10, without its subfolders, as often as wanted", async () => {
    const frames = await openFrames(join(folder, "shots"));
    expect(frames).to.include({ fps: 30, count: 3 });
    for (let time = 0; time < 2; time++) {
      expect((await all(frames.read())).map(({ pixels }) => pixels[0])).to.deep.equal([1, 2, 10]);
    }
    expect((await openFrames(join(folder, "shots"), { fps: 12 })).fps).to.equal(12);
  });

  it("that are none are named", async () => {
    const torn = join(folder, "torn");
    await mkdir(torn);
    await writeFile(join(torn, "1.png"), "no picture");
    await writePng(join(torn, "2.png"), gray(4, 4, 2));
    const frames = await openFrames(torn);
    expect(await rejection(all(frames.read()))).to.include(`${join(torn, "1.png")}: expected a frame`);
    expect(await rejection(openFrames(join(folder, "gone.mp4")))).to.include("got nothing of that name");
    expect(await rejection(openFrames(folder))).to.include("expected frames in the folder itself");
  });

  it("are read from a stream of PPM, wherever it is cut", async () => {
    const images = [gray(2, 3, 80), { rows: 1, cols: 2, pixels: Uint8Array.of(10, 32, 9, 80, 54, 10) }, gray(1, 1, 7)];
    const bytes = Buffer.concat(images.map(ppm));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: bytes.length }), { minLength: 1 }), async (lengths) => {
        async function* chunks(): AsyncGenerator<Uint8Array> {
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const length = lengths[i % lengths.length]!;
            yield await Promise.resolve(bytes.subarray(at, at + length));
            at += length;
          }
        }
        expect(await all(parsePpm(chunks()))).to.deep.equal(images);
      }),
      { numRuns: 30 },
    );
    const stream = (...parts: Uint8Array[]): AsyncIterable<Uint8Array> =>
      (async function* () {
        for (const part of parts) yield await Promise.resolve(part);
      })();
    expect(await rejection(all(parsePpm(stream(bytes.subarray(0, 20)))))).to.include("the last picture is truncated");
    expect(await rejection(all(parsePpm(stream(Buffer.alloc(100)))))).to.include("expected a binary PPM");
  });
});

describe("scratch", () => {
  it("gives arrays back in any order and leaves no file", async () => {
    const folder = await mkdtemp(join(tmpdir(), "scratch-"));
    {
      await using scratch = await openDiskArrays(folder);
      const arrays = [3, 0, 5].map((length, i) => Float32Array.from({ length }, (_, at) => i + at / 7));
      for (const array of arrays) await scratch.append(array);
      expect(scratch.count).to.equal(3);
      for (const i of [2, 0, 1]) expect(await scratch.read(i)).to.deep.equal(arrays[i]);
      expect(await rejection(scratch.read(3))).to.include("expected an array from 0 to 2, got 3");
      expect(await readdir(folder)).to.deep.equal([]);
    }
    await rm(folder, { recursive: true });
  });
});

describe("attention of a video", () => {
  it("has one scale, which a few odd patches do not move", async () => {
    const folder = await mkdtemp(join(tmpdir(), "scale-"));
    await using maps = await openDiskArrays(folder);
    for (let frame = 0; frame < 40; frame++) {
      const most = frame < 20 ? 1 : 4;
      await maps.append(Float32Array.from({ length: 101 }, (_, i) => (i / 100) * most));
    }
    await maps.append(Float32Array.from({ length: 101 }, (_, i) => (i === 50 ? 1000 : 2)));
    const { low, high } = await scaleOf(maps);
    expect(low).to.be.within(0, 0.1);
    expect(high).to.be.within(3.9, 4);
    await rm(folder, { recursive: true });
  });

  const map = Float32Array.of(0, 1, 2, 5);
  const options = { map, patches: { rows: 2, cols: 2 }, scale: { low: 0, high: 4 }, share: undefined };
  const frame = gray(16, 16, 100);

  it("is drawn in the colours of that scale, and clamped to it", () => {
    const picture = drawFrame(frame, { ...options, show: "map" });
    const colors = [pixel(picture, 0, 0), pixel(picture, 15, 0), pixel(picture, 0, 15), pixel(picture, 15, 15)];
    const expected = [0, 0.25, 0.5, 1].map((heat) => heatColor(heat).map(Math.round));
    expect(colors).to.deep.equal(expected);
  });

  it("leaves out the patches that a share of it does not need", () => {
    const picture = drawFrame(frame, { ...options, share: 0.7, show: "map" }); // 5 + 2 of 8
    const black = heatColor(0).map(Math.round);
    expect([pixel(picture, 0, 0), pixel(picture, 15, 0)]).to.deep.equal([black, black]);
    expect(pixel(picture, 0, 15)).to.deep.equal(heatColor(0.5).map(Math.round));
    const overlay = drawFrame(frame, { ...options, share: 0.7, show: "overlay" });
    expect(pixel(overlay, 15, 0)).to.deep.equal([35, 37, 40]); // grey, 28 % of 100 and the rest nearly black
  });

  it("is refused where frames differ in size, before anything is drawn", async () => {
    const folder = await mkdtemp(join(tmpdir(), "sizes-"));
    const checkpoint = join(folder, "tiny.safetensors");
    await writeTinyCheckpoint(checkpoint);
    using model = await loadModel(await testDevice(), checkpoint);
    const images = [gray(16, 24, 90), gray(16, 40, 90)];
    async function* read(): AsyncGenerator<Image> {
      for (const image of images) yield await Promise.resolve(image);
    }
    const out = join(folder, "out");
    const wanted = { model, out, size: 16, show: "map", overwrite: false } as const;
    expect(await rejection(attendVideo({ ...wanted, frames: { fps: 1, count: 2, read } }))).to.include(
      "frame 2: expected 24 x 16 pixels as in the first, got 40 x 16",
    );
    expect(await readdir(out)).to.deep.equal([]);
    await rm(folder, { recursive: true });
  });

  it("stands beside the frame", () => {
    const picture = drawFrame(frame, { ...options, show: "side-by-side" });
    expect([picture.width, picture.height]).to.deep.equal([32, 16]);
    expect(pixel(picture, 15, 15)).to.deep.equal([100, 100, 100]);
    const overlay = drawFrame(frame, { ...options, show: "overlay" });
    for (let x = 0; x < 16; x++) expect(pixel(picture, 16 + x, 9)).to.deep.equal(pixel(overlay, x, 9));
  });
});

describe("dino video", function () {
  this.timeout(120_000);
  let folder: string;
  let checkpoint: string;
  let frames: string;
  const nothing = (): string => join(folder, "nothing"); // a PATH without ffmpeg
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "video-"));
    checkpoint = join(folder, "tiny.safetensors");
    await writeTinyCheckpoint(checkpoint);
    frames = join(folder, "frames");
    for (const path of [frames, nothing()]) await mkdir(path);
    for (let i = 1; i <= 3; i++) await writePng(join(frames, `${i}.png`), gray(16, 24, 60 * i));
  });
  after(() => rm(folder, { recursive: true }));

  for (const family of families) {
    it(`draws numbered frames with ${family}, and an animation without ffmpeg`, async () => {
      const [out, model] = [join(folder, `drawn-${family}`), join(folder, `${family}.safetensors`)];
      const { patchSize: patch } = await writeModelOf(family, model);
      const words = ["video", frames, "--checkpoint", model, "--out", out, "--head", "1", "--fps", "8", "--json"];
      const size = { rows: 2 * patch, cols: 3 * patch };
      words.push("--image-size", String(2 * patch + 3)); // more than whole patches
      const { code, stdout, stderr } = await dinoIn({ PATH: nothing() }, ...words);
      expect(code, stderr).to.equal(0);
      const video = join(out, "video.webp");
      expect(JSON.parse(stdout)).to.include({ frames: 3, fps: 8, ...size, video, usedFfmpeg: false });
      const names = [1, 2, 3].map((number) => `frame-00000${number}.png`);
      expect(await readdir(out)).to.have.members([...names, "video.webp"]);
      const { pages, delay, pageHeight } = await sharp(video, { animated: true }).metadata();
      expect({ pages, delay, pageHeight }).to.deep.equal({ pages: 3, delay: [125, 125, 125], pageHeight: size.rows });

      const again = await dinoIn({ PATH: nothing() }, ...words);
      expect(again.stderr).to.include("already holds frames; --overwrite replaces them");
      expect(again.code).to.equal(1);
    });
  }

  it("takes a video file from ffmpeg and gives one back", async () => {
    const bin = join(folder, "bin");
    await mkdir(bin);
    const programs = {
      ffprobe: `console.log(JSON.stringify({ streams: [{ avg_frame_rate: "25/2", duration: "0.16" }] }));`,
      ffmpeg: `
        const args = process.argv.slice(2);
        const bytes = [50, 200].map((value) => Buffer.concat([Buffer.from("P6\\n16 8\\n255\\n"), Buffer.alloc(384, value)]));
        if (args.includes("image2pipe")) process.stdout.write(Buffer.concat(bytes));
        else if (!args.includes("-version")) require("fs").writeFileSync(args.at(-1), args.join(" "));`,
    };
    for (const [name, script] of Object.entries(programs)) {
      await writeFile(join(bin, name), `#!${process.execPath}\n${script}\n`);
      await chmod(join(bin, name), 0o755);
    }
    const file = join(folder, "clip.mp4");
    await writeFile(file, "");
    const out = join(folder, "100%d"); // no pattern, though it looks like one
    const words = ["video", file, "--checkpoint", checkpoint, "--out", out, "--show", "side-by-side"];
    const { code, stdout, stderr } = await dinoIn({ PATH: bin }, ...words);
    expect(code, stderr).to.equal(0);
    expect(stdout).to.include("2 frames of 64 x 16 pixels").and.to.include("12.5 frames per second");
    expect(await readFile(join(out, "video.mp4"), "utf8"))
      .to.include("-framerate 12.5 -start_number 1 -i frame-%06d.png -frames:v 2")
      .and.to.match(/video\.mp4$/);
  });

  it("says how to get ffmpeg, and what cannot be", async () => {
    const file = join(folder, "other.mp4");
    await writeFile(file, "");
    const run = (...words: string[]) => dinoIn({ PATH: nothing() }, "video", ...words, "--checkpoint", checkpoint);
    const missing = await run(file, "--out", join(folder, "none"));
    expect(missing.stderr)
      .to.include("other.mp4: a video file needs ffmpeg")
      .and.to.include("a folder of frames needs");
    expect(missing.code).to.equal(1);
    const same = await run(frames, "--out", join(frames, "..", "frames"));
    expect(same.stderr).to.include("expected a folder other than that of the frames");
    expect(same.code).to.equal(2);
    const head = await run(frames, "--out", join(folder, "none"), "--head", "2");
    expect(head.stderr).to.include("--head 2: the network has 2, counted from 0 to 1");
    expect(head.code).to.equal(2);
  });
});
