/** The page's side of the thread that trains. */
import { takeThread, type Thread } from "../shell/thread.js";
import type { TrainingThread } from "./worker.js";

/** Calls what the thread offers. */
export type AskTraining = Thread<TrainingThread>["ask"];

export function startTrainingThread(): Thread<TrainingThread> {
  return takeThread(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
}
