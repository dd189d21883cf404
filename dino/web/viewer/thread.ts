/** The page's side of the thread that computes. */
import { takeThread, type Thread } from "../shell/thread.js";
import type { ViewerThread } from "./worker.js";

/** Calls what the thread offers. */
export type AskViewer = Thread<ViewerThread>["ask"];

export function startViewerThread(): Thread<ViewerThread> {
  return takeThread(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
}
