/** Starts the viewer thread. */
import { connectThread, type Thread } from "../shell/thread.js";
import type { ViewerThread } from "./worker.js";

/** Calls functions of the thread. */
export type RemoteViewer = Thread<ViewerThread>["remote"];

export function startViewerThread(): Thread<ViewerThread> {
  return connectThread(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
}
