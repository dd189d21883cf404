import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError, Option } from "commander";
import { chartSvg, svgToPng } from "../dino/pictures/charts.js";
import { openDevice } from "../engine/adapters/node.js";
import type { Device } from "../engine/core/device.js";
import { pipelineCount } from "../engine/core/pipeline.js";
import { formatShape } from "../engine/core/tensor.js";
import { byKernel, chromeTrace, input, type KernelTime, type Program, record, type Span } from "../engine/index.js";
import { compare, markdown, precisions, runTorch, type TorchOptions } from "./against.js";
import { billionTable, measureBillion } from "./billion.js";
import { figure, percent } from "./figures/format.js";
import type { Origin } from "./figures/origin.js";
import { quantile } from "./figures/quantile.js";
import { keep, resultsPath } from "./keep.js";
import { compareLearning, type Lending, lendings, parseRecipe, type Recipe } from "./learning/command.js";
import { readLearning } from "./learning/curves.js";
import { learningChart, learningTable } from "./learning/report.js";
import { comparePeers } from "./peers/compare.js";
import { entrants, OURS } from "./peers/entrants.js";
import type { Effort as PeerEffort } from "./peers/race.js";
import { peerTable } from "./peers/table.js";
import { workloads } from "./peers/workloads.js";
import { drawEfficiency, measureRanks, rankReport } from "./ranks/command.js";
import { type ConstantName, readAssumption } from "./ranks/constants.js";
import { formatSample, soak, soakTable } from "./soak.js";
import { recordCrops } from "./steps/crops.js";
import { describeMemory, describePlans, savingFlags } from "./steps/memory.js";
import { type BenchRow, numbers, type OwningRow, rows } from "./steps/rows.js";
import { axes, scaleAlong, SCALES, type Scaled, scalingTable } from "./steps/scaling.js";
import { recordStep, STEP_SIZE, type StepSize } from "./steps/step.js";

/** What one line of the bench found. */
export interface Measured {
  readonly name: string;
  /** Shapes of the inputs, or what the row says of its size. */
  readonly shape: string;
  readonly medianMs: number;
  readonly minMs: number;
  readonly repeats: number;
  /** Distance of the quartiles over the median: how noisy the machine was. */
  readonly spread: number;
  readonly gflopPerS?: number;
  readonly gbPerS?: number;
  /** Part of a training step that the row's kernels take, in all their shapes; where the step was measured too. */
  readonly shareOfStep?: number;
  /** Host time of one replayed dispatch in microseconds. */
  readonly usPerDispatch?: number;
  /** Images of a training step, or whose crops are made, in a second. */
  readonly imagesPerS?: number;
  readonly kernels?: readonly string[];
  /** Bytes of the planned buffers, and of the fullest moment, less than which no plan can do. */
  readonly plannedBytes?: number;
  readonly leastBytes?: number;
  /** Of a training step: until the first one was done, networks and pipelines made on the way, and how many of these. */
  readonly coldMs?: number;
  readonly pipelines?: number;
}

export interface Effort {
  readonly warmups: number;
  readonly minRepeats: number;
  readonly maxRepeats: number;
  /** No repeat starts later than this. */
  readonly maxMs: number;
}

const EFFORT = {
  usual: { warmups: 2, minRepeats: 5, maxRepeats: 50, maxMs: 3000 },
  quick: { warmups: 0, minRepeats: 1, maxRepeats: 3, maxMs: 1000 },
} as const satisfies Record<string, Effort>;

const PEER_EFFORT = {
  usual: { rounds: 9, sampleMs: 250, warmMs: 600 },
  quick: { rounds: 2, sampleMs: 20, warmMs: 0 },
} as const satisfies Record<string, PeerEffort>;

/** Images of a step, scaled to fit: software adapters stay within seconds. */
const BATCH = { gpu: 64, software: 1 };

const STEP = "training step";
const HOST = "host";
const CROPS = "crops of a batch";

