/** Waiting for the other ranks, without being caught in it. */
import type { World } from "./world.js";

/** A world that hears of an end that is asked for while this rank waits for the others. */
export interface InterruptibleWorld extends World {
  /** Time spent on the other ranks so far, in milliseconds: theirs that this one waited for, and that of the numbers under way. */
  readonly waitedMs: () => number;
}

export interface InterruptibleOptions {
  /** Aborted when an end is asked for, which is also how a launcher tells that another rank has died. */
  readonly stop: AbortSignal | undefined;
  /** Keeps what there is, once, when the others do not answer soon after that. */
  readonly saveState: () => Promise<void>;
  /** From then on nobody waits for an answer any more, in milliseconds: 5000 if left out. */
  readonly patienceMs?: number;
}

/** Others that live answer by then. Open MPI kills what is left of its ranks a second after it asked them to end. */
const GRACE_MS = 100;

/** The same world, heedful of `stop`. What waits throws where no answer has come for long after it. */
export function interruptible(
  world: World,
  { stop, saveState: keep, patienceMs = 5000 }: InterruptibleOptions,
): InterruptibleWorld {
  let spentMs = 0;
  let kept: Promise<void> | undefined;
  const waiting = async <T>(answer: Promise<T>): Promise<T> => {
    const beganMs = performance.now();
    const timers: ReturnType<typeof setTimeout>[] = [];
    const after = (ms: number) => new Promise<void>((resolve) => timers.push(setTimeout(resolve, ms)));
    let onStop: (() => void) | undefined;
    const asked = new Promise<void>((resolve) => {
      onStop = resolve;
      if (stop?.aborted) resolve();
      else stop?.addEventListener("abort", onStop);
    });
    const answered = answer.then(() => undefined);
    answered.catch(() => undefined); // `answer` itself is awaited
    try {
      const inTime = await Promise.race([
        answered.then(() => true),
        asked.then(() => after(GRACE_MS)).then(() => false),
      ]);
      if (!inTime) {
        kept ??= keep(); // before the answer is used, so that this is the state between two steps
        await kept;
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
      spentMs += performance.now() - beganMs;
    }
  };
  if (world.size === 1) return { ...world, waitedMs: () => 0 };
  return {
    ...world,
    sum: (from, to) => waiting(world.sum(from, to)),
    allGather: (from, to) => waiting(world.allGather(from, to)),
    allToAll: (from, to) => waiting(world.allToAll(from, to)),
    gather: (bytes) => waiting(world.gather(bytes)),
    broadcast: (bytes) => waiting(world.broadcast(bytes)),
    waitedMs: () => spentMs,
  };
}
