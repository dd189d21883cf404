/** Reports of ranks to rank 0 between steps: step times and warnings. */
import type { InterruptibleWorld } from "./interruptible-world.js";
import { gather } from "./sharing.js";

/** Report of one rank over a log interval. */
export interface RankReport {
  /** Mean time per step, excluding waits for other ranks. */
  readonly ownMsPerStep: number;
  readonly warnings: readonly string[];
}

/** Collects the report of a rank over a log interval. */
export interface Reporter {
  /** Runs a step and measures its time. */
  readonly measure: <T>(step: () => Promise<T>) => Promise<T>;
  readonly warn: (message: string) => void;
  /**
   * Ends the interval. At rank 0, returns messages about the ranks: warnings of the others, and a straggler found twice
   * in a row. All ranks call it after the same step.
   */
  readonly report: () => Promise<readonly string[]>;
}

export function openReporter(world: InterruptibleWorld): Reporter {
  let own = { ms: 0, steps: 0 };
  let warnings: string[] = [];
  let previousStraggler: number | undefined;
  return {
    async measure(step) {
      const [beganMs, waitedBeforeMs] = [performance.now(), world.waitedMs()];
      const result = await step();
      own = { ms: own.ms + performance.now() - beganMs - (world.waitedMs() - waitedBeforeMs), steps: own.steps + 1 };
      return result;
    },
    warn: (message) => void warnings.push(message),
    async report() {
      const report: RankReport = { ownMsPerStep: own.ms / own.steps, warnings };
      own = { ms: 0, steps: 0 };
      warnings = [];
      if (world.size === 1) return [];
      const reports = await gather(world, report);
      const straggler = findStraggler(reports);
      const lines = straggler && straggler.rank === previousStraggler ? [describeStraggler(straggler)] : [];
      previousStraggler = straggler?.rank;
      return [...warningsOfOthers(reports), ...lines];
    },
  };
}

/** Returns warnings of other ranks that rank 0 has not raised itself. */
export function warningsOfOthers(reports: readonly RankReport[]): readonly string[] {
  return reports.flatMap(({ warnings }, rank) =>
    warnings.filter((message) => !reports[0]!.warnings.includes(message)).map((message) => `rank ${rank}: ${message}`),
  );
}

/** Ranks slower than this multiple of the median are stragglers. */
const STRAGGLER_RATIO = 1.5;

/** A rank much slower than the median. */
interface Straggler {
  readonly rank: number;
  readonly ms: number;
  readonly medianMs: number;
}

/** Returns the straggler, if there is one. */
export function findStraggler(reports: readonly RankReport[]): Straggler | undefined {
  const times = reports.map(({ ownMsPerStep }) => ownMsPerStep);
  const medianMs = times.toSorted((a, b) => a - b)[Math.floor((times.length - 1) / 2)] ?? 0;
  const ms = Math.max(...times);
  return ms > STRAGGLER_RATIO * medianMs ? { rank: times.indexOf(ms), ms, medianMs } : undefined;
}

function describeStraggler({ rank, ms, medianMs }: Straggler): string {
  return (
    `rank ${rank} is slow: its share of a step takes ${ms.toFixed(0)} ms, that of most others ${medianMs.toFixed(0)} ms or less; ` +
    "all of them wait for it"
  );
}