/** Checks one row against its reference, then times it. Throws where the result is wrong. */
export async function measure(device: Device, row: BenchRow | OwningRow, effort: Effort): Promise<Measured> {
  if ("make" in row) {
    using made = row.make(device);
    return await measure(device, made, effort);
  }
  const host = row.inputs.map((shape, i) => numbers(shape, i));
  const inputs = host.map(({ shape, data }) => {
    const x = input(device, shape);
    x.write(data);
    return x;
  });
  try {
    let shape: readonly number[] = [];
    using program = await record(device, () => {
      const [result, ...others] = row.build(...inputs);
      shape = result.shape;
      return { result, ...Object.fromEntries(others.entries()) };
    });
    await program.run();
    expectRight(row, row.check(host, { shape, data: await program.read("result") }));
    const kernels = new Set<string>();
    const times = await repeat(effort, async () => {
      const counted = (await program.profile()).filter(({ kernel }) => row.kernels?.test(kernel) ?? true);
      if (counted.length === 0) throw new Error(`${row.name}: no kernel is called ${String(row.kernels)}`);
      for (const { kernel } of counted) kernels.add(kernel);
      return counted.reduce((total, { ms }) => total + ms, 0);
    });
    const summary = summarise(times);
    return {
      name: row.name,
      shape: row.shape ?? row.inputs.map(formatShape).join(" "),
      ...summary,
      ...(row.flops === undefined ? {} : { gflopPerS: row.flops / summary.medianMs / 1e6 }),
      ...(row.bytes === undefined ? {} : { gbPerS: row.bytes / summary.medianMs / 1e6 }),
      kernels: [...kernels],
      ...memoryOf(program),
    };
  } finally {
    for (const x of inputs) x[Symbol.dispose]();
  }
}

function expectRight({ name, tolerance = 1e-5 }: Pick<BenchRow, "name" | "tolerance">, deviation: number): void {
  if (!(deviation <= tolerance)) {
    throw new Error(
      `${name}: wrong result: expected a deviation of at most ${tolerance} from the reference, got ${deviation}`,
    );
  }
}

async function repeat(effort: Effort, once: () => Promise<number>): Promise<number[]> {
  for (let i = 0; i < effort.warmups; i++) await once();
  const times: number[] = [];
  const start = performance.now();
  while (times.length < effort.maxRepeats) {
    if (times.length >= effort.minRepeats && performance.now() - start > effort.maxMs) break;
    times.push(await once());
  }
  return times;
}

function summarise(times: readonly number[]): Pick<Measured, "medianMs" | "minMs" | "repeats" | "spread"> {
  const medianMs = quantile(times, 0.5);
  return {
    medianMs,
    minMs: quantile(times, 0),
    repeats: times.length,
    spread: medianMs > 0 ? (quantile(times, 0.75) - quantile(times, 0.25)) / medianMs : 0,
  };
}

function memoryOf({ bytes, lowerBoundBytes }: Program): Pick<Measured, "plannedBytes" | "leastBytes"> {
  return { plannedBytes: bytes, leastBytes: lowerBoundBytes };
}

/** The whole step by the host's clock, and what each kernel has of it by `profile()`. */
async function measureStep(
  device: Device,
  size: StepSize,
  effort: Effort,
): Promise<{ readonly measured: Measured; readonly spans: readonly Span[]; readonly times: readonly KernelTime[] }> {
  const before = pipelineCount(device);
  const start = performance.now();
  using step = await recordStep(device, size);
  expectRight({ name: STEP, tolerance: 0.1 }, await step.check());
  const coldMs = performance.now() - start;
  const pipelines = pipelineCount(device) - before;
  const summary = summarise(await repeat(effort, () => untilDone(device, step.program)));
  const spans = await step.program.timeline();
  const times = byKernel(spans);
  const cold = `the first after ${figure(coldMs)} ms, ${pipelines} pipelines`;
  const images = [`${size.batch} images`, ...savingFlags(size)].join(" ");
  const shape = `${images}, ${size.precision ?? "f32"}, ${step.program.dispatches} dispatches, ${cold}`;
  const planned = { ...memoryOf(step.program), coldMs, pipelines };
  const kernels = times.map(({ kernel }) => kernel);
  const imagesPerS = (1000 * size.batch) / summary.medianMs;
  return { measured: { name: STEP, shape, ...summary, imagesPerS, kernels, ...planned }, spans, times };
}

/** Augmentation alone: from decoded pixels to ten normalised crops of each image. */
async function measureCrops(device: Device, batch: number, effort: Effort): Promise<Measured> {
  using crops = await recordCrops(device, batch);
  const summary = summarise(await repeat(effort, () => untilDone(device, crops)));
  const shape = `${batch} pictures of 500 x 375, 2 crops of 224 and 8 of 96 each`;
  return { name: CROPS, shape, ...summary, imagesPerS: (1000 * batch) / summary.medianMs };
}

