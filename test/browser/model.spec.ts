import { expect } from "chai";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { builtinImages } from "../../dino/images/builtin.js";
import { openDevice } from "../../engine/adapters/node.js";
import { writeTinyCheckpoint } from "../support/command-line.js";
import { bundle, openPage } from "./chromium.js";
import { look, train } from "./look-and-train.js";
import type { ModelPage } from "./model-in-page.js";

const STEPS = 4;

/** Largest difference that may be, of the largest value. On SwiftShader 147 and that of Chromium 156 there was none. */
const TOLERANCE = 1e-5;

describe("a model in Chromium", () => {
  it("looks and trains as in Node", async () => {
    const folder = await mkdtemp(join(tmpdir(), "browser-"));
    const path = join(folder, "checkpoint.safetensors");
    await writeTinyCheckpoint(path, { localCropsNumber: 2 });
    const bytes = new Uint8Array(await readFile(path));
    await rm(folder, { recursive: true });

    await using opened = await openPage(await bundle("./model-in-page.ts"));
    await opened.page.waitForFunction(() => "lookAndTrain" in globalThis);
    const inPage = await opened.page.evaluate(
      ([bytes, steps]) => (globalThis as unknown as ModelPage).lookAndTrain(bytes, steps),
      [[...bytes], STEPS] as const,
    );

    using device = await openDevice(inPage.device === "swiftshader" ? { prefer: "swiftshader" } : {});
    const { train: images } = builtinImages();
    const inNode = { ...(await look(device, bytes)), losses: await train(device, bytes, { images, steps: STEPS }) };
    for (const name of ["feature", "attention", "losses"] as const) {
      const largest = Math.max(...inNode[name].map(Math.abs));
      const apart = inNode[name].map((value, i) => Math.abs(value - inPage[name][i]!) / largest);
      expect(inPage[name]).to.have.length(inNode[name].length);
      expect(Math.max(...apart), `${name}, relative to the largest`).to.be.below(TOLERANCE);
    }
  });

  it("says what to do where the page is not secure", async () => {
    await using opened = await openPage(await bundle("./model-in-page.ts"), { address: "http://dino.test/" });
    await opened.page.waitForFunction(() => "lookAndTrain" in globalThis);
    const error = await opened.page.evaluate(() =>
      (globalThis as unknown as ModelPage).lookAndTrain([], 0).then(
        () => "none",
        (error: unknown) => String(error),
      ),
    );
    expect(error).to.match(/open this page over https, or from localhost/);
  });
});
