import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { expect } from "chai";
import type { Browser, Page, Response, Worker } from "playwright-core";
import { type Dashboard, openDashboard } from "../../dino/dashboard/server.js";
import { openSite } from "../../dino/dashboard/site.js";
import { writeSite } from "../../dino/dashboard/static.js";
import { runFiles } from "../../dino/run/run-folder.js";
import { writeModelOf } from "../support/families.js";
import { writeShownRun } from "../support/shown-run.js";
import { startChromium } from "./chromium.js";
import { serveFiles } from "./file-server.js";
import { buildPages, violations } from "./pages.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A phone and a screen. */
const LOOKS = [
  [390, "light"],
  [1280, "dark"],
] as const;

/** Pictures of all pages are left here, to be looked at. */
const SCREENSHOTS = join(root, "test", "browser", "screenshots");

/** Imported networks, and for one of the sizes that the viewer offers the number of patches along it. */
const IMPORTED = [
  { family: "DINOv2", size: 168, patches: 12 },
  { family: "DINOv3", size: 336, patches: 21 },
] as const;

describe("pages in Chromium", () => {
  let inside: string;
  let dashboard: Dashboard;
  let browser: Browser;
  let page: Page;
  /** What the page complained of since it was opened. */
  let complaints: string[];

  before(async () => {
    buildPages();
    await mkdir(SCREENSHOTS, { recursive: true });
    inside = await mkdtemp(join(tmpdir(), "dino-pages-"));
    await writeShownRun(join(inside, "runs", "one"));
    await writeShownRun(join(inside, "runs", "two"), { lr: 0.01 });
    const models = IMPORTED.map(({ family }) => join(inside, `${family}.safetensors`));
    for (const [i, { family }] of IMPORTED.entries()) await writeModelOf(family, models[i]!);
    dashboard = await openDashboard({
      ...{ roots: [join(inside, "runs")], models, log: () => undefined },
      ...{ host: "127.0.0.1", port: 0 },
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

  async function open(
    path: string,
    options: {
      readonly width?: number;
      readonly colorScheme?: "light" | "dark";
      readonly at?: string;
      readonly onResponse?: (response: Response) => void;
    } = {},
  ): Promise<void> {
    const { width = 1280, colorScheme = "light", at = dashboard.address, onResponse } = options;
    page = await browser.newPage({ viewport: { width, height: 800 }, colorScheme, permissions: ["camera"] });
    complaints = [];
    page.on("pageerror", ({ message }) => complaints.push(message));
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(at) && !/^(data|blob):/.test(url)) complaints.push(`asked for ${url}`);
    });
    if (onResponse) page.on("response", onResponse);
    await page.goto(at + path);
  }

  const status = (text: string | RegExp) => page.getByRole("status").filter({ hasText: text }).waitFor();
  const seen = () => status(/^Computed in \d+ ms$/);
  const said = () => page.getByText(/^Attention in the last block from/).innerText();
  const alert = () => page.getByRole("alert").innerText();

  for (const [width, colorScheme] of LOOKS) {
    it(`have room and no barrier at ${width} pixels, ${colorScheme}`, async () => {
      for (const [path, ready] of [
        ["", () => status("2 runs")],
        ["train.html", () => page.getByRole("button", { name: "Train", disabled: false }).waitFor()],
        ["viewer.html", seen],
      ] as const) {
        await open(path, { width, colorScheme });
        await ready();
        expect(await violations(page)).to.deep.equal([]);
        const overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
        expect(overflow, `${path}: pixels beyond the width`).to.equal(0);
        const name = `${path.replace(".html", "") || "runs"}-${width}-${colorScheme}.png`;
        await page.screenshot({ path: join(SCREENSHOTS, name), fullPage: true });
        if (path !== "viewer.html") await page.close();
      }
    });
  }

  it("are small: so many bytes of code come with each", async () => {
    const sizes: Record<string, number> = {};
    for (const [path, ready] of [
      ["", () => status("2 runs")],
      ["viewer.html", seen],
    ] as const) {
      const texts: Promise<Buffer>[] = [];
      await open(path, {
        onResponse: (response) => {
          if (/\/(|[^/]+\.(html|js|css))$/.test(new URL(response.url()).pathname)) texts.push(response.body());
        },
      });
      await ready();
      const bytes = await Promise.all(texts);
      const sum = (of: (text: Buffer) => number) =>
        Math.round(bytes.reduce((total, text) => total + of(text), 0) / 1000);
      sizes[path] = sum((text) => text.length);
      console.log(`      ${path || "the runs"}: ${sizes[path]} kB, ${sum((text) => gzipSync(text).length)} packed`);
      if (path !== "viewer.html") await page.close();
    }
    expect(sizes[""]).to.be.below(120);
    expect(sizes["viewer.html"]).to.be.below(600);
  });

  it("the runs: curves are read with the keyboard, runs are left out, pictures go back in time", async () => {
    await open("");
    await status("2 runs");
    const curve = page.getByRole("img", { name: /^Loss: / });
    await curve.focus();
    await page.keyboard.press("ArrowRight");
    await curve.getByText("step 10").waitFor();
    await page.keyboard.press("ArrowRight");
    await curve.getByText("step 20").waitFor();
    expect(await curve.getAttribute("aria-label")).to.include("two 2.8 at step 20");
    await page.getByRole("checkbox", { name: "two" }).uncheck();
    await page.getByRole("img", { name: /^Loss: loss 2.8 at step 20$/ }).waitFor();
    await page.getByRole("slider", { name: "Step" }).fill("0");
    await page.getByRole("img", { name: "Attention of each head after 0 steps" }).waitFor();
    await page.getByRole("link", { name: "Viewer" }).click();
    await seen();
  });

  it("the viewer follows the pointer and the keys, and looks at what is clicked", async () => {
    await open("viewer.html");
    await seen();
    expect(await said()).to.include("from the whole image");
    const map = page.getByRole("application");
    await map.hover({ position: { x: 1, y: 1 } });
    expect(await said()).to.include("row 1, column 1");
    await page.mouse.move(0, 0);
    expect(await said()).to.include("from the whole image");
    await map.focus();
    for (const key of ["ArrowLeft", "ArrowDown", "ArrowDown", "ArrowRight"]) await page.keyboard.press(key);
    expect(await said()).to.match(/row (\d+), column (\d+)/);
    await page.keyboard.press("Escape");
    expect(await said()).to.include("from the whole image");

    const first = page.getByRole("listitem").first();
    expect(await first.innerText()).to.equal("blue, 1.000");
    const asked = page.waitForRequest(/images\/\d+\.webp/);
    await page.getByRole("listitem").filter({ hasText: "red" }).first().click();
    await asked;
    await page.getByRole("listitem").first().filter({ hasText: "red, 1.000" }).waitFor();
    await page.getByLabel("Shorter side").selectOption("64");
    await seen();
    await page.getByLabel("Model", { exact: true }).selectOption("two");
    await page.getByText(/^two: 0.0\d million parameters/).waitFor();
    await seen();
  });

  for (const { family, size, patches } of IMPORTED) {
    it(`the viewer looks through a network of ${family}, at another size too`, async () => {
      await open("viewer.html");
      await seen();
      await page.getByLabel("Model", { exact: true }).selectOption(family);
      await page.getByText(new RegExp(`^${family}: 0.0\\d million parameters`)).waitFor();
      await seen();
      await page.getByLabel("Shorter side").selectOption(String(size));
      const overlay = 'document.querySelectorAll("figure canvas")[3]'; // a pixel for each patch
      const side = () => page.evaluate<number>(`Math.min(${overlay}.width, ${overlay}.height)`);
      while ((await side()) !== patches) await page.waitForTimeout(50);
      const map = page.getByRole("application");
      const { width, height } = (await map.boundingBox())!;
      await map.hover({ position: { x: width - 2, y: height - 2 } });
      const [, row, column] = /row (\d+), column (\d+)/.exec(await said())!;
      expect(Math.min(Number(row), Number(column))).to.equal(patches);
      await page.getByRole("img", { name: "Patches alike" }).waitFor();
      expect(await page.getByRole("img", { name: /^Head \d$/ }).count()).to.equal(2);
    });
  }

  it("the viewer opens images and models of the visitor, and says what is none", async () => {
    await open("viewer.html");
    await seen();
    const file = page.getByLabel("Open an image or a model");
    await file.setInputFiles(join(inside, "runs", "one-photos", "red", "1.png"));
    await page.getByRole("listitem").first().filter({ hasText: "red, 1.000" }).waitFor();
    await writeFile(join(inside, "notes.txt"), "no picture");
    await file.setInputFiles(join(inside, "notes.txt"));
    expect(await alert()).to.equal(
      "notes.txt: expected a picture that this browser reads, such as JPEG, PNG, WebP or AVIF, or a TIFF of gray or color",
    );
    await file.setInputFiles(runFiles(join(inside, "runs", "two")).checkpoint);
    await page.getByText(/^checkpoint.safetensors: 0.0\d million parameters/).waitFor();
    await seen();
    expect(await page.getByRole("listitem").count(), "no index goes with it").to.equal(0);
    expect(await page.getByLabel("Model", { exact: true }).locator(":checked").innerText()).to.equal(
      "checkpoint.safetensors",
    );
    await writeFile(join(inside, "broken.safetensors"), "no model");
    await file.setInputFiles(join(inside, "broken.safetensors"));
    expect(await alert()).to.match(/safetensors/);
    await file.setInputFiles(join(inside, "runs", "one-photos", "blue", "0.png"));
    await seen(); // with the model before
    expect(await page.getByRole("alert").count()).to.equal(0);
  });

  it("the viewer watches the camera, not while nobody watches the page", async () => {
    await open("viewer.html");
    await seen();
    await page.getByRole("button", { name: "Use the camera" }).click();
    await page.getByRole("button", { name: "Stop the camera" }).waitFor();
    const picture = () => page.evaluate("document.querySelector('canvas').toDataURL()");
    const changes = async () => {
      for (const before = await picture(); (await picture()) === before;) await page.waitForTimeout(50);
    };
    const hide = (isHidden: boolean) =>
      page.evaluate(`
        Object.defineProperty(document, "hidden", { configurable: true, value: ${isHidden} });
        document.dispatchEvent(new Event("visibilitychange"));
      `);
    await changes();
    await changes();
    await hide(true);
    await status("The camera waits while this page is hidden");
    await page.waitForTimeout(500); // for the one that was under way
    const last = await picture();
    await page.waitForTimeout(500);
    expect(await picture()).to.equal(last);
    await hide(false);
    await changes();
    await page.getByRole("button", { name: "Stop the camera" }).click();
    await page.getByRole("button", { name: "Use the camera" }).waitFor();
  });

  it("the viewer goes on after the device was lost", async () => {
    await open("viewer.html");
    await seen();
    const [thread] = page.workers() as [Worker];
    await thread.evaluate(`
      const original = GPUDevice.prototype.createCommandEncoder;
      GPUDevice.prototype.createCommandEncoder = function (...words) {
        this.destroy(); // as a driver that was reset
        GPUDevice.prototype.createCommandEncoder = original;
        return original.apply(this, words);
      };
    `);
    await page.getByLabel("Shorter side").selectOption("48");
    expect(await alert()).to.match(/the device was lost.* Going on reopens the device/s);
    await page.getByRole("button", { name: "Go on" }).click();
    await seen();
    expect(await page.getByRole("alert").count()).to.equal(0);
  });

  it("say so where what computes does not start", async () => {
    for (const path of ["viewer.html", "train.html"]) {
      await open("");
      await page.context().route("**/worker-*.js", (route) => route.fulfill({ status: 500 }));
      await page.goto(dashboard.address + path);
      expect(await alert()).to.match(/^The part of this page that computes has failed.*Reload the page/);
      complaints = [];
      if (path !== "train.html") await page.close();
    }
  });

  it("are the same as files on any web host", async () => {
    const folder = join(inside, "site");
    const site = await openSite({ roots: [join(inside, "runs")], log: () => undefined });
    await writeSite(site, { folder, flag: "--static", overwrite: false });
    await using host = await serveFiles(folder, "/some/where/");
    await open("index.html", { at: host.address });
    await status("2 runs");
    await page
      .getByRole("img", { name: /two 2.8 at step 20/ })
      .first()
      .waitFor();
    await page.getByRole("link", { name: "Viewer" }).click();
    await seen();
    await page.getByRole("listitem").first().filter({ hasText: "1.000" }).waitFor();
  });

  it("say what to do without WebGPU, and show the runs all the same", async () => {
    const without = await startChromium({ hasWebGpu: false });
    try {
      page = await without.newPage();
      for (const path of ["train.html", "viewer.html"]) {
        await page.goto(dashboard.address + path);
        expect(await alert()).to.match(/^WebGPU: this browser (has none|offers no adapter).*; /);
      }
      await page.getByRole("link", { name: "Runs" }).click();
      await status("2 runs");
    } finally {
      await without.close();
    }
  });
});
