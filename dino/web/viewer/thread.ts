/** The page's side of the thread that computes. */
import { type Remote, wrap } from "comlink";
import type { ViewerThread } from "./worker.js";

export function startViewerThread(): Remote<ViewerThread> {
  return wrap<ViewerThread>(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
}
