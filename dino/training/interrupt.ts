/** Ctrl-C and its kind, for work that ends in order instead of being cut off. */
import { constants } from "node:os";

/** Work that a signal ended, in order; `exitCode` is what shells expect of a process that the signal ended. */
export class Interrupted extends Error {
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals, message: string) {
    super(`${signal}: ${message}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** Signals that ask for an end while this is not disposed of. */
export interface Interruption extends Disposable {
  /** Aborted by the first of them, with its name for a reason. */
  readonly signal: AbortSignal;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Takes the first signal as a wish to end, and tells `onFirst` of it; the second ends the process at once. One of several ranks
 * heeds SIGUSR1 too, which Slurm can be told to send some time before it ends a job.
 */
export function catchSignals(
  onFirst: (signal: NodeJS.Signals) => void,
  { isRank = false }: { readonly isRank?: boolean } = {},
): Interruption {
  const controller = new AbortController();
  const signals = [...SIGNALS, ...(isRank ? ["SIGUSR1" as const] : [])];
  const removeHandlers = (): void => signals.forEach((name) => process.removeListener(name, handle));
  const handle = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) {
      removeHandlers();
      process.kill(process.pid, signal);
      return;
    }
    controller.abort(signal);
    onFirst(signal);
  };
  signals.forEach((name) => process.on(name, handle));
  return { signal: controller.signal, [Symbol.dispose]: removeHandlers };
}
