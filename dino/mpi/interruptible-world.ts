/** Collective operations that a stop request or a dead rank can interrupt. */
import type { World } from "./world.js";

/** A world whose collective operations stop waiting after `stop` is aborted. */
export interface InterruptibleWorld extends World {
  /** Time spent in collective operations so far, in milliseconds: waiting for other ranks and transferring data. */
  readonly waitedMs: () => number;
}

export interface InterruptibleOptions {
  /** Aborted by a stop request; launchers also signal this way that another rank has died. */
  readonly stop: AbortSignal | undefined;
  /** Saves the state; called once if the others do not answer soon after `stop`. */
  readonly saveState: () => Promise<void>;
  /** Time after saving until a pending operation throws, in milliseconds: 5000 if left out. */
  readonly patienceMs?: number;
}

/** Time in which live ranks answer. Open MPI kills remaining ranks a second after it asked them to end. */
const GRACE_MS = 100;

/** Wraps a world so that pending operations throw if `stop` is aborted and no answer arrives in time. */
export function interruptible(
  world: World,
  { stop, saveState, patienceMs = 5000 }: InterruptibleOptions,
): InterruptibleWorld {
  let waitedMs = 0;
  let saved: Promise<void> | undefined;
  const withDeadline = async <T>(answer: Promise<T>): Promise<T> => {
    const beganMs = performance.now();
    const timers: ReturnType<typeof setTimeout>[] = [];
    const after = (ms: number) => new Promise<void>((resolve) => timers.push(setTimeout(resolve, ms)));
    let onStop: (() => void) | undefined;
    const stopRequested = new Promise<void>((resolve) => {
      onStop = resolve;
      if (stop?.aborted) resolve();
      else stop?.addEventListener("abort", onStop);
    });
    const answered = answer.then(() => undefined);
    answered.catch(() => undefined); // `answer` itself is awaited
    try {
      const inTime = await Promise.race([
        answered.then(() => true),
        stopRequested.then(() => after(GRACE_MS)).then(() => false),
      ]);
      if (!inTime) {
        saved ??= saveState(); // before the answer is used: the state between two steps
        await saved;
        const isLate = await Promise.race([answered.then(() => false), after(patienceMs).then(() => true)]);
        if (isLate) {
          throw new Error(
            `${String(stop!.reason)}: no answer from the other ranks for ${patienceMs / 1000} s; one of them has ended, or is late`,
          );
        }
      }
      return await answer;
    } finally {
      timers.forEach(clearTimeout);
      stop?.removeEventListener("abort", onStop!);
      waitedMs += performance.now() - beganMs;
    }
  };
  if (world.size === 1) return { ...world, waitedMs: () => 0 };
  return {
    ...world,
    sum: (from, to) => withDeadline(world.sum(from, to)),
    allGather: (from, to) => withDeadline(world.allGather(from, to)),
    allToAll: (from, to) => withDeadline(world.allToAll(from, to)),
    gather: (bytes) => withDeadline(world.gather(bytes)),
    broadcast: (bytes) => withDeadline(world.broadcast(bytes)),
    waitedMs: () => waitedMs,
  };
}
