/** Graceful handling of Ctrl-C and other signals. */
import { constants } from "node:os";

/** Work ended gracefully by a signal; `exitCode` is the one that shells expect. */
export class Interrupted extends Error {
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals, message: string) {
    super(`${signal}: ${message}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** Signal handlers, installed until disposal. */
export interface Interruption extends Disposable {
  /** Aborted by the first signal, with its name as reason. */
  readonly signal: AbortSignal;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Installs signal handlers: the first signal aborts `signal` and calls `onFirst`; the second one ends the process at
 * once. Ranks also handle SIGUSR1, which Slurm can send some time before it ends a job.
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
