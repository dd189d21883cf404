/** `dino tune` */
import { type Command, Option } from "commander";
import { chooseAdapter, forgetChoices, openDevice, tunedPath, writeChoices } from "../../engine/adapters/node.js";
import { parseSetting } from "../config/flags.js";
import { presetNames } from "../config/presets.js";
import { resolveConfig } from "../config/resolve.js";
import type { PartialConfig } from "../config/settings.js";
import { tune, type Tuned } from "../experiments/tune.js";
import { lazyProgress } from "../files/progress.js";
import { checkPrecision } from "../training/checks.js";
import { asUsage } from "./flags.js";
import { print, printJson } from "./output.js";

interface TuneFlags {
  readonly preset?: NonNullable<PartialConfig["preset"]>;
  readonly batch?: number;
  readonly precision?: PartialConfig["precision"];
  readonly forget?: true;
  readonly json?: true;
}

export function addTune(dino: Command): void {
  dino
    .command("tune")
    .description("measure which kernels train fastest on this adapter, and use them in all later commands")
    .addOption(
      new Option(
        "--preset <name>",
        "preset whose training step to measure (default: vit-s16 on a GPU, shapes without)",
      ).choices(presetNames),
    )
    .option("--batch <images>", "images per step; use the batch size of your runs (default: the preset's)", (word) =>
      asUsage(() => parseSetting("batch", [word])),
    )
    .addOption(new Option("--precision <name>", "precision of the step; use that of your runs").choices(["f32", "f16"]))
    .option("--forget", "delete the measurements of this adapter")
    .option("--json", "print the measurements as JSON and nothing else")
    .addHelpText(
      "after",
      "\nMeasurements of several presets are kept side by side. Different kernels round differently: existing runs continue with\n" +
        "the kernels they were started with.\n\nExample:\n  dino tune --preset vit-s16 --batch 32",
    )
    .action(async ({ batch, precision, forget, json, ...given }: TuneFlags) => {
      const { name, kind } = await chooseAdapter();
      const { preset = kind === "gpu" ? "vit-s16" : "shapes" } = given;
      const path = tunedPath(name);
      if (forget) {
        print(forgetChoices(path) ? `deleted ${path}` : `no measurements of ${name}`);
        return;
      }
      const config = asUsage(() =>
        resolveConfig({ preset, ...(batch !== undefined && { batch }), ...(precision && { precision }) }),
      );
      using device = await openDevice();
      checkPrecision(device, config);
      using progress = lazyProgress("measuring");
      const tuned = await tune({ device, config, onProgress: progress.report });
      const measured = new Set(tuned.measured.map(({ what }) => what));
      const others = Object.entries(device.choices).filter(([what]) => !measured.has(what));
      const isFaster = tuned.tunedMs < tuned.ruleMs;
      if (isFaster) await writeChoices(path, { ...Object.fromEntries(others), ...tuned.choices });
      if (json) printJson({ device: device.name, preset, path: isFaster ? path : null, ...tuned });
      else print(...describeTuned(tuned), isFaster ? `saved in ${path}` : "saved nothing: the rules are as fast");
    });
}

function describeTuned({ measured, ruleMs, tunedMs }: Tuned): string[] {
  const time = (ms: number | undefined) => (ms === undefined ? "" : `${ms.toPrecision(3)} ms`);
  return [
    ...measured.map(({ what, rule, best, ms }) =>
      best === rule
        ? `${what.padEnd(44)} ${rule}, ${time(ms[rule])}`
        : `${what.padEnd(44)} ${best}, ${time(ms[best])}, instead of ${rule}, ${time(ms[rule])}`,
    ),
    `step by the rules ${time(ruleMs)}, with the fastest kernels ${time(tunedMs)}`,
  ];
}
