import { readLog } from "../../dino/run/log.js";
import { runFiles } from "../../dino/run/run-folder.js";

/** Reads the losses that a run has logged: [step, loss] of each interval, then of each epoch. */
export async function lossesOf(out: string): Promise<readonly (readonly [number, number])[]> {
  const { steps, epochs } = await readLog(runFiles(out).log);
  return [...steps, ...epochs].map(({ step, loss }) => [step, loss] as const);
}
