/** What ranks report to rank 0 between steps: how long they took, and what went wrong. */
import type { InterruptibleWorld } from "./interruptible-world.js";
import { gather } from "./sharing.js";

/** Of one rank, over an interval of the log. */
export interface RankReport {
  /** Of a step, without waiting for other ranks. */
  readonly ownMsPerStep: number;
  readonly warnings: readonly string[];
}

/** Collects over an interval what a rank reports. */
export interface Reporter {
  /** Measures a step. */
  readonly measure: <T>(step: () => Promise<T>) => Promise<T>;
  readonly warn: (words: string) => void;
  /**
   * Ends the interval; returns at rank 0 what is to be said about the ranks, among it which is slow for the second time in a
   * row. All ranks call it after the same step.
   */
  readonly report: () => Promise<readonly string[]>;
}

export function openReporter(world: InterruptibleWorld): Reporter {
  let own = { ms: 0, steps: 0 };
  let warnings: string[] = [];
  let slowBefore: number | undefined;
  return {
    async measure(step) {
      const [beganMs, spentMs] = [performance.now(), world.waitedMs()];
      const result = await step();
      own = { ms: own.ms + performance.now() - beganMs - (world.waitedMs() - spentMs), steps: own.steps + 1 };
      return result;
    },
    warn: (words) => void warnings.push(words),
    async report() {
      const said: RankReport = { ownMsPerStep: own.ms / own.steps, warnings };
      own = { ms: 0, steps: 0 };
      warnings = [];
      if (world.size === 1) return [];
      const reports = await gather(world, said);
      const slow = findStraggler(reports);
      const words = slow && slow.rank === slowBefore ? [describeStraggler(slow)] : [];
      slowBefore = slow?.rank;
      return [...warningsOfOthers(reports), ...words];
    },
  };
}

/** Warnings of other ranks that rank 0 has not had itself. */
export function warningsOfOthers(reports: readonly RankReport[]): readonly string[] {
  return reports.flatMap(({ warnings }, rank) =>
    warnings.filter((words) => !reports[0]!.warnings.includes(words)).map((words) => `rank ${rank}: ${words}`),
  );
}

/** A rank that takes so many times as long as the one in the middle holds all up. */
const SLOW = 1.5;

/** A rank that is much slower than most, whose middle one takes `usualMs`. */
interface Straggler {
  readonly rank: number;
  readonly ms: number;
  readonly medianMs: number;
}

/** The rank that all others wait for, if there is one. */
export function findStraggler(reports: readonly RankReport[]): Straggler | undefined {
  const times = reports.map(({ ownMsPerStep }) => ownMsPerStep);
  const usualMs = times.toSorted((a, b) => a - b)[Math.floor((times.length - 1) / 2)] ?? 0;
  const ms = Math.max(...times);
  return ms > SLOW * usualMs ? { rank: times.indexOf(ms), ms, medianMs: usualMs } : undefined;
}

function describeStraggler({ rank, ms, medianMs: usualMs }: Straggler): string {
  return (
    `rank ${rank} is slow: its share of a step takes ${ms.toFixed(0)} ms, that of most others ${usualMs.toFixed(0)} ms or less; ` +
    "all of them wait for it"
  );
}
