/** The current task of the viewer, named in the status line. */
import { useCallback, useState } from "preact/hooks";
import { type Attempts, useAttempts } from "../shell/use-trouble.js";

export interface Task extends Pick<Attempts, "trouble" | "setTrouble"> {
  /** The name of the task; undefined while none runs. */
  readonly working: string | undefined;
  readonly setWorking: (words: string) => void;
  /** Runs a task under a name and catches its error. */
  readonly attempt: (words: string, work: () => Promise<void>) => Promise<void>;
}

export function useTask(): Task {
  const [working, setWorking] = useState<string>();
  const { trouble, setTrouble, attempt: attemptWork } = useAttempts();
  const attempt = useCallback(
    async (words: string, work: () => Promise<void>) => {
      setWorking(words);
      await attemptWork(work);
      setWorking(undefined);
    },
    [attemptWork],
  );
  return { trouble, setTrouble, working, setWorking, attempt };
}
