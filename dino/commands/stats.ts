/** `dino stats` */
import type { Command } from "commander";
import { formatSettings } from "../config/flags.js";
import { lazyProgress } from "../files/progress.js";
import { openSplits } from "../images/sources/open-splits.js";
import { imageStatistics } from "../images/statistics.js";
import { asUsage, count } from "./flags.js";
import { print, printJson, reportFailures } from "./output.js";
import { addReadingFlags, type ReadingFlags, readingWith } from "./reading-flags.js";
import { addSettings, readFlags } from "./train.js";

interface StatsFlags extends ReadingFlags {
  readonly data: string;
  readonly channels?: string;
  readonly range?: readonly string[];
  readonly sample: number;
  readonly json?: true;
}

export function addStats(dino: Command): void {
  addSettings(addReadingFlags(dino.command("stats")), ["channels", "range"])
    .description("measure mean, standard deviation and sizes of images, and print the flags that normalise by them")
    .requiredOption("--data <images>", "images, as dino train --data takes them")
    .option("--sample <images>", "maximum number of images to read, evenly spaced", count, 2000)
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nEach image counts alike, whatever its size. Training normalises by the mean and standard deviation of ImageNet unless told\n" +
        "otherwise, which suits photographs; --preset auto measures a few images and takes theirs where they are far from photographs.\n\nExample:\n  dino stats --data scans --tile 512",
    )
    .action(async ({ data, sample, json, ...given }: StatsFlags) => {
      const { channels, range } = asUsage(() => readFlags({ channels: given.channels, range: given.range }));
      const { train: subset } = await openSplits(data, {
        heldOut: 0,
        seed: 0,
        ...readingWith(given, { channels, range }),
      });
      using reading = lazyProgress("reading");
      const found = await imageStatistics(subset, sample, reading.report);
      reportFailures([...subset.images.failures.values()]);
      const { images, mean, std, shortSide } = found;
      const measured = range === "auto" ? subset.images.decoding.range : undefined;
      if (json) {
        printJson({ data, count: subset.indices.length, ...found, range: measured ?? null });
        return;
      }
      const [least, median, most] = shortSide;
      const numbers = (values: readonly number[]) => values.map((value) => value.toFixed(4)).join(" ");
      const rounded = (values: readonly number[]) => values.map((value) => Number(value.toFixed(4)));
      print(
        `images      ${images} read of ${subset.indices.length}`,
        `short side  ${least} to ${most} pixels, median ${median}`,
        `mean        ${numbers(mean)}`,
        `std         ${numbers(std)}`,
        ...(measured ? [`range       ${measured.join(" ")}`] : []),
        `flags       ${formatSettings({
          ...(channels !== undefined && { channels }),
          ...(range !== undefined && { range: measured ?? range }),
          mean: rounded(mean),
          std: rounded(std),
        })}`,
      );
    });
}