/** JavaScript's part of a step: what replaying costs where nothing is computed. */
async function measureHost(effort: Effort): Promise<Measured> {
  using nothing = await openDevice({ prefer: "null" });
  using step = await recordStep(nothing, {
    batch: 1,
    globalSize: 32,
    localSize: 16,
    dim: 64,
    prototypes: 256,
  });
  const { program } = step;
  const summary = summarise(await repeat(effort, () => untilDone(nothing, program)));
  const shape = `${program.dispatches} dispatches`;
  return { name: HOST, shape, ...summary, usPerDispatch: (1000 * summary.medianMs) / program.dispatches };
}

async function untilDone(device: Device, program: Pick<Program, "run">): Promise<number> {
  const start = performance.now();
  await program.run();
  await device.gpu.queue.onSubmittedWorkDone();
  return performance.now() - start;
}

const EXAMPLES = `
Examples:
  npm run bench -- --filter softmax
  npm run bench -- --ranks --assume networkGbit=100 --assume images=16
  npm run bench -- --billion --quick
  npm run bench -- --learning --official ~/dino --recipe shapes --recipe "shapes flip=0.5 jitter=0.8"`;

interface Flags {
  readonly filter: string;
  readonly json: boolean;
  readonly quick: boolean;
  readonly batch?: number;
  readonly accumulate: number;
  readonly recompute: boolean;
  readonly plan: boolean;
  readonly scaling: boolean;
  readonly soak?: number;
  readonly ranks: boolean;
  readonly assume: ReadonlyMap<ConstantName, number>;
  readonly figure?: string;
  readonly billion: boolean;
  readonly profile: boolean;
  readonly trace?: string;
  readonly against?: "torch" | "peers";
  readonly precision: TorchOptions["precision"];
  readonly learning: boolean;
  readonly official?: string;
  readonly recipe: readonly Recipe[];
  readonly seeds: number;
  readonly evaluations: number;
  readonly lend: readonly Lending[];
  readonly overwrite: boolean;
}

