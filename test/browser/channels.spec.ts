import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import type { Browser, Page } from "playwright-core";
import sharp from "sharp";
import { type Dashboard, openDashboard } from "../../dino/dashboard/server.js";
import { encodeNpyBytes } from "../../dino/files/npy.js";
import type { Image } from "../../dino/images/pixels.js";
import { decodeImage } from "../../dino/images/sources/decode.js";
import { writeTinyCheckpoint } from "../support/command-line.js";
import { writeIndex, writeShownRun } from "../support/shown-run.js";
import { drawSpectralFolder, spectralChannels } from "../support/spectral-images.js";
import { startChromium } from "./chromium.js";
import { buildPages, violations } from "./pages.js";

const SCREENSHOTS = fileURLToPath(new URL("screenshots", import.meta.url));

describe("the viewer with a network of five channels, in Chromium", () => {
  let inside: string;
  let dashboard: Dashboard;
  let browser: Browser;
  let page: Page;
  let complaints: string[];
  const at = (...parts: readonly string[]) => join(inside, ...parts);
  const range = [0, 4095];

  before(async () => {
    buildPages();
    await mkdir(SCREENSHOTS, { recursive: true });
    inside = await mkdtemp(join(tmpdir(), "dino-pages-"));
    await drawSpectralFolder(at("fields"), 3);
    await writeTinyCheckpoint(at("five.safetensors"), { channels: 5, channelNames: [...spectralChannels], range });
    await writeIndex(at("five.npy"), { data: at("fields"), checkpoint: at("five.safetensors") });
    await writeTinyCheckpoint(at("gray.safetensors"), { channels: 1 });
    await writeShownRun(at("runs", "colors"));
    dashboard = await openDashboard({
      ...{ roots: [at("runs")], models: [at("gray.safetensors")], indexes: [at("five.npy")] },
      ...{ log: () => undefined, host: "127.0.0.1", port: 0 },
    });
    browser = await startChromium({ hasCamera: true });
  });
  after(async () => {
    await browser.close();
    await dashboard[Symbol.asyncDispose]();
    await rm(inside, { recursive: true });
  });
  afterEach(async () => {
    await page.close();
    expect(complaints).to.deep.equal([]);
  });

  async function open(width = 1280): Promise<void> {
    page = await browser.newPage({ viewport: { width, height: 800 } });
    complaints = [];
    page.on("pageerror", ({ message }) => complaints.push(message));
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    await page.goto(`${dashboard.address}viewer.html`);
    await seen();
  }

  const seen = () =>
    page
      .getByRole("status")
      .filter({ hasText: /^Computed in \d+ ms$/ })
      .waitFor();
  const alert = () => page.getByRole("alert").innerText();
  const first = (title: string) =>
    page
      .getByRole("listitem")
      .first()
      .and(page.getByRole("listitem").filter({ has: page.getByTitle(title) }))
      .waitFor();
  const file = () => page.getByLabel("Open an image or a model");
  /** Waits until the page shows an image whose mean colour is this. */
  async function shows(expected: readonly number[]): Promise<void> {
    const mean = `(() => {
      const { width, height } = document.querySelector("figure canvas");
      const { data } = document.querySelector("figure canvas").getContext("2d").getImageData(0, 0, width, height);
      const sums = [0, 0, 0];
      data.forEach((value, i) => i % 4 < 3 && (sums[i % 4] += value));
      return sums.map((sum) => sum / (width * height));
    })()`;
    const isShown = async () =>
      (await page.evaluate<number[]>(mean)).every((value, i) => Math.abs(value - expected[i]!) < 2);
    while (!(await isShown())) await page.waitForTimeout(50);
  }
  async function choose(model: string): Promise<void> {
    await page.getByLabel("Model", { exact: true }).selectOption(model);
    await page.getByText(new RegExp(`^${model}: 0.0\\d million parameters`)).waitFor();
    await seen();
  }
  /** The mean of red, green and blue of an image of the index. */
  async function meanOf(name: string): Promise<readonly number[]> {
    const path = at("fields", name);
    const image = (await decodeImage({ name, bytes: { kind: "file", path } }, { channels: 5, range })) as Image;
    return (["red", "green", "blue"] as const).map((color) => {
      const values = image.pixels.filter((_, i) => spectralChannels[i % 5] === color);
      return values.reduce((sum, value) => sum + value, 0) / values.length;
    });
  }

  it("looks at images of the index with all channels, and shows three", async () => {
    await open();
    const asked = page.waitForRequest(/images\/0\.npy/);
    await choose("five");
    await asked;
    await first("Look at field/0.tif");
    await shows(await meanOf("field/0.tif"));
    await page.getByTitle("Look at water/2.tif").click();
    await first("Look at water/2.tif");
    expect(await page.getByRole("listitem").first().innerText()).to.equal("water, 1.000");
    expect(await page.getByRole("alert").count()).to.equal(0);
    await page.getByText("patches of 8 pixels of images of 5 channels (blue, green, red, nir, swir), ").waitFor();
    const camera = page.getByRole("button", { name: "Use the camera" });
    expect(await camera.count()).to.equal(0);
    await choose("colors");
    expect(await camera.count()).to.equal(1);
    expect(await page.getByRole("alert").count()).to.equal(0);
  });

  it("reads a TIFF and a .npy file as the command line does, and says what else it was given", async () => {
    await open();
    await choose("five");
    await file().setInputFiles(at("fields", "water", "1.tif"));
    await first("Look at water/1.tif");
    expect(await page.getByRole("listitem").first().innerText()).to.equal("water, 1.000");
    await shows(await meanOf("water/1.tif"));

    const place = { name: "a", bytes: { kind: "file", path: at("fields", "field", "2.tif") } } as const;
    const { rows, cols, pixels } = (await decodeImage(place, { channels: 5, range })) as Image;
    await writeFile(at("a.npy"), encodeNpyBytes({ values: pixels, shape: [rows, cols, 5] }));
    await file().setInputFiles(at("a.npy"));
    await first("Look at field/2.tif");

    const expected =
      "expected a TIFF of 5 channels (blue, green, red, nir, swir), or a .npy file of uint8 [rows, columns, 5]";
    await file().setInputFiles(at("runs", "colors-photos", "red", "1.png"));
    expect(await alert()).to.equal(`1.png: ${expected}, got 3 channels; open such a file, or choose another model`);
    await writeFile(at("notes.txt"), "no image");
    await file().setInputFiles(at("notes.txt"));
    expect(await alert()).to.equal(`notes.txt: ${expected}`);
    await writeFile(at("cut.tif"), (await readFile(at("fields", "water", "1.tif"))).subarray(0, 3000));
    await file().setInputFiles(at("cut.tif"));
    expect(await alert()).to.match(/^cut\.tif: TIFF: .* it is cut off/);
    await file().setInputFiles(at("fields", "field", "1.tif"));
    await first("Look at field/1.tif");
    expect(await page.getByRole("alert").count()).to.equal(0);
  });

  it("reads TIFF files for networks of gray and color too, however compressed", async () => {
    await open();
    const photo = sharp(at("runs", "colors-photos", "red", "1.png")).removeAlpha();
    for (const compression of ["none", "lzw", "deflate", "packbits"] as const) {
      await photo
        .clone()
        .tiff({ compression })
        .toFile(at(`${compression}.tif`));
      await file().setInputFiles(at("runs", "colors-photos", "blue", "0.png"));
      await first("Look at blue/0.png");
      await file().setInputFiles(at(`${compression}.tif`));
      await first("Look at red/1.png");
    }
    await choose("gray");
    await photo.clone().toColourspace("b-w").tiff().toFile(at("gray.tif"));
    await file().setInputFiles(at("gray.tif"));
    const { data } = await photo.clone().toColourspace("b-w").raw().toBuffer({ resolveWithObject: true });
    const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
    await shows([mean, mean, mean]);
    await file().setInputFiles(at("fields", "water", "1.tif"));
    expect(await alert()).to.match(/^1\.tif: expected a picture .* or a TIFF of gray or color, got 5 channels; /);
  });

  for (const width of [390, 1920])
    it(`has room and no barrier at ${width} pixels`, async () => {
      await open(width);
      await choose("five");
      await file().setInputFiles(at("runs", "colors-photos", "red", "1.png"));
      await alert();
      expect(await violations(page)).to.deep.equal([]);
      expect(await page.evaluate("document.documentElement.scrollWidth - innerWidth")).to.equal(0);
      await page.screenshot({ path: join(SCREENSHOTS, `viewer-channels-${width}.png`), fullPage: true });
    });
});
