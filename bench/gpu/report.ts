/** The report of `bench:gpu` as Markdown. */
import type { Diagnosis } from "../../dino/experiments/doctor.js";
import type { Tuned } from "../../dino/experiments/tune.js";
import type { KernelTime } from "../../engine/index.js";
import type { PeerResult } from "../against.js";
import { figure } from "../figures/format.js";
import type { Origin } from "../figures/origin.js";
import type { Measured } from "../measure.js";
import { kernelTable } from "../report.js";
import type { RowLine } from "./measure-rows.js";
import type { OpenedExport } from "./open-exports.js";
import { besideTorch, cardOf, shareOf, sharesTable, type Share } from "./shares.js";
import { isTestResults, type StageResult } from "./stage.js";
import { names } from "./stages.js";
import type { CifarTraining } from "./train-cifar.js";
import type { Twice } from "./train-twice.js";

/** Contents of the results file. */
export interface GpuResults extends Origin {
  /** Name of the adapter, with its driver. */
  readonly device: string;
  /** Whether this is a rehearsal in small sizes, whose times say nothing. */
  readonly quick: boolean;
  readonly diagnosis: Diagnosis;
  readonly python: unknown;
  readonly stages: readonly StageResult[];
}

/** Formats the results. */
export function report(results: GpuResults): string {
  const { device, commit, date, quick, diagnosis, stages } = results;
  const { node, webgpu, system, processor } = diagnosis.machine;
  const parts = [
    `# ${device}`,
    `Commit ${commit}, ${date}. ${system}; ${processor}; Node ${node}, webgpu ${webgpu}.`,
    quick ? "**A rehearsal in small sizes: its times say nothing.**" : "",
    stagesTable(stages),
    failureList(stages),
    section("Shares of the card's peak", sharesSection(results)),
    section("A training step of ViT-S/16", stepsTable(stages)),
    section("Kernels of the step in f16", kernelsOf(stages, names.stepF16)),
    section("Kernel choice", tuneSection(stages)),
    section("Two trainings from one seed", twiceSection(stages)),
    section("CIFAR-10", cifarSection(stages)),
    section("Exports", exportsTable(stages)),
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

const section = (title: string, content: string) => (content === "" ? "" : `## ${title}\n\n${content}`);

/** What a stage printed; undefined if it did not run or was killed before. */
function found(stages: readonly StageResult[], name: string): unknown {
  return stages.find((stage) => stage.name === name)?.found;
}

function stagesTable(stages: readonly StageResult[]): string {
  return [
    "| stage | outcome | seconds | note |",
    "| --- | --- | ---: | --- |",
    ...stages.map(
      ({ name, outcome, seconds, note = "" }) =>
        `| ${name} | ${outcome === "failed" ? "**failed**" : outcome} | ${seconds.toFixed(1)} | ${note.replaceAll("|", "\\|")} |`,
    ),
  ].join("\n");
}

/** Lists failed tests and rows, with what was wrong. */
function failureList(stages: readonly StageResult[]): string {
  const lines = stages.flatMap(({ name, found: printed }) => {
    if (isTestResults(printed))
      return printed.failures.map(({ title, message }) => `- ${name}: ${title}: ${message.split("\n")[0] ?? ""}`);
    if (name !== names.rows || !Array.isArray(printed)) return [];
    return (printed as readonly RowLine[]).flatMap((line) =>
      line.kind === "failure" ? [`- ${line.name}: ${line.message}`] : [],
    );
  });
  return section("Failures", lines.join("\n"));
}

/** Returns the shares of all measured rows, beside PyTorch's times, and the bandwidth of copies. */
export function sharesOf({ device, stages }: Pick<GpuResults, "device" | "stages">): {
  readonly shares: readonly Share[];
  readonly copyGbPerS: number | undefined;
} {
  const lines = (found(stages, names.rows) as readonly RowLine[] | undefined) ?? [];
  const copyGbPerS = lines.find((line) => line.kind === "copy")?.gbPerS;
  const peaks = { card: cardOf(device), copyGbPerS };
  const torch = [names.torchF32, names.torchF16, names.torchBf16].flatMap(
    (name) => (found(stages, name) as PeerResult | undefined)?.rows ?? [],
  );
  const measured = lines.filter((line) => line.kind === "row");
  return { shares: measured.map(({ row, half }) => besideTorch(shareOf(row, half, peaks), torch)), copyGbPerS };
}

function sharesSection(results: GpuResults): string {
  const { shares, copyGbPerS } = sharesOf(results);
  if (shares.length === 0) return "";
  const card = cardOf(results.device);
  const peak = card
    ? `Peak of ${card.name}: ${card.f32Tflops} TFLOP/s in f32, ${card.f16Tflops} in f16 on matrix units, ${card.gbPerS} GB/s.`
    : "The peak of this card is not in `bench/steps/cards.ts`.";
  const copies = copyGbPerS === undefined ? "" : ` Copies reach ${figure(copyGbPerS)} GB/s.`;
  return `${peak}${copies}\n\n${sharesTable(shares)}`;
}

/** The row of a training step in our results or in PyTorch's, which name no size. */
type StepRow = Pick<Measured, "name" | "medianMs"> & Partial<Pick<Measured, "shape">>;

/** A training step by one program. */
interface StepTime {
  readonly name: string;
  readonly ms: number;
  readonly size: string;
}

function stepsTable(stages: readonly StageResult[]): string {
  const ours = [names.stepF16, names.stepF32];
  const theirs = [names.torchF16, names.torchBf16, names.compiled, names.official, names.torchF32];
  const steps = [...ours, ...theirs].flatMap((name): StepTime[] => {
    const result = found(stages, name) as { readonly rows: readonly StepRow[] } | undefined;
    const row = result?.rows.find((each) => each.name === "training step");
    return row ? [{ name, ms: row.medianMs, size: row.shape ?? "" }] : [];
  });
  const base = steps[0];
  if (!base) return "";
  return [
    `| program | ms | time over ${base.name} | size |`,
    "| --- | ---: | ---: | --- |",
    ...steps.map(({ name, ms, size }) => `| ${name} | ${figure(ms)} | ${(ms / base.ms).toFixed(2)} | ${size} |`),
  ].join("\n");
}

function kernelsOf(stages: readonly StageResult[], name: string): string {
  const profile = (found(stages, name) as { readonly profile?: readonly KernelTime[] } | undefined)?.profile;
  return profile ? `\`\`\`\n${kernelTable(profile.slice(0, 25))}\n\`\`\`` : "";
}

function tuneSection(stages: readonly StageResult[]): string {
  const tuned = found(stages, names.tune) as Tuned | undefined;
  if (!tuned) return "";
  const better = tuned.measured.filter(({ rule, best }) => rule !== best);
  return [
    `A step by the rules takes ${figure(tuned.ruleMs)} ms of kernel time, with the fastest kernels ${figure(tuned.tunedMs)} ms; ` +
      `${better.length} of ${tuned.measured.length} choices differ from the rules.`,
    ...better.map(
      ({ what, rule, best, ms }) =>
        `- ${what}: ${best} ${figure(ms[best]!)} ms, by the rule ${rule} ${figure(ms[rule]!)} ms`,
    ),
  ].join("\n");
}

function twiceSection(stages: readonly StageResult[]): string {
  const twice = found(stages, names.twice) as Twice | undefined;
  if (!twice) return "";
  const { steps, bytes, same, firstLoss, lastLoss, seconds } = twice;
  const verdict = same ? "equal byte by byte" : "**different**";
  return (
    `After ${steps} steps, ${bytes} bytes of weights and optimizer state and all losses are ${verdict}. ` +
    `The loss went from ${firstLoss.toFixed(3)} to ${lastLoss.toFixed(3)}; the trainings took ${seconds.map(figure).join(" and ")} s.`
  );
}

function cifarSection(stages: readonly StageResult[]): string {
  const cifar = found(stages, names.cifar) as CifarTraining | undefined;
  if (!cifar) return "";
  const { images, testImages, steps, imagesPerSecond, before, after, loss } = cifar;
  return (
    `k-NN of ${testImages} test images among ${images} training images: ${before.toFixed(1)} % before, ${after.toFixed(1)} % ` +
    `after ${steps} steps, at ${figure(imagesPerSecond)} images/s; last loss ${loss.toFixed(3)}.`
  );
}

function exportsTable(stages: readonly StageResult[]): string {
  const lines = (found(stages, names.exports) as readonly OpenedExport[] | undefined) ?? [];
  if (lines.length === 0) return "";
  const verdict = (line: OpenedExport) => {
    if ("missing" in line) return "not installed";
    return "error" in line ? `**${line.error}**` : `deviates by ${line.deviation.toExponential(1)} from ours`;
  };
  const version = (line: OpenedExport) => ("version" in line ? line.version : "");
  return [
    "| library | version | result |",
    "| --- | --- | --- |",
    ...lines.map((line) => `| ${line.library} | ${version(line)} | ${verdict(line)} |`),
  ].join("\n");
}
