import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chartSvg, svgToPng } from "../dino/pictures/charts.js";
import { openDevice } from "../engine/adapters/node.js";
import type { Device } from "../engine/core/device.js";
import { chromeTrace, type KernelTime } from "../engine/index.js";
import { compare, markdown, type PeerResult, runTorch } from "./against.js";
import { billionTable, measureBillion } from "./billion.js";
import { figure } from "./figures/format.js";
import { commit, origin } from "./figures/origin.js";
import { type Flags, parseFlags } from "./flags.js";
import { compareLearning } from "./learning/command.js";
import { readLearning } from "./learning/curves.js";
import { learningChart, learningTable } from "./learning/report.js";
import {
  CROPS,
  type Effort,
  expectCorrect,
  HOST,
  measure,
  measureCrops,
  type Measured,
  measureHost,
  measureStep,
  repeat,
  STEP,
  STEPS_OF_14,
  summarise,
  untilDone,
  withShare,
} from "./measure.js";
import { comparePeers } from "./peers/compare.js";
import { peerSpecs, OURS } from "./peers/engines.js";
import { peerTable } from "./peers/table.js";
import type { Effort as PeerEffort } from "./peers/workload-timing.js";
import { workloads } from "./peers/workloads.js";
import { drawEfficiency, measureRanks, rankReport } from "./ranks/command.js";
import { describeNoise, formatRow, kernelTable } from "./report.js";
import { saveResult, type DeviceResults, resultsPath } from "./save-result.js";
import { formatSample, soak, soakTable } from "./soak.js";
import { costByKernel, costTable } from "./steps/cost.js";
import { describePlans, planStep } from "./steps/memory.js";
import type { BenchRow, OwningRow } from "./steps/row.js";
import { rows } from "./steps/rows.js";
import { axes, scaleAlong, type Scaled, SCALES, scalingTable } from "./steps/scaling.js";
import { DINOV2_STEP_SIZE, recordStep, STEP_SIZE, type StepSize } from "./steps/step.js";

const EFFORT = {
  usual: { warmups: 2, minRepeats: 5, maxRepeats: 50, maxMs: 3000 },
  quick: { warmups: 0, minRepeats: 1, maxRepeats: 3, maxMs: 1000 },
} as const satisfies Record<string, Effort>;

const PEER_EFFORT = {
  usual: { rounds: 9, sampleMs: 250, warmMs: 600 },
  quick: { rounds: 2, sampleMs: 20, warmMs: 0 },
} as const satisfies Record<string, PeerEffort>;

/** Images of a step; on a software adapter a step takes seconds. */
const BATCH = { gpu: 64, software: 1 };

type Print = (line: string) => void;

/** Runs the bench as the command line asks. Throws on a wrong result and if the filter leaves nothing. */
export async function bench(argv: readonly string[], list = rows, print: Print = console.log): Promise<void> {
  const flags = parseFlags(argv);
  if (flags.plan) await benchPlans(flags, print);
  else if (flags.against === "peers") await benchPeers(flags, print);
  else if (flags.scaling) await benchScaling(flags, print);
  else if (flags.ranks) await benchRanks(flags, print);
  else if (flags.billion) await benchBillion(flags, print);
  else if (flags.learning) await benchLearning(flags, print);
  else if (flags.soak !== undefined) await benchSoak(flags, flags.soak, print);
  else await benchRows(flags, list, print);
}

