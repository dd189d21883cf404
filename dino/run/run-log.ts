/** Log output of a run: log.jsonl, log.txt, and event files with --tensorboard. */
import type { Config } from "../config/settings.js";
import { appendLine, truncateLog, type EpochLine, type LogLine, readLog } from "./log.js";
import { writeOfficialLog } from "./official-log.js";
import { runFiles } from "./run-folder.js";
import { openEvents } from "./tensorboard.js";

/** Truncates the logs of a run to `step`, and returns a function that appends lines. */
export async function openLog(
  { out, tensorboard }: Pick<Config, "out" | "tensorboard">,
  step: number,
): Promise<(line: LogLine) => Promise<void>> {
  const { log: whole, officialLog } = runFiles(out);
  await truncateLog(whole, step);
  const former = await readLog(whole);
  const epochs: EpochLine[] = [...former.epochs];
  await writeOfficialLog(officialLog, epochs);
  const event = tensorboard ? await openEvents(out, former) : undefined;
  return async (line) => {
    await appendLine(whole, line);
    await event?.(line);
    if (!("type" in line) || line.type !== "epoch") return;
    epochs.push(line);
    await writeOfficialLog(officialLog, epochs);
  };
}
