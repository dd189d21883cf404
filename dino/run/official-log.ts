/** log.txt of a run: a line for every epoch, as main_dino.py writes it, for the tools that plot those. */
import { writeFileAtomically } from "../files/files.js";
import type { EpochLine } from "./log.js";

/**
 * Writes a log.txt whole: the means over each epoch, of an epoch that ended twice, since its run was given more steps, over all
 * of it. https://github.com/facebookresearch/dino/blob/main/main_dino.py, `log_stats`
 */
export async function writeOfficialLog(path: string, epochs: readonly EpochLine[]): Promise<void> {
  const latest = new Map(epochs.map((line) => [line.epoch, line]));
  const lines = [...latest.values()].map(({ epoch, loss, lr, weightDecay }) =>
    JSON.stringify({ train_loss: loss, train_lr: lr, train_wd: weightDecay, epoch }),
  );
  await writeFileAtomically(path, lines.map((line) => `${line}\n`).join(""));
}