/** Times the rows, a training step, its crops and the host, and the same in PyTorch on request. */
async function benchRows(flags: Flags, list: typeof rows, print: Print): Promise<void> {
  using device = await openDevice();
  const kind = device.adapterKind === "gpu" ? "gpu" : "software";
  const batch = flags.batch ?? BATCH[kind];
  const chosen = list(batch, kind).filter((row) => isWanted(row.name, flags) && canRun(row, device));

  const all: Measured[] = [];
  const note = (measured: Measured) => {
    all.push(measured);
    if (!flags.json) print(formatRow(measured));
  };
  const effort = flags.quick ? EFFORT.quick : EFFORT.usual;
  let stepTimes: readonly KernelTime[] = [];
  if (isWanted(STEP, flags)) {
    const step = await measureStep(device, stepSize(flags, { kind, batch }), effort);
    stepTimes = step.times;
    note(step.measured);
    if (flags.profile && !flags.json) print(kernelTable(stepTimes));
    if (flags.trace !== undefined) await writeFile(flags.trace, chromeTrace(step.spans, device.name));
  }
  for (const method of ["dino", "dinov2"] as const) {
    const name = STEPS_OF_14[method];
    if (!isWanted(name, flags)) continue;
    const size = { ...stepSize(flags, { kind, batch }), ...DINOV2_STEP_SIZE[kind], method };
    note((await measureStep(device, size, effort, name)).measured);
  }
  for (const row of chosen) note(withShare(await measure(device, row, effort), stepTimes));
  if (isWanted(CROPS, flags)) note(await measureCrops(device, batch, effort));
  if (isWanted(HOST, flags)) note(await measureHost(effort));
  if (all.length === 0) throw new Error(`--filter ${flags.filter} leaves no row`);

  const torch = flags.against && (await runTorch({ batch, filter: flags.filter, precision: flags.precision }));
  const profile = flags.profile && { profile: stepTimes };
  const result = { device: device.name, rows: all, ...profile, ...(torch && { commit: commit(), torch }) };
  if (flags.json) print(JSON.stringify(result, null, 2));
  else printSummary(all, { device: device.name, torch, isProfiled: flags.profile }, print);
  if (torch && isWhole(flags)) {
    const comparison = { ...origin(), ours: all, profile: stepTimes, theirs: torch };
    const key = flags.precision === "f32" ? "torch" : (`torch-${flags.precision}` as const);
    await keepResult({ device: device.name, [key]: comparison }, flags, print);
  }
}

function isWanted(name: string, { filter }: Flags): boolean {
  return name.toLowerCase().includes(filter.toLowerCase());
}

function canRun(row: BenchRow | OwningRow, device: Device): boolean {
  return !("half" in row) || device.features.has("shader-f16");
}

/** The training step that the flags ask for. */
function stepSize(
  { precision, accumulate, recompute }: Flags,
  { kind, batch }: { readonly kind: keyof typeof STEP_SIZE; readonly batch: number },
): StepSize {
  return { ...STEP_SIZE[kind], batch, precision: precision === "amp" ? "f16" : "f32", accumulate, recompute };
}

interface SummaryOptions {
  readonly device: string;
  readonly torch: PeerResult | undefined;
  /** Whether to print the kernels of PyTorch's training step. */
  readonly isProfiled: boolean;
}

/** Prints the device and the noise, and the comparison with PyTorch. */
function printSummary(all: readonly Measured[], { device, torch, isProfiled }: SummaryOptions, print: Print): void {
  print(`${device}, commit ${commit()}; ${describeNoise(all)}`);
  if (torch) print(markdown(compare(all, torch), device, torch.device));
  if (torch?.profile && isProfiled) print(`PyTorch's training step:\n${kernelTable(torch.profile.slice(0, 20))}`);
}

/** Prints the planned memory of training steps, and the predicted cost of one. */
async function benchPlans(flags: Flags, print: Print): Promise<void> {
  const size = stepSize(flags, { kind: "gpu", batch: flags.batch ?? BATCH.gpu });
  for (const line of await describePlans(size)) print(line);
  for (const line of costTable(costByKernel((await planStep(size)).recorded))) print(line);
}

/** Times other engines and ours, each in its own process. */
async function benchPeers(flags: Flags, print: Print): Promise<void> {
  const chosen = workloads.filter(({ id }) => isWanted(id, flags));
  if (chosen.length === 0) throw new Error(`--filter ${flags.filter} leaves no workload`);
  const effort = flags.quick ? PEER_EFFORT.quick : PEER_EFFORT.usual;
  const found = await comparePeers(peerSpecs, chosen, effort, (line) => {
    if (!flags.json) print(line);
  });
  const result = { device: found.engines[OURS]!.adapter, peers: { ...origin(), ...found } };
  print(flags.json ? JSON.stringify(result, null, 2) : `${peerTable(found)}\n${result.device}, commit ${commit()}`);
  if (isWhole(flags)) await keepResult(result, flags, print);
}

