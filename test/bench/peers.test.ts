import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { comparePeers, type PeerComparison } from "../../bench/peers/compare.js";
import { peerSpecs, OURS } from "../../bench/peers/engines.js";
import { checkOf, TOLERANCE } from "../../bench/peers/expected.js";
import { bestOther, peerTable } from "../../bench/peers/table.js";
import type { Entry } from "../../bench/peers/workload-timing.js";
import { block, inputsOf, layernorm, matmul, mlp, softmax } from "../../bench/peers/workloads.js";
import { saveResult } from "../../bench/save-result.js";
import * as reference from "../../reference/operations.js";
import { rejection } from "../support/rejection.js";

const ours = peerSpecs.find(({ name }) => name === OURS)!;
const fake = { name: "fake", module: new URL("./fake-peer.ts", import.meta.url) };
const effort = { rounds: 2, sampleMs: 1, warmMs: 0 };

describe("the bench beside other engines", () => {
  it("times correct engines in turns, and skips those that are wrong, crash or lack the operation", async () => {
    const notes: string[] = [];
    const workloads = [softmax(5, 7), matmul(8, 12, 16), layernorm(3, 8), mlp(4, 8, 16, 8), block(2, 5, 2, 4, 16)];
    const contest = [ours, { ...ours, name: "twin" }, fake];
    const { engines, standings } = await comparePeers(contest, workloads, effort, (line) => notes.push(line));
    expect(Object.keys(engines)).to.deep.equal([OURS, "twin", "fake"]);
    expect(new Set(Object.values(engines).map(({ adapter }) => adapter)).size).to.equal(1);
    for (const { id, entries } of standings) {
      for (const name of [OURS, "twin"]) {
        const entry = entries[name]!;
        if (entry.state !== "timed") throw new Error(`${id}, ${name}: ${JSON.stringify(entry)}`);
        expect(entry.samples, id).to.have.length(effort.rounds);
        expect(Math.min(...entry.samples), id).to.be.above(0);
        expect(entry.deviation, id).to.be.below(1e-5);
      }
    }
    const fakes = standings.map(({ entries }) => entries["fake"]!);
    expect(fakes.map(({ state }) => state)).to.deep.equal(["failed", "wrong", "failed", "lacking", "lacking"]);
    expect(fakes[0]).to.deep.include({ reason: "the process ended with exit code 3: the driver gave up" });
    expect(fakes[2]).to.deep.include({ reason: "layernorm: not today" });
    expect(notes).to.have.length(contest.length + workloads.length);
    expect(notes[0]).to.equal(`ours of this commit: ${engines[OURS]!.adapter}`);
    expect(notes[4]).to.match(/^matmul_8x12x16 +ours [\d.]+, twin [\d.]+, fake WRONG ms; best other \/ ours [\d.]+$/);
  });

  it("leaves out an engine that is not installed", async () => {
    const missing = { name: "missing", module: new URL("./no-such-peer.ts", import.meta.url) };
    const notes: string[] = [];
    const { engines } = await comparePeers([ours, missing], [], effort, (line) => notes.push(line));
    expect(Object.keys(engines)).to.deep.equal([OURS]);
    expect(notes[1]).to.match(/^missing does not start: .*no-such-peer/);
    expect(await rejection(comparePeers([{ ...missing, name: OURS }], [], effort, () => undefined))).to.match(
      /no-such-peer/,
    );
  });
});

