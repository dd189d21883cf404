/** The page's side of the thread that trains. */
import { type Remote, wrap } from "comlink";
import type { TrainingThread } from "./worker.js";

export function startTrainingThread(): Remote<TrainingThread> {
  return wrap<TrainingThread>(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
}
