import { expect } from "chai";
import { dataWatch } from "../../../dino/batches/data-watch.js";

describe("data watch", () => {
  const interval = (waitedMs: number) => ({ steps: 10, startMs: 1000, waitedMs });

  it("warns once, of a large share of waiting, after the first interval", () => {
    const watch = dataWatch(false);
    expect(watch(interval(900), 2000)).to.equal(undefined);
    expect(watch(interval(200), 2000)).to.equal(undefined);
    expect(watch(interval(620), 2000)).to.match(
      /^62 % of the last 10 steps went by in waiting for images: more --threads/,
    );
    expect(watch(interval(900), 2000)).to.equal(undefined);
  });

  it("names the buffer where images lie in large files", () => {
    const warn = (inFiles: boolean) => {
      const watch = dataWatch(inFiles);
      watch(interval(0), 2000);
      return watch(interval(500), 2000)!;
    };
    expect(warn(true)).to.include("--shuffle-buffer");
    expect(warn(false)).to.not.include("--shuffle-buffer");
  });
});
