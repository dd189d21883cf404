import { expect } from "chai";
import { performance } from "node:perf_hooks";
import { promisify } from "node:util";
import { fill, matmul, record } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";

describe("polling", () => {
  it("leaves the event loop idle while an adapter on the CPU computes", async function () {
    const device = await testDevice();
    if (device.adapterKind === "gpu") this.skip(); // there waiting is short, and every millisecond counts
    using program = await record(device, () => ({
      y: matmul(fill([512, 2048], 1), fill([2048, 512], 1)),
    }));
    await program.run();
    await program.read("y");
    const before = performance.eventLoopUtilization();
    await program.run();
    const y = await program.read("y");
    const { utilization } = performance.eventLoopUtilization(before);
    expect(y[0]).to.equal(2048);
    expect(utilization).to.be.below(0.5);
  });

  it("changes nothing for others who call setImmediate", async () => {
    await testDevice();
    const words: string[] = [];
    const resolved = new Promise<void>((resolve) => setImmediate(resolve)).then(() => words.push("resolver"));
    setImmediate((word: string) => words.push(word), "closure");
    const timer = new Promise<void>((resolve) => setTimeout(resolve, 20)).then(() => words.push("timer"));
    await Promise.all([resolved, timer]);
    expect(words)
      .to.have.members(["resolver", "closure", "timer"])
      .and.satisfy((all: string[]) => all[2] === "timer");
    expect(await promisify(setImmediate)("word")).to.equal("word");
    const stopped = setImmediate(() => words.push("stopped"));
    clearImmediate(stopped);
    await promisify(setImmediate)();
    expect(words).to.have.length(3);
  });
});
