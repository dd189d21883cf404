/** `dino crops` */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { cropSettings } from "../config/crop-settings.js";
import { augmentOptions, shownChannels } from "../config/derive.js";
import { flagOf } from "../config/flags.js";
import { formatConfig, parseConfig, resolveConfig } from "../config/resolve.js";
import type { Config, PartialConfig, SettingName } from "../config/settings.js";
import { cropSheet } from "../experiments/crop-sheet.js";
import { openSplits } from "../images/sources/open-splits.js";
import { readConfig } from "../run/config-file.js";
import { runFiles } from "../run/run-folder.js";
import { settingsOfInit } from "../training/init.js";
import { asUsage, count, pngFile, UsageError } from "./flags.js";
import { print, printJson, reportFailures, writePicture } from "./output.js";
import { addSettings, readFlags } from "./train.js";

/** Settings that decide which crops a training sees. */
const names: readonly SettingName[] = [
  ...(["data", "preset", "method", "init", "patchSize", "imageSize", "localSize", "heldOut", "seed"] as const),
  ...(Object.keys(cropSettings) as (keyof typeof cropSettings)[]).filter(
    (name) => name !== "shuffleBuffer" && name !== "cropsOn",
  ),
];

interface CropsFlags {
  readonly out: string;
  readonly images: number;
  readonly run?: string;
  readonly json?: true;
}

export function addCrops(dino: Command): void {
  const command = dino
    .command("crops")
    .description("draw the crops that training makes of a few images, before training")
    .requiredOption("--out <file.png>", "the sheet: each image beside its global and local crops", pngFile)
    .option("--images <count>", "number of images, spread evenly over those to train on", count, 4)
    .option("--run <folder>", "take data and settings of this run; flags override them")
    .option("--json", "print the path, the images and the settings as JSON and nothing else");
  addSettings(command, names)
    .addHelpText(
      "after",
      "\nThe crops are those of the first epoch under --seed. Below each stand the share of the image that it\n" +
        "shows, its turn in degrees counterclockwise, and its other changes: hflip and vflip, color (jitter), gray, blur, solar(ized).\n" +
        "\nExamples:\n" +
        "  dino crops --data photos --out crops.png --preset vit-s16\n" +
        "  dino crops --data scans --out crops.png --quarter-turns 0.75 --flip-vertical 0.5 --local-crops-scale 0.1 0.4\n" +
        "  dino crops --run runs/photos --out crops.png --images 8",
    )
    .action(async ({ out, images, run, json, ...given }: CropsFlags & Readonly<Record<string, unknown>>) => {
      const flags = asUsage(() => readFlags(given));
      const config = await cropConfig(flags, run);
      const { train } = await openSplits(config.data, config);
      const recipe = run ?? (config.preset === null ? config.method : `preset ${config.preset}`);
      const sheet = await cropSheet(train, {
        augment: augmentOptions(config),
        seed: config.seed,
        count: images,
        shown: shownChannels(config),
        title: `Crops of ${config.data}: ${recipe}, seed ${config.seed}`,
      });
      reportFailures(sheet.failures);
      await writePicture(out, sheet.picture);
      if (json) {
        const settings = Object.fromEntries(names.map((name) => [name, config[name]]));
        printJson({ out, images: sheet.names, skipped: sheet.failures, settings });
      } else print(out);
    });
}

/** Resolves the settings of the crops: those of the run, if any, under the flags. */
async function cropConfig(flags: PartialConfig, run: string | undefined): Promise<Config> {
  if (run === undefined) {
    if (flags.data === undefined)
      throw new UsageError("--data: expected images as for dino train, or a run to take them from with --run");
    const start = await settingsOfInit({ heads: 1, ...flags }); // crops do not depend on heads
    return asUsage(() => resolveConfig(flags, { start }));
  }
  const recipe = (["preset", "method", "init"] as const).find((name) => flags[name] !== undefined);
  if (recipe !== undefined) throw new UsageError(`--run has a recipe of its own; leave ${flagOf(recipe)} out`);
  if (!existsSync(runFiles(run).config))
    throw new UsageError(`--run: ${run} holds no run; name the folder of dino train --out`);
  const config = await readConfig(run);
  return asUsage(() => parseConfig(formatConfig({ ...config, ...flags })));
}
