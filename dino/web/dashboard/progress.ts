/** Progress of a run. */
import { collapseWatch } from "../../training/collapse.js";
import type { FetchedRun } from "./run-client.js";

/** Returns the steps of the whole run; undefined until the steps per epoch are known. */
export function stepsOf({ config: { steps, epochs }, epochs: lines }: FetchedRun): number | undefined {
  if (typeof steps === "number") return steps;
  const [first] = lines;
  return first && epochs !== undefined ? (first.step / (first.epoch + 1)) * epochs : undefined;
}

export type ProgressStage = "training" | "finished" | "stopped" | "beginning";

/** A run without new lines for this long, and for the time of this many lines, counts as stopped. */
const SILENT_MS = 60_000;
const SILENT_LINES = 10;

/** Returns the stage of a run, inferred from its log. */
export function stageOf(run: FetchedRun): ProgressStage {
  const { steps, state, config } = run;
  const last = steps.at(-1);
  if (last && last.step >= (stepsOf(run) ?? Infinity)) return "finished";
  const lineMs = last ? (1000 * (config.batch ?? 0) * (config.logEvery ?? 0)) / last.imagesPerSecond : 0;
  if (state.log.ageMs > Math.max(SILENT_MS, SILENT_LINES * lineMs)) return "stopped";
  return last ? "training" : "beginning";
}

/** Returns the warnings about collapse for a run's log. */
export function warningsOf({ config: { outDim, centering }, steps }: FetchedRun): readonly string[] {
  if (outDim === undefined) return [];
  const watch = collapseWatch(outDim, centering);
  return steps.map((line) => watch(line)).filter((words) => words !== undefined);
}

/** Formats milliseconds as 5 s, 3 min, 2 h or 4 days. */
export function formatAge(ms: number): string {
  if (ms < 60_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  return ms < 2 * 86_400_000 ? `${Math.floor(ms / 3_600_000)} h` : `${Math.floor(ms / 86_400_000)} days`;
}
