/** What ranks report to rank 0 between steps: how long they took, and what went wrong. */
import { toFirst } from "./sharing.js";
import type { Heedful } from "./heedful.js";

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
  /** Ends the interval; returns at rank 0 what is to be said about the ranks. All ranks call it after the same step. */
  readonly report: () => Promise<readonly string[]>;
}

export function openReporter(world: Heedful): Reporter {
  let own = { ms: 0, steps: 0 };
  let warnings: string[] = [];
  return {
    async measure(step) {
      const [beganMs, spentMs] = [performance.now(), world.spentMs()];
      const result = await step();
      own = { ms: own.ms + performance.now() - beganMs - (world.spentMs() - spentMs), steps: own.steps + 1 };
      return result;
    },
    warn: (words) => void warnings.push(words),
    async report() {
      const said: RankReport = { ownMsPerStep: own.ms / own.steps, warnings };
      own = { ms: 0, steps: 0 };
      warnings = [];
      return world.size === 1 ? [] : wordsAbout(await toFirst(world, said));
    },
  };
}

/** A rank this many times slower than the one in the middle holds all up. */
const SLOW = 1.5;

/** Warnings of other ranks that rank 0 has not had itself, and the name of a rank that is much slower than most. */
export function wordsAbout(reports: readonly RankReport[]): readonly string[] {
  if (reports.length === 0) return [];
  const ofOthers = reports.flatMap(({ warnings }, rank) =>
    warnings.filter((words) => !reports[0]!.warnings.includes(words)).map((words) => `rank ${rank}: ${words}`),
  );
  const times = reports.map(({ ownMsPerStep }) => ownMsPerStep);
  const usual = times.toSorted((a, b) => a - b)[Math.floor((times.length - 1) / 2)]!;
  const slowest = times.indexOf(Math.max(...times));
  const took = times[slowest]!;
  const slow =
    took > SLOW * usual
      ? [
          `rank ${slowest} is slow: its share of a step takes ${took.toFixed(0)} ms, that of most others ${usual.toFixed(0)} ms or less; ` +
            "all of them wait for it",
        ]
      : [];
  return [...ofOthers, ...slow];
}
