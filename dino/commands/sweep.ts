/** `dino sweep` */
import { join } from "node:path";
import { type Command, Option } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { resolveConfig } from "../config/resolve.js";
import { ablations, parseAxis, sweep, type SweepRow } from "../experiments/sweep.js";
import { openSplits } from "../images/sources/open-splits.js";
import { asUsage, wholeNumbersFromZero } from "./flags.js";
import { printToStderr, print, printJson } from "./output.js";
import { addSettings, readFlags } from "./train.js";

export function addSweep(dino: Command): void {
  const command = dino
    .command("sweep")
    .description("train with several values of some settings, and compare the k-NN accuracy")
    .argument("<axis...>", `SETTING=VALUE,VALUE,... or an ablation of the paper: ${Object.keys(ablations).join(", ")}`)
    .addOption(
      new Option("--grid", "train all combinations, instead of varying one setting at a time").helpGroup("Options:"),
    )
    .addOption(
      new Option(
        "--seeds <numbers...>",
        "train each combination with these seeds and average; 3 or more show whether a difference is noise",
      )
        .argParser(wholeNumbersFromZero)
        .helpGroup("Options:"),
    )
    .addOption(new Option("--overwrite", "repeat runs that already exist").helpGroup("Options:"))
    .addOption(new Option("--json", "print the result as JSON and nothing else").helpGroup("Options:"));
  addSettings(command)
    .addHelpText(
      "after",
      "\nFlags of dino train apply to all runs; the default is the built-in images with the demo's recipe. The images of --data need\n" +
        "classes; accuracy is measured on the share --held-out of them (default 0.2). A stopped sweep continues where it was.\n" +
        `\nAblations:\n${Object.entries(ablations)
          .map(([name, axis]) => `  ${name.padEnd(12)} ${axis}`)
          .join("\n")}\n` +
        "\nExamples:\n" +
        "  dino sweep momentum temperature --steps 200 --out runs/ablations\n" +
        "  dino sweep lr=0.0005,0.001,0.002 batch=16,32 --grid --seeds 0 1 2 --data photos --preset small-images",
    )
    .action(async (words: readonly string[], options: Readonly<Record<string, unknown>>) => {
      const axes = asUsage(() => words.map(parseAxis));
      const seeds = (options["seeds"] as readonly number[] | undefined) ?? [0];
      const flags = asUsage(() => ({
        data: "builtin",
        heldOut: 0.2,
        saveckpFreq: 0,
        knnEvery: 0,
        ...readFlags(options),
      }));
      const { data, ...reading } = resolveConfig(flags);
      const splits = await openSplits(data, reading);
      if (splits.test.images.labels === undefined) {
        throw new Error(`${data}: accuracy needs classes; put the images of each class into a subfolder of its name`);
      }
      using device = await openDevice();
      const found = await sweep({
        device,
        splits,
        flags,
        axes,
        seeds,
        out: flags.out ?? join("runs", "sweep"),
        grid: options["grid"] === true,
        overwrite: options["overwrite"] === true,
        log: (line) => printToStderr(line),
      });
      if (options["json"] === true) printJson(found);
      else print(`k-NN top-1 on held-out images, k ${found.k}`, ...found.rows.map(describeRow), found.svg, found.png);
    });
}

function describeRow({ name, meanTop1, top1, loss, teacherEntropy }: SweepRow): string {
  const each = top1.length > 1 ? `   (${top1.map((value) => value.toFixed(2)).join(", ")})` : "";
  return (
    `${name.padEnd(36)} ${meanTop1.toFixed(2).padStart(6)} %   loss ${loss.toFixed(3)}   ` +
    `entropy ${teacherEntropy.toFixed(3)}${each}`
  );
}
