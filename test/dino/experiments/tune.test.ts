import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { resolveConfig } from "../../../dino/config/resolve.js";
import { tune } from "../../../dino/experiments/tune.js";
import { forgetChoices, readChoices, tunedPath, writeChoices } from "../../../engine/adapters/node.js";
import { input, matmul, record, withChoices } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";

describe("tuning", () => {
  const product = async (choices: Readonly<Record<string, string>>) => {
    const device = withChoices(await testDevice({ kernels: "cpu" }), choices);
    using a = input(device, [10, 33]);
    using b = input(device, [33, 7]);
    using program = await record(device, () => ({ y: matmul(a, b) }));
    return { decisions: program.decisions, kernels: (await program.timeline()).map(({ kernel }) => kernel) };
  };
  const what = "matmul f32 nn 8 x 8 x 32";

  it("lets a choice decide between the ways that a device has, and the rule where there is none", async () => {
    const byRule = await product({});
    expect(byRule.decisions).to.have.length(1);
    const [decision] = byRule.decisions;
    expect(decision).to.include({ what });
    expect(decision!.ways).to.include.members(["vectors", "tiles of 64", "tiles of 128", decision!.way]);
    expect((await product({ [what]: "tiles of 64" })).kernels).to.deep.equal(["matmul-tiled"]);
    expect((await product({ [what]: "vectors" })).kernels).to.deep.equal(["matmul"]);
    for (const choices of [{ [what]: "no such way" }, { "matmul f32 nn 64 x 8 x 32": "tiles of 64" }])
      expect(await product(choices)).to.deep.equal(byRule);
  });

  it("measures every way that is there and chooses the fastest, where it is clearly that", async () => {
    const device = await testDevice();
    const config = resolveConfig({
      ...{ preset: "shapes", dim: 16, depth: 1, heads: 2, outDim: 32, hiddenDim: 24, bottleneckDim: 12, batch: 4 },
    });
    const reports: (readonly [number, number])[] = [];
    const { choices, measured, ruleMs, tunedMs } = await tune({
      ...{ device, config },
      onProgress: (done, total) => reports.push([done, total]),
    });
    expect(measured.map(({ what: choice }) => choice.split(" ")[0])).to.include.members(["matmul", "attention"]);
    for (const { what: choice, rule, best, ms } of measured) {
      expect(ms, choice).to.include.all.keys(rule, best);
      for (const [way, taken] of Object.entries(ms)) expect(taken, `${choice}, ${way}`).to.be.at.least(0);
      if (best === rule) expect(choices).to.not.have.property(choice);
      else {
        expect(choices).to.have.property(choice, best);
        expect(ms[best]).to.be.below(0.95 * ms[rule]!);
        expect(ms[best]).to.equal(Math.min(...Object.values(ms)));
      }
    }
    expect(ruleMs).to.be.above(0);
    expect(tunedMs).to.be.above(0);
    expect(reports.at(-1)![0]).to.equal(reports.at(-1)![1]);
  });

  it("is kept for an adapter, until it is forgotten", async () => {
    const folder = await mkdtemp(join(tmpdir(), "dino-tuned-"));
    try {
      const path = tunedPath("A GPU, (4.2)", folder);
      expect(path).to.equal(join(folder, "tuned", "a-gpu-4-2.json"));
      expect(readChoices(path)).to.deep.equal({});
      await writeChoices(path, { b: "two", a: "one" });
      expect(readChoices(path)).to.deep.equal({ a: "one", b: "two" });
      expect(await readFile(path, "utf8")).to.equal('{\n  "a": "one",\n  "b": "two"\n}\n');
      for (const damaged of ["{", "[]", "null", '{"a": 1}']) {
        await writeFile(path, damaged);
        expect(() => readChoices(path)).to.throw(/a-gpu-4-2\.json: not a result of tuning: .*dino tune --forget$/);
      }
      expect(forgetChoices(path)).to.equal(true);
      expect(forgetChoices(path)).to.equal(false);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