/** Runs the bench as the command line asks. Throws where a result is wrong or where the filter leaves nothing. */
export async function bench(argv: readonly string[], list = rows, print: (line: string) => void = console.log) {
  const flags = new Command("bench")
    .description("Times every kernel, a training step and the host on this machine, after checking their results.")
    .option("--filter <text>", "only rows whose name contains this", "")
    .option("--json", "print one JSON object", false)
    .option("--quick", "few repeats: does it run at all?", false)
    .option("--profile", "print what each kernel has of the training step", false)
    .option("--trace <file>", "write the training step's dispatches for chrome://tracing or ui.perfetto.dev")
    .addOption(
      new Option(
        "--against <whom>",
        "measure the same rows in PyTorch, or other work in other WebGPU engines; keep all of it in bench/results, unless --filter or --quick leave something out",
      ).choices(["torch", "peers"]),
    )
    .addOption(
      new Option("--precision <name>", "of PyTorch; with amp, our training step is in f16")
        .choices(precisions)
        .default("f32"),
    )
    .option("--batch <images>", "images of a step; 64 on a GPU, 1 in software", positive)
    .option("--accumulate <parts>", "equal parts that the images of a step go through in", positive, 1)
    .option("--recompute", "compute blocks again in the step, for less memory", false)
    .option("--plan", "time nothing: print the memory of a ViT-S/16 step, with --recompute and --accumulate", false)
    .option("--scaling", "time nothing but steps of growing batch, image, number of prototypes and depth", false)
    .option("--soak <minutes>", "train for so long, and say whether memory and time of a step stay the same", positive)
    .option("--ranks", "time nothing but what several ranks wait for, and say what follows for many GPUs", false)
    .option(
      "--assume <name=number>",
      "a constant of --ranks, such as networkGbit=100; as often as wanted, their table has the names",
      (text, all: ReadonlyMap<ConstantName, number>) => new Map([...all, readAssumption(text)]),
      new Map<ConstantName, number>(),
    )
    .option("--figure <file>", "where --ranks draws efficiency over GPUs, and --learning its curves, as a PNG")
    .option(
      "--billion",
      "time nothing but lists and orders of images in shards, and say what a billion would cost",
      false,
    )
    .option(
      "--learning",
      "time nothing but trainings of ours and of the official code on the same images with the same settings, and draw both learning curves",
      false,
    )
    .option("--official <folder>", "of facebookresearch/dino, which --learning trains")
    .option(
      "--recipe <recipe>",
      'of --learning: "PRESET SETTING=VALUE ..."; as often as wanted',
      (text, all: readonly Recipe[]) => [...all, parseRecipe(text)],
      [],
    )
    .option("--seeds <count>", "trainings of a recipe by either code", positive, 5)
    .option(
      "--evaluations <times>",
      "k-NN evaluations of a training besides the one before its first step",
      positive,
      8,
    )
    .addOption(
      new Option("--lend <what...>", "give the official code our start values or our crops instead of its own")
        .choices(lendings)
        .default([], "neither"),
    )
    .option("--overwrite", "train again what --learning finds among its results", false)
    .addHelpText("after", EXAMPLES)
    .parse(argv, { from: "user" })
    .opts<Flags>();
  const { accumulate, recompute } = flags;
  if (flags.plan) {
    for (const line of await describePlans({ batch: flags.batch ?? BATCH.gpu, accumulate })) print(line);
    return;
  }
  if (flags.against === "peers") {
    await benchPeers(flags, print);
    return;
  }
  if (flags.scaling) {
    await benchScaling(flags, print);
    return;
  }
  if (flags.ranks) {
    await benchRanks(flags, print);
    return;
  }
  if (flags.billion) {
    await benchBillion(flags, print);
    return;
  }
  if (flags.learning) {
    await benchLearning(flags, print);
    return;
  }
  if (flags.soak !== undefined) {
    await benchSoak(flags, flags.soak, print);
    return;
  }
  using device = await openDevice();
  const effort = flags.quick ? EFFORT.quick : EFFORT.usual;
  const kind = device.adapterKind === "gpu" ? "gpu" : "software";
  const batch = flags.batch ?? BATCH[kind];
  const precision = flags.precision === "amp" ? "f16" : "f32";
  const wanted = (name: string) => name.toLowerCase().includes(flags.filter.toLowerCase());
  const runs = (row: BenchRow | OwningRow) => !("half" in row) || device.features.has("shader-f16");
  const chosen = list(batch, kind).filter((row) => wanted(row.name) && runs(row));

  const all: Measured[] = [];
  const note = (measured: Measured) => {
    all.push(measured);
    if (!flags.json) print(format(measured));
  };
  let stepTimes: readonly KernelTime[] = [];
  if (wanted(STEP)) {
    const { measured, spans, times } = await measureStep(
      device,
      { ...STEP_SIZE[kind], batch, precision, accumulate, recompute },
      effort,
    );
    stepTimes = times;
    note(measured);
    if (flags.profile && !flags.json) print(table(stepTimes));
    if (flags.trace !== undefined) await writeFile(flags.trace, chromeTrace(spans, device.name));
  }
  for (const row of chosen) note(withShare(await measure(device, row, effort), stepTimes));
  if (wanted(CROPS)) note(await measureCrops(device, batch, effort));
  if (wanted(HOST)) note(await measureHost(effort));
  if (all.length === 0) throw new Error(`--filter ${flags.filter} leaves no row`);

  const torch = flags.against && (await runTorch({ batch, filter: flags.filter, precision: flags.precision }));
  if (flags.json)
    print(JSON.stringify({ device: device.name, rows: all, ...(torch && { commit: commit(), torch }) }, null, 2));
  else {
    print(`${device.name}, commit ${commit()}; ${noise(all)}`);
    if (torch) print(markdown(compare(all, torch), device.name, torch.device));
    if (torch?.profile && flags.profile) print(`PyTorch's training step:\n${table(torch.profile.slice(0, 20))}`);
  }
  if (torch && isWhole(flags)) {
    const path = await keep({
      device: device.name,
      torch: { ...origin(), ours: all, profile: stepTimes, theirs: torch },
    });
    if (!flags.json) print(`kept in ${path}`);
  }
}

/** Other engines beside ours, each in a process of its own. */
async function benchPeers(flags: Flags, print: (line: string) => void): Promise<void> {
  const chosen = workloads.filter(({ id }) => id.toLowerCase().includes(flags.filter.toLowerCase()));
  if (chosen.length === 0) throw new Error(`--filter ${flags.filter} leaves no workload`);
  const effort = flags.quick ? PEER_EFFORT.quick : PEER_EFFORT.usual;
  const found = await comparePeers(entrants, chosen, effort, (line) => {
    if (!flags.json) print(line);
  });
  const result = { device: found.engines[OURS]!.adapter, peers: { ...origin(), ...found } };
  print(flags.json ? JSON.stringify(result, null, 2) : `${peerTable(found)}\n${result.device}, commit ${commit()}`);
  if (!isWhole(flags)) return;
  const path = await keep(result);
  if (!flags.json) print(`kept in ${path}`);
}

