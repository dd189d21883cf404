/** The page's side of the thread that computes. */
import { connectThread, type Thread } from "../shell/thread.js";
import type { ViewerThread } from "./worker.js";

/** Calls what the thread offers. */
export type RemoteViewer = Thread<ViewerThread>["remote"];

export function startViewerThread(): Thread<ViewerThread> {
  return connectThread(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
}
