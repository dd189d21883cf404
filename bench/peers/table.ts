import { figure, percent } from "../figures/format.js";
import { quantile } from "../figures/quantile.js";
import type { PeerComparison } from "./compare.js";
import { OURS } from "./engines.js";
import type { Entry, WorkloadResult, Timed } from "./workload-timing.js";

/** Quartiles of their time over ours within each round: above 1 if ours is faster. */
interface Ratio {
  readonly name: string;
  readonly low: number;
  readonly median: number;
  readonly high: number;
}

/** Compares the fastest other engine with ours; undefined unless both were timed. */
export function bestOther({ entries }: WorkloadResult): Ratio | undefined {
  const ours = timed(entries[OURS]);
  if (!ours) return undefined;
  const ratios = Object.entries(entries).flatMap(([name, entry]): Ratio[] => {
    const theirs = name === OURS ? undefined : timed(entry);
    if (!theirs) return [];
    const ratiosPerRound = theirs.samples.map((ms, round) => ms / ours.samples[round]!);
    return [
      {
        name,
        low: quantile(ratiosPerRound, 0.25),
        median: quantile(ratiosPerRound, 0.5),
        high: quantile(ratiosPerRound, 0.75),
      },
    ];
  });
  return ratios.toSorted((a, b) => a.median - b.median)[0];
}

function timed(entry: Entry | undefined): Timed | undefined {
  return entry?.state === "timed" ? entry : undefined;
}

/** Formats a workload on one line, for progress output. */
export function headline(result: WorkloadResult): string {
  const engines = Object.entries(result.entries).map(([name, entry]) => `${name} ${cell(entry)}`);
  const best = bestOther(result);
  return `${result.id.padEnd(28)} ${engines.join(", ")} ms${best ? `; best other / ours ${best.median.toFixed(2)}` : ""}`;
}

/** Formats all workloads as Markdown, in milliseconds per iteration, followed by the reasons for missing numbers. */
export function peerTable({ engines, standings }: PeerComparison): string {
  const others = Object.keys(engines).filter((name) => name !== OURS);
  const rows = standings.map((result) => {
    const { id, unit, work, entries } = result;
    const ours = timed(entries[OURS]);
    const rate = ours ? ` (${figure(work / median(ours) / 1e6)} ${unit})` : "";
    const best = bestOther(result);
    const ratio = best && `${best.median.toFixed(2)} (${best.low.toFixed(2)} to ${best.high.toFixed(2)})`;
    const cells = [
      id,
      `${cell(entries[OURS])}${rate}`,
      ...others.map((name) => cell(entries[name])),
      best?.name,
      ratio,
    ];
    return `| ${cells.map((text) => text ?? "").join(" | ")} |`;
  });
  const head = ["workload", "ours (rate)", ...others, "best other", "best other / ours (quartiles)"];
  return [
    `| ${head.join(" | ")} |`,
    `| --- |${" ---: |".repeat(1 + others.length)} --- | ---: |`,
    ...rows,
    "",
    ...standings.flatMap(({ id, entries }) =>
      Object.entries(entries).flatMap(([name, entry]) => reason(entry).map((why) => `${id}, ${name}: ${why}`)),
    ),
    Object.entries(engines)
      .map(([name, { version }]) => `${name} ${version}`)
      .join(", "),
    noise(standings),
  ].join("\n");
}

function cell(entry: Entry | undefined): string {
  switch (entry?.state) {
    case "timed":
      return figure(median(entry));
    case "lacking":
      return "n/a";
    case "wrong":
      return "WRONG";
    case "failed":
      return "CRASH";
    case undefined:
      return "";
    default:
      return entry satisfies never;
  }
}

function reason(entry: Entry): string[] {
  if (entry.state === "wrong") return [`lies ${entry.deviation.toPrecision(2)} from the reference`];
  return entry.state === "failed" ? [entry.reason] : [];
}

/** Describes the spread of the ratios. */
function noise(standings: readonly WorkloadResult[]): string {
  const spreads = standings.flatMap((result) => {
    const best = bestOther(result);
    return best ? [{ id: result.id, spread: (best.high - best.low) / best.median }] : [];
  });
  const worst = spreads.toSorted((a, b) => b.spread - a.spread)[0];
  if (!worst) return "no ratio: nothing was timed in ours and in another";
  const usual = quantile(
    spreads.map(({ spread }) => spread),
    0.5,
  );
  return `quartiles of a ratio lie ${percent(usual)} apart, ${percent(worst.spread)} in the worst (${worst.id})`;
}

const median = ({ samples }: Timed) => quantile(samples, 0.5);