/** Times steps of growing size along each axis. */
async function benchScaling(flags: Flags, print: Print): Promise<void> {
  using device = await openDevice();
  const scale = SCALES[device.adapterKind === "gpu" ? "gpu" : "software"];
  const effort = flags.quick ? EFFORT.quick : EFFORT.usual;
  const scaled: Scaled[] = [];
  for (const axis of axes.filter((name) => isWanted(name, flags))) {
    const found = await scaleAlong(axis, scale, async (size) => {
      using step = await recordStep(device, size);
      expectCorrect({ name: `${STEP}, ${axis} ${size[axis]}`, tolerance: 0.2 }, await step.check());
      const { minMs } = summarise(await repeat(effort, () => untilDone(device, step.program)));
      if (!flags.json) print(`  ${axis} ${size[axis]}: ${figure(minMs)} ms`);
      return minMs;
    });
    scaled.push(found);
  }
  if (scaled.length === 0) throw new Error(`--filter ${flags.filter} leaves none of ${axes.join(", ")}`);
  const result = { device: device.name, scaling: { ...origin(), base: scale.base, axes: scaled } };
  print(flags.json ? JSON.stringify(result, null, 2) : `${scalingTable(scaled)}\n${device.name}, commit ${commit()}`);
  if (isWhole(flags)) await keepResult(result, flags, print);
}

/** Trains for the given minutes, and reports memory and time of a step. */
async function benchSoak(flags: Flags, minutes: number, print: Print): Promise<void> {
  using device = await openDevice();
  const found = await soak(device, minutes, (sample) => {
    if (!flags.json) print(formatSample(sample));
  });
  const result = { device: device.name, soak: { ...origin(), ...found } };
  print(flags.json ? JSON.stringify(result, null, 2) : `${soakTable(found)}\n${device.name}, commit ${commit()}`);
  if (!flags.quick && minutes >= 60) await keepResult(result, flags, print);
}

/** Predicts training on many GPUs from measurements on this machine. */
async function benchRanks(flags: Flags, print: Print): Promise<void> {
  const { device, ...found } = await measureRanks(flags.assume, flags);
  const result = { device, ranks: { ...origin(), ...found } };
  const said = flags.assume.get("networkGbit");
  print(flags.json ? JSON.stringify(result, null, 2) : rankReport(found, said === undefined ? undefined : [said]));
  if (!flags.json) print(`${device}, commit ${commit()}`);
  if (flags.figure !== undefined) await drawEfficiency(found.constants, flags.figure);
  if (isWhole(flags) && flags.assume.size === 0 && found.sums.length > 0) await keepResult(result, flags, print);
}

/** Times lists and orders of images in shards, without decoding them. */
async function benchBillion(flags: Flags, print: Print): Promise<void> {
  using device = await openDevice(); // takes no part, but results are kept by device
  const found = await (flags.quick
    ? measureBillion([1e4, 1e5], { shards: 1, imagesPerShard: 100 })
    : measureBillion([1e6, 1e7, 1e8]));
  const result = { device: device.name, billion: { ...origin(), ...found } };
  print(flags.json ? JSON.stringify(result, null, 2) : `${billionTable(found)}\n${device.name}, commit ${commit()}`);
  if (isWhole(flags)) await keepResult(result, flags, print);
}

/** Compares our learning curves with those of the official code. */
async function benchLearning(flags: Flags, print: Print): Promise<void> {
  const { official, recipe: given, lend, quick, json } = flags;
  if (official === undefined)
    throw new Error("--learning needs --official FOLDER: git clone https://github.com/facebookresearch/dino");
  if (given.length === 0) throw new Error("--learning needs at least one --recipe, such as --recipe shapes");
  const shortened = { flags: { steps: 20 }, seeds: 2, evaluations: 2 };
  const recipes = quick
    ? given.map((recipe) => ({ name: recipe.name, flags: { ...recipe.flags, ...shortened.flags } }))
    : given;
  const { seeds, evaluations } = quick ? shortened : flags;
  using device = await openDevice();
  const file = resultsPath(device.name, { prefix: "learning-" });
  const pairs = await compareLearning({
    device,
    official,
    recipes,
    lend,
    overwrite: flags.overwrite,
    origin,
    seeds: Array.from({ length: seeds }, (_, seed) => seed),
    evaluations: evaluations,
    file: quick ? undefined : file,
    saved: quick ? { device: device.name, recipes: [] } : await readLearning(file, device.name),
    log: (line) => {
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

/** Keeps a result in `bench/results` and prints the path. */
async function keepResult(result: DeviceResults, { json }: Flags, print: Print): Promise<void> {
  const path = await saveResult(result);
  if (!json) print(`kept in ${path}`);
}

/** Whether everything was measured, and long enough to be kept. */
function isWhole({ filter, quick }: Flags): boolean {
  return filter === "" && !quick;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await bench(process.argv.slice(2));
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