/** Steps of growing size along each axis. */
async function benchScaling(flags: Flags, print: (line: string) => void): Promise<void> {
  using device = await openDevice();
  const scale = SCALES[device.adapterKind === "gpu" ? "gpu" : "software"];
  const effort = flags.quick ? EFFORT.quick : EFFORT.usual;
  const scaled: Scaled[] = [];
  for (const axis of axes.filter((name) => name.toLowerCase().includes(flags.filter.toLowerCase()))) {
    const found = await scaleAlong(axis, scale, async (size) => {
      using step = await recordStep(device, size);
      expectRight({ name: `${STEP}, ${axis} ${size[axis]}`, tolerance: 0.2 }, await step.check());
      const { minMs } = summarise(await repeat(effort, () => untilDone(device, step.program)));
      if (!flags.json) print(`  ${axis} ${size[axis]}: ${figure(minMs)} ms`);
      return minMs;
    });
    scaled.push(found);
  }
  if (scaled.length === 0) throw new Error(`--filter ${flags.filter} leaves none of ${axes.join(", ")}`);
  const result = { device: device.name, scaling: { ...origin(), base: scale.base, axes: scaled } };
  print(flags.json ? JSON.stringify(result, null, 2) : `${scalingTable(scaled)}\n${device.name}, commit ${commit()}`);
  if (!isWhole(flags)) return;
  const path = await keep(result);
  if (!flags.json) print(`kept in ${path}`);
}

/** A training that goes on and on. */
async function benchSoak(flags: Flags, minutes: number, print: (line: string) => void): Promise<void> {
  using device = await openDevice();
  const found = await soak(device, minutes, (sample) => {
    if (!flags.json) print(formatSample(sample));
  });
  const result = { device: device.name, soak: { ...origin(), ...found } };
  print(flags.json ? JSON.stringify(result, null, 2) : `${soakTable(found)}\n${device.name}, commit ${commit()}`);
  if (flags.quick || minutes < 60) return;
  const path = await keep(result);
  if (!flags.json) print(`kept in ${path}`);
}

/** Training on many GPUs, on paper, with what can be measured here. */
async function benchRanks(flags: Flags, print: (line: string) => void): Promise<void> {
  const { device, ...found } = await measureRanks(flags.assume, flags);
  const result = { device, ranks: { ...origin(), ...found } };
  const said = flags.assume.get("networkGbit");
  print(flags.json ? JSON.stringify(result, null, 2) : rankReport(found, said === undefined ? undefined : [said]));
  if (!flags.json) print(`${device}, commit ${commit()}`);
  if (flags.figure !== undefined) await drawEfficiency(found.constants, flags.figure);
  if (!isWhole(flags) || flags.assume.size > 0 || found.sums.length === 0) return;
  const path = await keep(result);
  if (!flags.json) print(`kept in ${path}`);
}

/** Sets of images in shards, of which no pixel is looked at. */
async function benchBillion(flags: Flags, print: (line: string) => void): Promise<void> {
  using device = await openDevice(); // takes no part, but results are kept by device
  const found = await (flags.quick
    ? measureBillion([1e4, 1e5], { shards: 1, imagesPerShard: 100 })
    : measureBillion([1e6, 1e7, 1e8]));
  const result = { device: device.name, billion: { ...origin(), ...found } };
  print(flags.json ? JSON.stringify(result, null, 2) : `${billionTable(found)}\n${device.name}, commit ${commit()}`);
  if (!isWhole(flags)) return;
  const path = await keep(result);
  if (!flags.json) print(`kept in ${path}`);
}

