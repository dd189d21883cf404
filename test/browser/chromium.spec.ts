import { bundle, openPage } from "./chromium.js";
import type { InPageResult, InPageTests } from "./mocha-in-page.js";

/**
 * Rows of the op table that take most of its time, and that Node runs on SwiftShader as well: left out unless the variable
 * `BROWSER_ROWS` is "all".
 */
const LARGE = "more (rows|groups|workgroups) than a grid axis|65536 prototypes";
const leftOut = process.env.BROWSER_ROWS === "all" ? undefined : LARGE;

// Mocha has to know the tests before it runs the first one, so it waits (--delay) until the page has listed them.
void mirror().then(run, (error: unknown) => {
  describe("in Chromium", () => {
    it("opens a page", () => {
      throw error;
    });
  });
  run();
});

/** Runs the tests of a page, each of which shows here under its own name. */
async function mirror(): Promise<void> {
  const results = new Map<number, InPageResult>();
  const waiting = new Map<number, () => void>();
  const brokenHooks: string[] = [];
  const reportResult = (result: InPageResult): void => {
    if (result.test === undefined) return void brokenHooks.push(result.error ?? "");
    results.set(result.test, result);
    waiting.get(result.test)?.();
  };
  const opened = await openPage(await bundle("./in-page.ts", { keep: "all" }), { functions: { reportResult } });
  const { page } = opened;
  await page.waitForFunction(() => "listTests" in globalThis);
  const tests = await page.evaluate(() => (globalThis as unknown as InPageTests).listTests());

  let allEnded: Promise<void>;

  /** How a test of the page ended; throws where it will not end any more. */
  const resultOf = async (test: number): Promise<InPageResult> => {
    const reported = new Promise<void>((resolve) => waiting.set(test, resolve));
    if (!results.has(test)) await Promise.race([reported, allEnded]);
    const result = results.get(test);
    if (!result) throw new Error(`the page did not run it: ${brokenHooks.join("; ") || "it ended before"}`);
    return result;
  };

  describe("in Chromium", () => {
    before(() => {
      allEnded = page.evaluate((names) => (globalThis as unknown as InPageTests).runTests(names), leftOut);
      allEnded.catch(() => undefined); // thrown by the test that waits for it
    });
    after(() => opened[Symbol.asyncDispose]());

    for (const [number, titles] of tests.entries()) {
      if (leftOut !== undefined && new RegExp(leftOut).test(titles.join(" "))) continue;
      it(titles.join(": "), async function () {
        const { state, error } = await resultOf(number);
        if (state === "skipped") this.skip();
        if (error !== undefined) throw new Error(error);
      });
    }
  });
}
