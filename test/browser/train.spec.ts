import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import type { Browser, Page, Worker } from "playwright-core";
import { openSplits } from "../../dino/images/sources/open-splits.js";
import { train } from "../../dino/training/train.js";
import { configOf } from "../../dino/web/train/settings.js";
import { type Checkpoint, parseCheckpoint } from "../../dino/weights/checkpoint-bytes.js";
import { readCheckpoint } from "../../dino/weights/checkpoint.js";
import { openDevice } from "../../engine/adapters/node.js";
import { startChromium } from "./chromium.js";
import { type Host, serveFiles } from "./file-server.js";
import { buildPages, pagesFolder, violations } from "./pages.js";

const FIELDS = { steps: "12", batch: "4", seed: "3" } as const;

/** Largest difference that may be, of the largest value. On SwiftShader 147 and that of Chromium 156 there was none. */
const TOLERANCE = 1e-5;

/** The longest task of the page itself: some 100 ms where tests share two cores, while those of what trains take seconds. */
const SMOOTH_MS = 500;

/** The page measures an untrained network on the CPU before its first step. */
const PATIENCE_MS = 120_000;

describe("training in Chromium", () => {
  let host: Host;
  let browser: Browser;
  let page: Page;
  let folder: string;

  before(async () => {
    buildPages();
    host = await serveFiles(pagesFolder, "/");
    browser = await startChromium();
    folder = await mkdtemp(join(tmpdir(), "train-in-page-"));
  });
  after(async () => {
    await browser.close();
    await host[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });
  beforeEach(async () => {
    page = await browser.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    page.on("pageerror", (error) => process.stderr.write(`Chromium: ${error.stack ?? error.message}\n`));
    await page.goto(`${host.address}train.html`);
  });
  afterEach(() => page.close());

  const button = (name: string) => page.getByRole("button", { name, exact: true });
  const status = (text: RegExp) => page.getByRole("status").filter({ hasText: text }).waitFor();
  const setHidden = (isHidden: boolean) =>
    page.evaluate(`
      Object.defineProperty(document, "hidden", { configurable: true, value: ${isHidden} });
      document.dispatchEvent(new Event("visibilitychange"));
    `);
  const fill = async (fields: Readonly<Record<string, string>>) => {
    for (const [name, text] of Object.entries(fields)) await page.locator(`[name=${name}]`).fill(text);
  };

  it("comes to what Node comes to, stopped and the device lost on the way", async () => {
    await page.evaluate(`
      longest = 0;
      new PerformanceObserver((tasks) => {
        for (const { duration } of tasks.getEntries()) longest = Math.max(longest, duration);
      }).observe({ entryTypes: ["longtask"] });
    `);
    await fill(FIELDS);
    await button("Train").click();
    await status(/^Training: step [2-9] of 12/);
    await setHidden(true);
    await page.getByText("The training goes on while this page is hidden").waitFor();
    await setHidden(false);
    await button("Stop").click();
    await status(/^Stopped: step \d+ of 12/);
    const [thread] = page.workers() as [Worker];
    await thread.evaluate(`
      const original = GPUDevice.prototype.createCommandEncoder;
      let left = 20;
      GPUDevice.prototype.createCommandEncoder = function (...words) {
        if (left-- === 0) this.destroy(); // as a driver that was reset
        return original.apply(this, words);
      };
    `);
    await button("Go on").click();
    await page.getByRole("alert").filter({ hasText: "the device was lost" }).waitFor();
    await button("Go on").click();
    await status(/^Finished: step 12 of 12/);
    await page.getByText(/points over the untrained network/).waitFor();
    await page.getByRole("img", { name: "Attention of each head after 12 steps" }).waitFor();
    expect(await page.evaluate("longest"), "ms that the page stood still").to.be.below(SMOOTH_MS);
    expect(await violations(page)).to.deep.equal([]);

    const downloaded = page.waitForEvent("download");
    await button("Download the checkpoint").click();
    const path = await (await downloaded).path();
    const inPage = await parseCheckpoint(new Uint8Array(await readFile(path)));
    const isSoftware = await page.getByText(/, on .*swiftshader\. Nothing/i).isVisible();
    const inNode = await trainInNode(isSoftware ? { prefer: "swiftshader" } : {});
    expectAlike(inPage, inNode);

    await page.route("**/api/models.json", (route) => route.fulfill({ json: [] }));
    await button("Open it in the viewer").click();
    await page.getByText(/^shapes trained here, step 12: 0.11 million parameters/).waitFor();
  });

  it("says what is wrong with settings", async () => {
    await button("Train").waitFor();
    await fill({ steps: "many", batch: "", seed: "-1" });
    for (const words of [
      "Steps: expected a whole number of 1 or more, got many",
      "Images a step: expected a whole number of 1 or more, got nothing",
      "Seed: expected a whole number of 0 or more, got -1",
    ])
      await page.getByText(words).waitFor();
    expect(await button("Train").isDisabled()).to.equal(true);
    expect(await violations(page)).to.deep.equal([]);
  });

  /** The same run by `dino train`. */
  async function trainInNode(adapter: Parameters<typeof openDevice>[0]): Promise<Checkpoint> {
    const made = configOf({ ...FIELDS, method: "dino" });
    if (!("config" in made)) throw new Error(JSON.stringify(made.errors));
    const config = { ...made.config, out: join(folder, "run") };
    using device = await openDevice(adapter);
    const splits = await openSplits("builtin", { heldOut: 0, seed: 0 });
    const { checkpoint } = await train({ device, config, splits, explicit: new Set(), resume: false });
    return await readCheckpoint(checkpoint);
  }
});

function expectAlike(inPage: Checkpoint, inNode: Checkpoint): void {
  expect(inPage.step).to.equal(inNode.step);
  expect({ ...inPage.config, out: "" }).to.deep.equal({ ...inNode.config, out: "" });
  expect(inPage.unlogged.epoch.count).to.equal(inNode.unlogged.epoch.count);
  const [lossInPage, lossInNode] = [inPage, inNode].map(({ unlogged: { epoch } }) => epoch.sum / epoch.count);
  expect(Math.abs(lossInPage! / lossInNode! - 1), "mean of all losses").to.be.below(TOLERANCE);
  expect([...inPage.tensors.keys()]).to.deep.equal([...inNode.tensors.keys()]);
  let identical = 0;
  for (const [name, { shape, values }] of inNode.tensors) {
    const found = inPage.tensors.get(name)!;
    expect(found.shape, name).to.deep.equal(shape);
    const largest = Math.max(...values.map(Math.abs));
    const apart = Math.max(...values.map((value, i) => Math.abs(value - found.values[i]!)));
    expect(apart, `${name}, at most ${largest}`).to.be.at.most(TOLERANCE * largest);
    if (apart === 0) identical++;
  }
  console.log(`      ${identical} of ${inNode.tensors.size} tensors are the same to the bit`);
}
