/** Starts the training thread. */
import { connectThread, type Thread } from "../shell/thread.js";
import type { TrainingThread } from "./worker.js";

/** Calls functions of the thread. */
export type RemoteTraining = Thread<TrainingThread>["remote"];

export function startTrainingThread(): Thread<TrainingThread> {
  return connectThread(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
}
