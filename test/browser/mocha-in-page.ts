/** Mocha in a page: makes `describe` and `it` ready for the modules that follow, and runs their tests when Node asks for it. */
import "mocha/mocha.js";

/** A test of the page: the titles of its suites and its own. */
export type InPageTest = readonly string[];

/** How a test of the page ended, by its number; or a hook, which has none. */
export interface InPageResult {
  readonly test: number | undefined;
  readonly state: "passed" | "skipped" | "failed";
  readonly error?: string;
}

/** What the page offers to Node. */
export interface InPageTests {
  readonly listTests: () => readonly InPageTest[];
  /** Runs all tests but those whose full title `leftOut` matches; resolves when the last has ended. */
  readonly runTests: (leftOut?: string) => Promise<void>;
}

/** Provided by Node before the page's first line runs. */
declare const reportResult: (result: InPageResult) => Promise<void>;

function testsBelow(suite: Mocha.Suite): readonly Mocha.Test[] {
  return [...suite.tests, ...suite.suites.flatMap(testsBelow)];
}

mocha.setup({ ui: "bdd", timeout: 180_000, reporter: Mocha.reporters.Base });

const offered: InPageTests = {
  listTests: () => testsBelow(mocha.suite).map((test) => test.titlePath()),
  runTests: (leftOut) =>
    new Promise((resolve) => {
      const tests: readonly Mocha.Runnable[] = testsBelow(mocha.suite);
      if (leftOut !== undefined) mocha.grep(new RegExp(leftOut)).invert();
      const report = (test: Mocha.Runnable, state: InPageResult["state"], error?: Error): void => {
        const number = tests.indexOf(test);
        const words = error && `${number < 0 ? `${test.fullTitle()}: ` : ""}${error.stack ?? error.message}`;
        void reportResult({ test: number < 0 ? undefined : number, state, ...(words && { error: words }) });
      };
      mocha
        .run(() => resolve())
        .on("pass", (test) => report(test, "passed"))
        .on("pending", (test) => report(test, "skipped"))
        .on("fail", (test, error: Error) => report(test, "failed", error));
    }),
};
Object.assign(globalThis, offered);
