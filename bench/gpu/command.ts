/** `npm run bench:gpu`: everything worth measuring on a GPU, within minutes. */
import { existsSync } from "node:fs";
import { access, constants, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError } from "commander";
import { catchSignals } from "../../dino/training/interrupt.js";
import { origin } from "../figures/origin.js";
import { resultsPath } from "../save-result.js";
import { type Facts, findFacts, root } from "./facts.js";
import { type GpuResults, report } from "./report.js";
import { runStages } from "./run-stages.js";
import type { Stage, StageResult } from "./stage.js";
import { names, stagesFor } from "./stages.js";

interface Flags {
  readonly minutes: number;
  readonly out: string;
  readonly quick: boolean;
  readonly software: boolean;
  readonly official?: string;
  readonly cifar?: string;
  readonly only: readonly string[];
}

const EXAMPLES = `
Each stage has a time limit and a process of its own; what fails, hangs or no longer fits is noted, and the others go on.
Results are written after each stage. Stages, in this order:
${Object.values(names)
  .map((name) => `  ${name}`)
  .join("\n")}

Examples:
  npm run bench:gpu
  npm run bench:gpu -- --quick
  npm run bench:gpu -- --minutes 8 --official ~/dino --cifar cifar-10 --out results`;

/** Parses the command line; ends the process on a wrong option or `--help`. */
export function parseFlags(argv: readonly string[]): Flags {
  return new Command("bench:gpu")
    .description("Checks and measures kernels, steps, training and exports on this machine's GPU.")
    .option("--minutes <minutes>", "time for everything; stages that no longer fit are skipped", positive, 8)
    .option("--out <folder>", "folder for the results, a .json and a .md file", join(root, "bench/results"))
    .option("--quick", "a rehearsal in small sizes, on any adapter, to check that everything runs", false)
    .option("--software", "measure a software adapter too", false)
    .option("--official <folder>", "checkout of facebookresearch/dino, whose step is timed too")
    .option("--cifar <folder>", "CIFAR-10 as written by bench/gpu/prepare-cifar.ts")
    .option("--only <text...>", "only stages whose name contains one of these", [])
    .addHelpText("after", EXAMPLES)
    .parse(argv, { from: "user" })
    .opts<Flags>();
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < 1e4)) throw new InvalidArgumentError("expected a number above 0");
  return value;
}

/** Runs the stages as the command line asks; returns whether none failed. Throws if they cannot begin. */
export async function benchGpu(argv: readonly string[], print = console.log): Promise<boolean> {
  const flags = parseFlags(argv);
  const began = performance.now();
  await expectWritable(flags.out);
  for (const name of ["official", "cifar"] as const) expectFolder(name, flags[name]);
  print(`measuring for ${flags.minutes} minutes at most; first what this machine has`);
  const facts = await findFacts({
    acceptsSoftware: flags.quick || flags.software,
    patienceMs: 60_000 * Math.min(flags.minutes, flags.quick ? 5 : 1.5),
  });
  print(`${facts.adapter.kind}: ${facts.adapter.name}; PyTorch: ${describePython(facts)}`);
  const work = await mkdtemp(join(tmpdir(), "dino-bench-gpu-"));
  using interruption = catchSignals((signal) => print(`${signal}: ending; results so far are kept`));
  try {
    const stages = chosenStages(facts, flags, work);
    print(describeStages(stages));
    const results = await runStages(stages, {
      cwd: root,
      totalS: 60 * flags.minutes - (performance.now() - began) / 1000,
      stop: interruption.signal,
      print,
      onResult: (found) => writeResults(facts, flags, found),
    });
    print(`written: ${resultPaths(facts, flags).join(", ")}`);
    return results.every(({ outcome }) => outcome !== "failed") && !interruption.signal.aborted;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function chosenStages(facts: Facts, { only, quick, official, cifar }: Flags, work: string) {
  const [officialFolder, cifarFolder] = [official, cifar].map((folder) => folder && resolve(folder));
  const all = stagesFor(facts, { quick, work, official: officialFolder, cifar: cifarFolder });
  const chosen = all.filter(({ name }) => only.length === 0 || only.some((text) => name.includes(text)));
  if (chosen.length === 0)
    throw new Error(`--only ${only.join(" ")} leaves no stage of: ${all.map(({ name }) => name).join(", ")}`);
  return chosen;
}

function describeStages(stages: readonly Stage[]): string {
  const possible = stages.filter(({ obstacle }) => obstacle === undefined);
  const minutes = possible.reduce((total, { expectedS }) => total + expectedS, 0) / 60;
  return `${possible.length} of ${stages.length} stages can run here, about ${minutes.toFixed(1)} minutes on a fast GPU`;
}

function describePython({ python }: Facts): string {
  if ("error" in python) return python.error;
  return `${python.packages["torch"] ?? "none"}, ${python.cuda ?? "no CUDA device"}`;
}

async function expectWritable(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (error) {
    throw new Error(`--out ${folder}: cannot be written to: ${(error as Error).message}`, { cause: error });
  }
}

function expectFolder(flag: string, folder: string | undefined): void {
  if (folder !== undefined && !existsSync(folder)) throw new Error(`--${flag} ${folder}: there is no such folder`);
}

/** Paths of the results: values for programs, and a report for readers. */
function resultPaths({ adapter }: Facts, { out, quick }: Flags): readonly [string, string] {
  const path = resultsPath(adapter.name, { prefix: quick ? "gpu-quick-" : "gpu-", folder: out });
  return [path, path.replace(/\.json$/, ".md")];
}

async function writeResults(facts: Facts, flags: Flags, stages: readonly StageResult[]): Promise<void> {
  const { diagnosis, adapter, python } = facts;
  const results: GpuResults = { device: adapter.name, ...origin(), quick: flags.quick, diagnosis, python, stages };
  const [json, markdown] = resultPaths(facts, flags);
  await writeFile(json, `${JSON.stringify(results, undefined, 2)}\n`);
  await writeFile(markdown, report(results));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    process.exitCode = (await benchGpu(process.argv.slice(2))) ? 0 : 1;
  } catch (error) {
    console.error(`bench:gpu: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
