/** Timing of one workload in every peer: check, warm-up, then timing in turns. */
import { setTimeout as sleep } from "node:timers/promises";
import { rng } from "../../dino/math/random.js";
import { checkOf, TOLERANCE } from "./expected.js";
import type { PeerProcess } from "./peer-process.js";
import type { Workload } from "./workloads.js";

/** Extent of a measurement. */
export interface Effort {
  readonly rounds: number;
  /** Approximate time of a sample: enough iterations are enqueued at once, then awaited. */
  readonly sampleMs: number;
  readonly warmMs: number;
}

export interface Timed {
  readonly state: "timed";
  /** Time of the first iteration, with compilation. */
  readonly firstMs: number;
  /** Deviation from the float64 reference. */
  readonly deviation: number;
  /** Milliseconds of an iteration, one per round. */
  readonly samples: readonly number[];
}

export type Entry =
  | Timed
  | { readonly state: "wrong"; readonly deviation: number }
  | { readonly state: "lacking" }
  | { readonly state: "failed"; readonly reason: string };

/** Result of a workload, by engine. */
export interface WorkloadResult extends Pick<Workload, "id" | "unit" | "work"> {
  readonly entries: Readonly<Record<string, Entry>>;
}

/** Pause before each sample, in which background work of the last one ends. */
const PAUSE_MS = 40;
const MAX_ITERATIONS = 64;

/** Checks a workload in every peer, then times it in turns, in random order. */
export async function measureWorkload(
  workload: Workload,
  peers: readonly PeerProcess[],
  effort: Effort,
): Promise<WorkloadResult> {
  const check = checkOf(workload);
  const entries = new Map<PeerProcess, Entry>();
  const running = new Map<PeerProcess, { readonly samples: number[]; readonly iterations: number }>();

  /** Runs a peer's part; a peer that throws is dropped. */
  const guarded = async (peer: PeerProcess, act: () => Promise<void>) => {
    try {
      await act();
    } catch (error) {
      entries.set(peer, { state: "failed", reason: error instanceof Error ? error.message : String(error) });
      running.delete(peer);
    }
  };

  for (const peer of peers) {
    await guarded(peer, async () => {
      const firstMs = await peer.ask({ ask: "prepare", workload });
      if (firstMs === undefined) return void entries.set(peer, { state: "lacking" });
      const deviation = check(await peer.ask({ ask: "read" }));
      if (deviation > TOLERANCE) return void entries.set(peer, { state: "wrong", deviation });
      const fastestMs = await warm(peer, effort.warmMs);
      const iterations = Math.min(MAX_ITERATIONS, Math.max(1, Math.round(effort.sampleMs / fastestMs)));
      const samples: number[] = [];
      entries.set(peer, { state: "timed", firstMs, deviation, samples });
      running.set(peer, { samples, iterations });
    });
  }
  const random = rng({ seed: 1, purpose: `race of ${workload.id}` });
  for (let round = 0; round < effort.rounds; round++) {
    const order = [...running];
    for (const i of random.permutation(order.length)) {
      const [peer, { samples, iterations }] = order[i]!;
      await sleep(PAUSE_MS);
      await guarded(peer, async () => void samples.push((await peer.ask({ ask: "time", iterations })) / iterations));
    }
  }
  const { id, unit, work } = workload;
  return { id, unit, work, entries: Object.fromEntries([...entries].map(([{ name }, entry]) => [name, entry])) };
}

/** Runs iterations for `warmMs`, at least one; returns the fastest. */
async function warm(peer: PeerProcess, warmMs: number): Promise<number> {
  let quickestMs = Infinity;
  const start = performance.now();
  do quickestMs = Math.min(quickestMs, await peer.ask({ ask: "time", iterations: 1 }));
  while (performance.now() - start < warmMs);
  return quickestMs;
}