/** Our learning curves beside those of the official code. */
async function benchLearning(flags: Flags, print: (line: string) => void): Promise<void> {
  const { official, recipe: given, lend, quick, json } = flags;
  if (official === undefined)
    throw new Error("--learning needs --official FOLDER: git clone https://github.com/facebookresearch/dino");
  if (given.length === 0) throw new Error("--learning needs at least one --recipe, such as --recipe shapes");
  const shortened = { flags: { steps: 20 }, seeds: 2, evaluations: 2 };
  const recipes = quick
    ? given.map(({ name, flags: settings }) => ({ name, flags: { ...settings, ...shortened.flags } }))
    : given;
  const { seeds, evaluations } = quick ? shortened : flags;
  using device = await openDevice();
  const file = resultsPath(device.name, { prefix: "learning-" });
  const pairs = await compareLearning({
    ...{ device, official, recipes, lend, overwrite: flags.overwrite, origin },
    ...{ seeds: Array.from({ length: seeds }, (_, seed) => seed), times: evaluations },
    file: quick ? undefined : file,
    kept: quick ? { device: device.name, recipes: [] } : await readLearning(file, device.name),
    say: (line) => {
      if (!json) print(line);
    },
  });
  print(json ? JSON.stringify({ device: device.name, pairs }, null, 2) : pairs.map(learningTable).join("\n\n"));
  const figureFile = flags.figure ?? (quick || lend.length > 0 ? undefined : README_FIGURE);
  if (figureFile !== undefined) await writeFile(figureFile, svgToPng(await chartSvg(learningChart(pairs))));
  if (json) return;
  if (!quick) print(`kept in ${file}`);
  if (figureFile !== undefined) print(`drawn in ${figureFile}`);
}

const README_FIGURE = fileURLToPath(new URL("../.readme/learning.png", import.meta.url));

/** Whether all was measured, and long enough to be kept. */
function isWhole({ filter, quick }: Flags): boolean {
  return filter === "" && !quick;
}

function origin(): Origin {
  return { commit: commit(), date: new Date().toISOString() };
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError("expected a positive whole number");
  return value;
}

function withShare(measured: Measured, step: readonly KernelTime[]): Measured {
  const parts = step.filter(({ kernel }) => measured.kernels?.includes(kernel));
  return parts.length === 0 ? measured : { ...measured, shareOfStep: parts.reduce((sum, { share }) => sum + share, 0) };
}

/** What each kernel has of the step, the costliest first. */
function table(times: readonly KernelTime[]): string {
  return times
    .map(({ kernel, calls, ms, share }) =>
      [
        `  ${kernel.padEnd(38)}`,
        `${figure(ms)} ms`.padStart(12),
        percent(share).padStart(7),
        `${calls} calls`.padStart(12),
      ].join(""),
    )
    .join("\n");
}

function format({ name, shape, medianMs, minMs, repeats, spread, ...rates }: Measured): string {
  const { gflopPerS, gbPerS, shareOfStep, usPerDispatch, imagesPerS, plannedBytes, leastBytes } = rates;
  const memory = plannedBytes && leastBytes ? `, planned ${describeMemory({ plannedBytes, leastBytes })}` : "";
  return [
    name.padEnd(30),
    `${figure(medianMs)} ms`.padStart(12),
    (gflopPerS === undefined ? "" : `${figure(gflopPerS)} GFLOP/s`).padStart(15),
    (gbPerS === undefined ? "" : `${figure(gbPerS)} GB/s`).padStart(13),
    (shareOfStep === undefined ? "" : `${percent(shareOfStep)} of step`).padStart(13),
    (imagesPerS === undefined ? "" : `${figure(imagesPerS)} images/s`).padStart(imagesPerS ? 20 : 0),
    (usPerDispatch === undefined ? "" : `${figure(usPerDispatch)} us a dispatch`).padStart(usPerDispatch ? 20 : 0),
    `  median of ${repeats}, min ${figure(minMs)}, spread ${percent(spread)}  ${shape}${memory}`,
  ].join("");
}

/** How far the repeats lie apart, in words. */
function noise(all: readonly Measured[]): string {
  const sorted = all.toSorted((a, b) => a.spread - b.spread);
  const usual = sorted[Math.floor(sorted.length / 2)]!.spread;
  const worst = sorted.at(-1)!;
  const verdict = usual > 0.1 ? "noisy: measure again on a machine that does nothing else" : "quiet";
  return `quartiles of a row lie ${percent(usual)} apart, ${percent(worst.spread)} in the worst (${worst.name}): ${verdict}`;
}

function commit(): string {
  try {
    const git = (...words: string[]) => execFileSync("git", words, { encoding: "utf8", stdio: "pipe" }).trim();
    return git("describe", "--always", "--dirty");
  } catch {
    return "unknown";
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await bench(process.argv.slice(2));
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
