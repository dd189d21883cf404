import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect } from "chai";

const run = promisify(execFile);

describe("kernels compiled without checks of indices", () => {
  it("agree with their float64 references", async () => {
    const mocha = ["node_modules/mocha/bin/mocha.js", "test/engine/ops/ops.test.ts"];
    const env = { ...process.env, DINO_BOUNDS_CHECKS: "off" };
    const { stdout } = await run(
      process.execPath,
      [...mocha, "--grep", "made for a GPU (matmul|linear|attention|layernorm|softmax)"],
      { env, maxBuffer: 2 ** 24 },
    );
    expect(Number(/(\d+) passing/.exec(stdout)?.[1])).to.be.above(20);
  }).timeout(600_000);
});
