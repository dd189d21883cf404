/** One workload, by every peer: checked, warmed, then timed by turns. */
import { setTimeout as sleep } from "node:timers/promises";
import { rng } from "../../dino/math/random.js";
import { checkOf, TOLERANCE } from "./expected.js";
import type { PeerProcess } from "./peer-process.js";
import type { Workload } from "./workloads.js";

export interface Effort {
  readonly rounds: number;
  /** What a sample takes, about: as many iterations as that needs are enqueued, then waited for. */
  readonly sampleMs: number;
  readonly warmMs: number;
}

export interface Timed {
  readonly state: "timed";
  /** The very first iteration, with compiling. */
  readonly firstMs: number;
  /** From the float64 reference. */
  readonly deviation: number;
  /** Milliseconds of an iteration, one number a round. */
  readonly samples: readonly number[];
}

export type Entry =
  | Timed
  | { readonly state: "wrong"; readonly deviation: number }
  | { readonly state: "lacking" }
  | { readonly state: "failed"; readonly reason: string };

/** What came of a workload. */
export interface WorkloadResult extends Pick<Workload, "id" | "unit" | "work"> {
  readonly entries: Readonly<Record<string, Entry>>;
}

/** A machine in the middle of something else needs a moment; the same for everybody. */
const PAUSE_MS = 40;
const MAX_ITERATIONS = 64;

export async function measureWorkload(
  workload: Workload,
  peers: readonly PeerProcess[],
  effort: Effort,
): Promise<WorkloadResult> {
  const check = checkOf(workload);
  const entries = new Map<PeerProcess, Entry>();
  const running = new Map<PeerProcess, { readonly samples: number[]; readonly iterations: number }>();

  /** What one of them does; whatever it throws takes it out. */
  const guarded = async (who: PeerProcess, act: () => Promise<void>) => {
    try {
      await act();
    } catch (error) {
      entries.set(who, { state: "failed", reason: error instanceof Error ? error.message : String(error) });
      running.delete(who);
    }
  };

  for (const who of peers) {
    await guarded(who, async () => {
      const firstMs = await who.ask({ ask: "prepare", workload });
      if (firstMs === undefined) return void entries.set(who, { state: "lacking" });
      const deviation = check(await who.ask({ ask: "read" }));
      if (deviation > TOLERANCE) return void entries.set(who, { state: "wrong", deviation });
      const fastestMs = await warm(who, effort.warmMs);
      const iterations = Math.min(MAX_ITERATIONS, Math.max(1, Math.round(effort.sampleMs / fastestMs)));
      const samples: number[] = [];
      entries.set(who, { state: "timed", firstMs, deviation, samples });
      running.set(who, { samples, iterations });
    });
  }
  const random = rng({ seed: 1, purpose: `race of ${workload.id}` });
  for (let round = 0; round < effort.rounds; round++) {
    const order = [...running];
    for (const i of random.permutation(order.length)) {
      const [who, { samples, iterations }] = order[i]!;
      await sleep(PAUSE_MS);
      await guarded(who, async () => void samples.push((await who.ask({ ask: "time", iterations })) / iterations));
    }
  }
  const { id, unit, work } = workload;
  return { id, unit, work, entries: Object.fromEntries([...entries].map(([{ name }, entry]) => [name, entry])) };
}

/** Runs for so long, at least once; returns the quickest iteration. */
async function warm(who: PeerProcess, warmMs: number): Promise<number> {
  let quickestMs = Infinity;
  const start = performance.now();
  do quickestMs = Math.min(quickestMs, await who.ask({ ask: "time", iterations: 1 }));
  while (performance.now() - start < warmMs);
  return quickestMs;
}
