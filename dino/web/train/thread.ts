/** The page's side of the thread that trains. */
import { connectThread, type Thread } from "../shell/thread.js";
import type { TrainingThread } from "./worker.js";

/** Calls what the thread offers. */
export type RemoteTraining = Thread<TrainingThread>["remote"];

export function startTrainingThread(): Thread<TrainingThread> {
  return connectThread(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
}
