import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect } from "chai";
import { compare, markdown, runTorch } from "../../bench/against.js";
import { measure } from "../../bench/measure.js";
import { bench } from "../../bench/run.js";
import { rowwise } from "../../bench/steps/check.js";
import { planStep } from "../../bench/steps/memory.js";
import type { BenchRow } from "../../bench/steps/row.js";
import { rows } from "../../bench/steps/rows.js";
import { SCALES } from "../../bench/steps/scaling.js";
import { flopsOf, scaleAlong, scalingTable } from "../../bench/steps/scaling.js";
import { createNetworks } from "../../bench/steps/step.js";
import { openDevice } from "../../engine/adapters/node.js";
import { scale, softmax } from "../../engine/index.js";
import * as reference from "../../reference/operations.js";
import { testDevice } from "../support/device.js";
import { rejection } from "../support/rejection.js";

const small: BenchRow = {
  name: "softmax, small",
  inputs: [[5, 7]],
  build: (x) => [softmax(x)],
  bytes: 280,
  flops: 175,
  check: rowwise(reference.softmax),
};
const wrong: BenchRow = { ...small, name: "softmax, twice", build: (x) => [scale(softmax(x), 2)] };
const effort = { warmups: 1, minRepeats: 3, maxRepeats: 3, maxMs: 0 };

/** What the bench prints for these words. */
async function printed(argv: readonly string[], table?: (batch: number) => readonly BenchRow[]): Promise<string> {
  const lines: string[] = [];
  await bench(argv, table, (line) => lines.push(line));
  return lines.join("\n");
}

