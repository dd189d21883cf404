/** `dino train` */
import { type Command, Option } from "commander";
import { flagOf, formatValue, parseSetting, parseUseFp16 } from "../config/flags.js";
import { dinov2Defaults, dinov2Fixed } from "../config/method-settings.js";
import { type PartialConfig, type SettingName, settingNames, settings } from "../config/settings.js";
import { describeKnn } from "../evaluation/online-evaluation.js";
import { quoted } from "../files/text.js";
import { LISTS_VARIABLE } from "../images/sources/list-cache.js";
import { startTraining } from "../training/start.js";
import { asUsage, DEFAULT_PORT, port, UsageError, wholeNumber } from "./flags.js";
import { print, printJson } from "./output.js";
import { runOnRanks } from "./ranks.js";

const groups = {
  "main_dino.py": "Options of the official main_dino.py:",
  "main_dino.py, fixed there": "Fixed in the official code, free here:",
  "vision_transformer.py": "Fixed in the official code, free here:",
  dinov2: "Options from DINOv2:",
  dinov3: "Options from DINOv3:",
  ours: "Options of this program:",
} as const;

export function addTrain(dino: Command): void {
  const command = dino
    .command("train")
    .description("train a network on a folder of images, or continue a run")
    .addOption(new Option("--resume", "continue the run in --out, exactly where it stopped").helpGroup(groups.ours))
    .addOption(new Option("--overwrite", "replace the run that --out holds").helpGroup(groups.ours))
    .addOption(
      new Option(
        "--device <index>",
        "adapter to train on, as numbered by dino doctor (default: the best); see below for several ranks",
      )
        .argParser(wholeNumber)
        .helpGroup(groups.ours),
    )
    .addOption(
      new Option("--dashboard [port]", "serve the dashboard during training, with pictures of every epoch")
        .argParser(port)
        .preset(String(DEFAULT_PORT))
        .helpGroup(groups.ours),
    )
    .addOption(new Option("--json", "print the result as JSON and nothing else").helpGroup(groups.ours))
    .addHelpOption(new Option("-h, --help", "show this help").helpGroup(groups.ours));
  addSettings(command);
  command.addHelpText(
    "after",
    "\nExamples:\n" +
      "  dino train --data photos --out runs/photos --preset vit-s16 --batch 32\n" +
      "  dino train --data photos --out runs/photos --preset auto\n" +
      "  dino train --data builtin --out runs/shapes\n" +
      "  dino train --data 'shards/*.tar' --out runs/shards --preset vit-s16\n" +
      "  dino train --data photos:0.7,shards:0.3 --out runs/mixed --preset vit-s16\n" +
      "  dino train --out runs/photos --resume --dashboard\n" +
      "  mpirun -n 4 npx dino train --data photos --out runs/photos --preset vit-s16\n\n" +
      "--data names a folder of images; a file with many images, or a folder of such files of one kind: WebDataset shards (.tar),\n" +
      "Parquet with a column of images, IDX (the format of MNIST, also .gz), CIFAR-10 or CIFAR-100 (.bin); several files by a quoted\n" +
      "pattern; @ and a text file that lists images; or several of these, separated by commas. A number after a colon is the share of an epoch drawn from that source. The\n" +
      `list of a large folder is cached until the folder changes; ${LISTS_VARIABLE}=new lists it again.\n\n` +
      "Under mpirun or srun, one process trains per GPU, with Open MPI or MPICH. --batch is the total of all processes and a multiple\n" +
      "of their number; the number changes results by rounding only and may change on --resume. Each process takes the adapter of\n" +
      "its local rank, unless --device names one for all. Only rank 0 writes to --out.",
  );
  command.action(async (options: Readonly<Record<string, unknown>>) => {
    const flags = asUsage(() => readFlags(options));
    const resume = options["resume"] === true;
    if (!resume && flags.data === undefined)
      throw new UsageError("--data: expected a folder of images, files that hold many, or `builtin`");
    const overwrite = options["overwrite"] === true;
    const dashboard = options["dashboard"] as number | undefined;
    const adapter = options["device"] as number | undefined;
    const { rank, ...finished } = await runOnRanks(async (world) => {
      return { rank: world.rank, ...(await startTraining({ flags, resume, overwrite, dashboard, adapter, world })) };
    });
    if (rank > 0) return;
    if (options["json"] === true) {
      printJson(finished);
      return;
    }
    const { checkpoint, data, hasClasses, knn } = finished;
    print(
      ...(knn ? [`accuracy    ${describeKnn(knn)}`] : []),
      `checkpoint  ${checkpoint}`,
      hasClasses
        ? `next        npx dino knn --checkpoint ${quoted(checkpoint)}`
        : `next        npx dino embed --checkpoint ${quoted(checkpoint)} --data ${quoted(data)} --out features.npy`,
    );
  });
}

/** Adds a flag for every training setting, or for those named. */
export function addSettings(command: Command, names: readonly SettingName[] = settingNames): Command {
  for (const name of names) {
    const { unit, about, source, alias, argumentCount: words } = settings[name];
    const placeholder = unit.replaceAll(/[ |]/g, "-");
    const argument = words === 0 ? "[true|false]" : words === 1 ? `<${placeholder}>` : `<${placeholder}...>`;
    const option = new Option(`${flagOf(name)} ${argument}`, `${about}${describeDefault(name)}`);
    command.addOption(option.helpGroup(groups[source]));
    if (alias !== undefined) command.addOption(new Option(`--${alias} ${argument}`, about).hideHelp());
  }
  if (!names.includes("precision")) return command;
  const mixed = new Option("--use-fp16 [true|false]", "mixed precision: the same as --precision f16");
  command.addOption(mixed.helpGroup(groups["main_dino.py"]));
  return command;
}

function describeDefault(name: SettingName): string {
  const value = settings[name].default;
  const ofDinov2 = ({ ...dinov2Defaults, ...dinov2Fixed } as PartialConfig)[name];
  const parts = [
    ...(value === null ? [] : [`default ${formatValue(value)}`]),
    ...(ofDinov2 === undefined || ofDinov2 === value ? [] : [`with --method dinov2 ${formatValue(ofDinov2)}`]),
  ];
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`;
}

/** Reads the settings given on the command line. Throws for invalid values. */
export function readFlags(options: Readonly<Record<string, unknown>>): PartialConfig {
  const flags: Record<string, unknown> = {};
  for (const name of settingNames) {
    const { alias } = settings[name];
    const aliased = alias?.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    const given = options[name] ?? (aliased === undefined ? undefined : options[aliased]);
    if (given === undefined) continue;
    flags[name] = parseSetting(name, wordsOf(given));
  }
  const { useFp16 } = options;
  return useFp16 === undefined ? flags : { precision: parseUseFp16(wordsOf(useFp16)), ...flags };
}

/** Returns the values of a flag as commander stores them: `true` for a flag without value. */
function wordsOf(given: unknown): readonly string[] {
  if (given === true) return [];
  return Array.isArray(given) ? (given as string[]) : [given as string];
}
