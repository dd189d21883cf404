/** Hooks that keep what went wrong, for a note on the page. */
import { useCallback, useEffect, useState } from "preact/hooks";
import type { Thread } from "./thread.js";
import { asTrouble } from "./trouble-note.js";
import type { Trouble } from "./trouble.js";

export interface Attempts {
  /** The error of the latest attempt; undefined if it succeeded or still runs. */
  readonly trouble: Trouble | undefined;
  readonly setTrouble: (trouble: Trouble) => void;
  /** Runs work and catches its error. */
  readonly attempt: (work: () => Promise<void>) => Promise<void>;
}

export function useAttempts(): Attempts {
  const [trouble, setTrouble] = useState<Trouble>();
  const attempt = useCallback(async (work: () => Promise<void>) => {
    setTrouble(undefined);
    try {
      await work();
    } catch (error) {
      setTrouble(asTrouble(error));
    }
  }, []);
  return { trouble, setTrouble, attempt };
}

/** Returns the failure of a thread, which only another thread can repair. */
export function useFailure(onFailure: Thread<unknown>["onFailure"]): Trouble | undefined {
  const [failure, setFailure] = useState<Trouble>();
  useEffect(() => onFailure(setFailure), [onFailure]);
  return failure;
}