describe("the bench", () => {
  it("measures a row and its rates", async () => {
    const found = await measure(await testDevice(), small, effort);
    expect(found).to.include({ name: "softmax, small", shape: "[5, 7]", repeats: 3 });
    expect(found.minMs).to.be.at.most(found.medianMs);
    expect(found.spread).to.be.at.least(0);
    expect(found.gbPerS).to.be.closeTo(280 / found.medianMs / 1e6, 1e-9);
    expect(found.gflopPerS).to.be.closeTo(175 / found.medianMs / 1e6, 1e-9);
    expect(found.kernels).to.deep.equal(["softmax"]);
  });

  it("times the kernels that a row names, and those alone", async () => {
    const device = await testDevice();
    const part = await measure(device, { ...wrong, kernels: /^scale/, check: () => 0 }, effort);
    expect(part.kernels).to.deep.equal(["scale"]);
    expect(await rejection(measure(device, { ...small, kernels: /^gelu/ }, effort))).to.equal(
      "softmax, small: no kernel is called /^gelu/",
    );
  });

  it("refuses to time a wrong result, and one that is not finite", async () => {
    const device = await testDevice();
    expect(await rejection(measure(device, wrong, effort))).to.match(
      /^softmax, twice: wrong result: expected a .* got /,
    );
    const infinite: BenchRow = { ...small, build: (x) => [scale(scale(x, 3e38), 3e38)] };
    expect(await rejection(measure(device, infinite, effort))).to.match(/wrong result: .* got Infinity$/);
  });

  it("prints one JSON object of the device and the filtered rows", async () => {
    const found = JSON.parse(await printed(["--json", "--quick", "--filter", "SOFTMAX"], () => [small])) as object;
    expect(found).to.have.all.keys("device", "rows");
    const { device, rows: timedRows } = found as { device: unknown; rows: Record<string, unknown>[] };
    expect(device).to.equal((await testDevice()).name);
    expect(timedRows.map(({ name }) => name)).to.deep.equal(["softmax, small"]);
    for (const field of ["medianMs", "minMs", "gflopPerS", "gbPerS"]) expect(timedRows[0]![field]).to.be.a("number");
  });

  it("prints a line a row, then the device, the commit and how noisy it was", async () => {
    const lines = (await printed(["--quick", "--filter", "softmax"], () => [small])).split("\n");
    expect(lines).to.have.length(2);
    expect(lines[0]).to.match(
      /^softmax, small +\S+ ms +\S+ GFLOP\/s +\S+ GB\/s +median of \d, min \S+, spread \d+ %  \[5, 7\], planned 0 MiB, 1\.00 x the least$/,
    );
    expect(lines[1]).to.match(
      /, commit \S+; quartiles of a row lie \d+ % apart, \d+ % in the worst \(softmax, small\): /,
    );
  });

  it("measures the host per replayed dispatch", async () => {
    const { rows: timedRows } = JSON.parse(await printed(["--json", "--quick", "--filter", "host"])) as {
      rows: { name: string; usPerDispatch: number }[];
    };
    expect(timedRows).to.have.length(1);
    expect(timedRows[0]!.name).to.equal("host");
    expect(timedRows[0]!.usPerDispatch).to.be.within(0, 1000);
  });

  it("plans on paper what a device plans, and prints it with and without what saves memory", async () => {
    const size = { batch: 2, globalSize: 32, localSize: 16, dim: 64, prototypes: 256 };
    using nothing = await openDevice({ prefer: "null" });
    for (const saving of [{}, { accumulate: 2, recompute: true }]) {
      using made = await createNetworks(nothing, { ...size, ...saving });
      const { bytes, lowerBoundBytes, dispatches } = made.step.program;
      const found = await planStep({ ...size, ...saving });
      expect(found).to.include({ plannedBytes: bytes, leastBytes: lowerBoundBytes });
      expect(found.recorded).to.have.length(dispatches);
      expect(found.residentBytes).to.be.above(4 * made.student.params.flat.shape[0]! * 4); // with teacher and moments
    }
    const lines = (await printed(["--plan", "--batch", "2", "--accumulate", "2"])).split("\n");
    expect(lines[0]).to.equal("ViT-S/16, 2 images, crops of 2 x 224 and 8 x 96 pixels, 65536 prototypes, f32");
    const flags = lines.map((line) => /^ {2}(\S+(?: \S+)*) +\d+ MiB/.exec(line)?.[1]);
    const predictions = lines.indexOf("predicted milliseconds, from assumed shares of each card's peak:");
    expect(flags.slice(1, predictions)).to.deep.equal([
      "weights, optimizer, crops",
      ...["a step", "--recompute", "--accumulate 2", "--accumulate 2 --recompute"],
    ]);
  });

  it("fails where the filter leaves nothing", async () => {
    expect(await rejection(printed(["--filter", "nothing at all"]))).to.equal("--filter nothing at all leaves no row");
  });

  it("has rows of different names whose costs are positive, and more of them on a GPU", () => {
    const table = rows(2, "gpu");
    expect(table.map(({ name }) => name)).to.include.members(rows(2, "software").map(({ name }) => name));
    expect(new Set(table.map(({ name }) => name)).size).to.equal(table.length);
    for (const row of table) {
      if ("make" in row) continue;
      const { name, flops = 1, bytes = 1 } = row;
      expect(Math.min(flops, bytes), name).to.be.above(0);
    }
  });

  it("fits how the time of a step grows, beside how its work does", async () => {
    const found = await scaleAlong("batch", SCALES.software, (size) => Promise.resolve(3 * size.batch ** 1.5));
    expect(found.ms).to.deep.equal(found.values.map((batch) => 3 * batch ** 1.5));
    expect(found.exponent).to.be.closeTo(1.5, 1e-12);
    expect(found.expected).to.be.closeTo(1, 1e-12);
    expect(scalingTable([found])).to.contain("| batch | 1, 2, 4, 8 | 3.00, 8.49, 24.0, 67.9 | 1.50 | 1.00 |");
    for (const axis of ["globalSize", "prototypes", "depth"] as const) {
      const { expected } = await scaleAlong(axis, SCALES.software, () => Promise.resolve(1));
      expect(expected, axis).to.be.within(0, 3);
    }
    expect(await rejection(printed(["--scaling", "--filter", "nothing"]))).to.equal(
      "--filter nothing leaves none of batch, globalSize, prototypes, depth",
    );
  });

  it("counts the operations of a step as they are", () => {
    // one block on 2 + 5 tokens of width 64, by hand
    const size = { batch: 3, globalSize: 32, localSize: 16, dim: 64, prototypes: 128, depth: 1 };
    const head = 2 * (64 * 2048 + 2048 * 2048 + 2048 * 256 + 256 * 128);
    const block = (tokens: number) => 24 * tokens * 64 * 64 + 4 * tokens * tokens * 64;
    const global = 2 * 4 * 768 * 64 + block(5) + head;
    const local = 2 * 1 * 768 * 64 + block(2) + head;
    expect(flopsOf(size)).to.equal(3 * (2 * 4 * global + 8 * 3 * local));
  });

  it("leaves the process with an error where something is wrong", async () => {
    const run = fileURLToPath(new URL("../../bench/run.ts", import.meta.url));
    const failure = await rejection(
      promisify(execFile)(process.execPath, ["--import", "tsx", run, "--filter", "nothing"]),
    );
    expect(failure).to.include("bench: --filter nothing leaves no row");
  });

  it("lays rows beside those of PyTorch", () => {
    const ours = [
      { name: "softmax", shape: "", medianMs: 2, minMs: 2, repeats: 3, spread: 0 },
      { name: "host", shape: "", medianMs: 1, minMs: 1, repeats: 3, spread: 0 },
    ];
    const theirs = { device: "CPU", rows: [{ name: "softmax", medianMs: 3, minMs: 3 }] };
    const compared = compare(ours, theirs);
    expect(compared).to.deep.equal([{ name: "softmax", oursMs: 2, theirsMs: 3, ratio: 1.5 }]);
    expect(markdown(compared, "lavapipe", "CPU")).to.contain("| softmax | 2.00 | 3.00 | 1.50 |");
  });

  it("says what is missing where there is no PyTorch", async () => {
    const before = process.env["PYTHON"];
    process.env["PYTHON"] = "false";
    try {
      const message = await rejection(runTorch({ batch: 1, filter: "", precision: "f32" }));
      expect(message).to.match(
        /^--against torch: false could not run .*bench\.py: .*install PyTorch, or let PYTHON name/,
      );
    } finally {
      if (before === undefined) delete process.env["PYTHON"];
      else process.env["PYTHON"] = before;
    }
  });
});
