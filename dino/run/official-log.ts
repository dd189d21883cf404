/** A run's log.txt: a line per epoch as main_dino.py writes it, for tools that plot such files. */
import { writeFileAtomically } from "../files/files.js";
import type { EpochLine } from "./log.js";

/**
 * Writes log.txt with the means over each epoch. An epoch that ended twice, since its run was extended, has the means
 * over all of it. Source: `log_stats` of https://github.com/facebookresearch/dino/blob/main/main_dino.py
 */
export async function writeOfficialLog(path: string, epochs: readonly EpochLine[]): Promise<void> {
  const latest = new Map(epochs.map((line) => [line.epoch, line]));
  const lines = [...latest.values()].map(({ epoch, loss, lr, weightDecay }) =>
    JSON.stringify({ train_loss: loss, train_lr: lr, train_wd: weightDecay, epoch }),
  );
  await writeFileAtomically(path, lines.map((line) => `${line}\n`).join(""));
}
