/** `dino outliers` */
import type { Command } from "commander";
import { outlierScores } from "../exploration/outliers.js";
import { addExploringOptions, type ExploringFlags, explore } from "./exploring.js";
import { count } from "./flags.js";
import { print, printJson } from "./output.js";
import { writeTable } from "./sorted-images.js";

interface OutlierFlags extends ExploringFlags {
  readonly neighbors: number;
  readonly show: number;
  readonly csv?: string;
}

export function addOutliers(dino: Command): void {
  addExploringOptions(dino.command("outliers"))
    .description("list the images that are least like all others")
    .option(
      "-k, --neighbors <images>",
      "nearest images that count; more than the number of strange images that are alike, less than the smallest group",
      count,
      10,
    )
    .option("--show <images>", "images to print, those with the highest scores", count, 20)
    .option("--csv <file.csv>", "write a table of all images and scores")
    .addHelpText(
      "after",
      "\nThe score is the mean distance of an image's features from those of its nearest neighbours, 0 to 2. dino dedupe finds\n" +
        "the opposite, images that are too alike.\n\nExample:\n" +
        "  dino outliers --checkpoint runs/photos/checkpoint.safetensors --data photos --show 50",
    )
    .action(async (flags: OutlierFlags) => {
      await explore(flags, async (explored) => {
        const { features, files, comparing } = explored;
        const scores = await outlierScores({ ...comparing, k: flags.neighbors });
        const order = Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b);
        const scored = order.map((row) => ({ file: files[row]!, score: scores[row]! }));
        if (flags.csv !== undefined) {
          await writeTable(flags.csv, [
            ["file", "score"],
            ...scored.map(({ file, score }) => [file, score.toFixed(4)]),
          ]);
        }
        if (flags.json) {
          printJson({
            images: features.rows,
            neighbors: flags.neighbors,
            outliers: scored,
            failures: explored.list.failures,
          });
          return;
        }
        const shown = scored.slice(0, flags.show);
        const median = scores.toSorted()[Math.floor(scores.length / 2)]!;
        print(
          `the ${shown.length} strangest of ${features.rows} images; the median score is ${median.toFixed(4)}`,
          ...shown.map(({ file, score }) => `${score.toFixed(4).padStart(9)}   ${file}`),
        );
      });
    });
}