describe("the check of an engine's gradients", () => {
  const workload = mlp(2, 3, 4, 3);
  const { x, t, w1, b1, w2, b2 } = inputsOf(workload);
  const at = (host: typeof x) => ({ shape: host.shape, data: Float64Array.from(host.data) });
  const dense = (a: reference.Values, w: reference.Values, b: reference.Values) =>
    reference.add(reference.matmul()(a, w), b);
  const loss = (bias: reference.Values) => {
    const y = dense(reference.gelu(dense(at(x), at(w1), at(b1))), at(w2), bias);
    return y.data.reduce((sum, v, i) => sum + (v - t.data[i]!) ** 2, 0) / y.data.length;
  };

  it("takes the right loss for itself, and wants every gradient", () => {
    const check = checkOf({ ...workload, params: [] });
    expect(check({ loss: loss(at(b2)), grads: {} })).to.be.below(1e-12);
    expect(check({ loss: 1.01 * loss(at(b2)), grads: {} })).to.be.above(TOLERANCE);
    expect(checkOf(workload)({ loss: loss(at(b2)), grads: {} })).to.equal(Infinity);
  });

  it("finds one entry that is wrong", () => {
    const gradient = b2.data.map((_, i) => {
      const moved = (step: number) => loss(reference.values(b2.shape, (j) => b2.data[j]! + (i === j ? step : 0)));
      return (moved(1e-5) - moved(-1e-5)) / 2e-5;
    });
    const check = checkOf({ ...workload, params: ["b2"] });
    const of = (changed: Float32Array) =>
      check({ loss: loss(at({ shape: [3], data: inputsOf(workload).b2.data })), grads: { b2: changed } });
    expect(of(gradient)).to.be.below(1e-5);
    expect(of(gradient.with(1, 1.1 * gradient[1]!))).to.be.above(TOLERANCE);
  });
});

describe("the table of engines", () => {
  const timed = (...samples: number[]): Entry => ({ state: "timed", firstMs: 9, deviation: 1e-7, samples });
  const engine = (version: string) => ({ version, adapter: "lavapipe" });
  const { id, unit, work } = softmax(1000, 500);
  const entries = {
    ours: timed(2, 4, 2),
    quick: timed(3, 6, 5),
    slow: timed(20, 20, 20),
    wrong: { state: "wrong", deviation: 0.5 },
    poor: { state: "lacking" },
    broken: { state: "failed", reason: "the process ended with SIGSEGV" },
  } satisfies Record<string, Entry>;
  const standing = { id, unit, work, entries };
  const found: PeerComparison = {
    engines: Object.fromEntries(Object.keys(entries).map((name) => [name, engine("1.0")])),
    standings: [standing],
  };

  it("compares ours with the best of the others within each round", () => {
    expect(bestOther(standing)).to.deep.equal({ name: "quick", low: 1.5, median: 1.5, high: 2.5 });
    expect(bestOther({ ...standing, entries: { ...entries, ours: entries.wrong } })).to.equal(undefined);
    expect(bestOther({ ...standing, entries: { ours: entries.ours, wrong: entries.wrong } })).to.equal(undefined);
  });

  it("has a line a workload, then why numbers are missing, who took part, and how noisy it was", () => {
    expect(peerTable(found).split("\n")).to.deep.equal([
      "| workload | ours (rate) | quick | slow | wrong | poor | broken | best other | best other / ours (quartiles) |",
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |",
      "| softmax_1000x500 | 2.00 (2.00 GB/s) | 5.00 | 20.0 | WRONG | n/a | CRASH | quick | 1.50 (1.50 to 2.50) |",
      "",
      "softmax_1000x500, wrong: lies 0.50 from the reference",
      "softmax_1000x500, broken: the process ended with SIGSEGV",
      "ours 1.0, quick 1.0, slow 1.0, wrong 1.0, poor 1.0, broken 1.0",
      "quartiles of a ratio lie 67 % apart, 67 % in the worst (softmax_1000x500)",
    ]);
  });

  it("is kept beside what else is known of the device", async () => {
    const folder = await mkdtemp(join(tmpdir(), "kept-"));
    try {
      const origin = { commit: "abc", date: "2020-01-01T00:00:00.000Z" };
      const torch = { ...origin, ours: [], profile: [], theirs: { device: "CPU", rows: [] } };
      const peers = { ...origin, commit: "def", ...found };
      await saveResult({ device: "A GPU", torch }, folder);
      await saveResult({ device: "A GPU", peers: { ...peers, standings: [] } }, folder);
      const path = await saveResult({ device: "A GPU", peers }, folder);
      expect(path).to.equal(join(folder, "a-gpu.json"));
      expect(JSON.parse(await readFile(path, "utf8"))).to.deep.equal({ device: "A GPU", torch, peers });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
