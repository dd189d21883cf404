/** The program `dino`: commands, their flags, what they print, how they fail. */
import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { chooseAdapter, forgetChoices, openDevice, tunedPath, writeChoices } from "../engine/node.js";
import { attend } from "./attend.js";
import { writeFileAtomically } from "./checkpoint-file.js";
import {
  flagOf,
  formatSize,
  parseSetting,
  parseUseFp16,
  type PartialConfig,
  resolveConfig,
  type SettingName,
  settingNames,
  settings,
} from "./config.js";
import { isBuiltin } from "./builtin.js";
import { demo, type DemoPreset } from "./demo.js";
import { builtinPresets, presetNames } from "./presets.js";
import { describe, diagnose } from "./doctor.js";
import { evaluateKnn, openParts, type Part, type Parts, wholeOf } from "./evaluate.js";
import { type Extracted, extractFeatures, loadModel, type Model, viewOf, type Which } from "./features.js";
import { type DecodeFailure, openImages } from "./images.js";
import type { KnnResult } from "./knn.js";
import { encodeNpy } from "./npy.js";
import { takeReports } from "./progress.js";
import { checkPrecision, startTraining } from "./start.js";
import { tune, type Tuned } from "./tune.js";

/** A command line that makes no sense: exit code 2, where all else that fails exits with 1. */
class UsageError extends Error {}

/** Runs `dino` with these words; errors end as one line on stderr and in `process.exitCode`. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    if (argv.length === 0) {
      throw new UsageError(
        "expected a command: train, knn, attend, embed, doctor, tune or demo; dino --help explains them",
      );
    }
    await program().parseAsync(argv, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return; // help or version, already printed
    const isUsage = error instanceof CommanderError || error instanceof UsageError;
    process.exitCode = isUsage ? 2 : 1;
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`dino: ${oneLine(message)}\n`);
    if (process.env["DEBUG"] && error instanceof Error) process.stderr.write(`${error.stack ?? ""}\n`);
  }
}

function oneLine(message: string): string {
  return message
    .replace(/^error: /, "")
    .trim()
    .replace(/\s*\n\s*/g, " ");
}

function program(): Command {
  const { version } = createRequire(import.meta.url)(packageFile()) as { readonly version: string };
  const dino = new Command("dino")
    .description("Trains Vision Transformers on unlabelled images with DINO, and shows what they learnt.")
    .version(version)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined }) // `main` prints errors, on one line
    .configureHelp({ showGlobalOptions: false })
    .helpCommand("help [command]", "show what a command does")
    .addHelpText(
      "after",
      "\nExample:\n  dino train --data photos --out runs/photos --preset vit-s16\n  dino help train",
    );
  addTrain(dino);
  addKnn(dino);
  addAttend(dino);
  addEmbed(dino);
  addDoctor(dino);
  addTune(dino);
  addDemo(dino);
  return dino;
}

/** package.json lies beside this folder in the sources, and one folder further up when compiled. */
function packageFile(): string {
  return import.meta.url.endsWith(".ts") ? "../package.json" : "../../package.json";
}

const groups = {
  "main_dino.py": "Options of the official main_dino.py:",
  "main_dino.py, fixed there": "Fixed in the official code, free here:",
  "vision_transformer.py": "Fixed in the official code, free here:",
  ours: "Options of this program:",
} as const;

function addTrain(dino: Command): void {
  const command = dino
    .command("train")
    .description("train a network on a folder of images, or continue a run")
    .addOption(new Option("--resume", "continue the run in --out, exactly where it stopped").helpGroup(groups.ours))
    .addOption(new Option("--overwrite", "replace the run that --out holds").helpGroup(groups.ours))
    .addHelpOption(new Option("-h, --help", "show this").helpGroup(groups.ours));
  for (const name of settingNames) {
    const { unit, about, source, alias, words } = settings[name];
    const shown = unit.replaceAll(/[ |]/g, "-");
    const argument = words === 0 ? "[true|false]" : words === 1 ? `<${shown}>` : `<${shown}...>`;
    const option = new Option(`${flagOf(name)} ${argument}`, `${about}${describeDefault(name)}`);
    command.addOption(option.helpGroup(groups[source]));
    if (alias !== undefined) command.addOption(new Option(`--${alias} ${argument}`, about).hideHelp());
  }
  const mixed = new Option("--use-fp16 [true|false]", "mixed precision: the same as --precision f16");
  command.addOption(mixed.helpGroup(groups["main_dino.py"]));
  command.addHelpText(
    "after",
    "\nExamples:\n" +
      "  dino train --data photos --out runs/photos --preset vit-s16 --batch 32\n" +
      "  dino train --data builtin --out runs/digits --preset digits\n" +
      "  dino train --out runs/photos --resume",
  );
  command.action(async (options: Readonly<Record<string, unknown>>) => {
    const flags = asUsage(() => readFlags(options));
    if (options["resume"] !== true) {
      if (flags.data === undefined)
        throw new UsageError("--data: expected a folder of images, `builtin` or `builtin-wide`");
      asUsage(() => resolveConfig(flags));
    }
    const resume = options["resume"] === true;
    const overwrite = options["overwrite"] === true;
    const { checkpoint, data, hasClasses } = await startTraining({ flags, resume, overwrite });
    print(
      `checkpoint  ${checkpoint}`,
      hasClasses
        ? `next        npx dino knn --checkpoint ${checkpoint}`
        : `next        npx dino embed --checkpoint ${checkpoint} --data ${data} --out features.npy`,
    );
  });
}

function describeDefault(name: SettingName): string {
  const value = settings[name].default;
  if (value === null) return "";
  if (typeof value !== "object") return ` (default ${value})`;
  if ("rows" in value) return ` (default ${formatSize(value)})`;
  return ` (default ${value.map((entry) => Number(entry.toPrecision(4))).join(" ")})`;
}

/** What the command line sets, by the name of the setting. Throws for a value that makes no sense. */
function readFlags(options: Readonly<Record<string, unknown>>): PartialConfig {
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

/** What commander keeps of a flag: `true` where it stood alone. */
function wordsOf(given: unknown): readonly string[] {
  if (given === true) return [];
  return Array.isArray(given) ? (given as string[]) : [given as string];
}

interface ModelOptions {
  readonly checkpoint: string;
  readonly which: Which;
  readonly batch: number;
}

/** The flags of every command that looks at images with a checkpoint. */
function addModelOptions(command: Command): Command {
  return command
    .requiredOption("--checkpoint <file>", "a checkpoint.safetensors that training wrote")
    .addOption(
      new Option("--which <network>", "whose features to take").choices(["teacher", "student"]).default("teacher"),
    )
    .option("--batch <images>", "images at once", wholeNumber, 64);
}

interface KnnOptions extends ModelOptions {
  readonly train?: string;
  readonly test?: string;
  readonly data?: string;
  readonly split: number;
  readonly seed: number;
  readonly k?: readonly number[];
  readonly temperature: number;
  readonly json?: true;
}

function addKnn(dino: Command): void {
  addModelOptions(dino.command("knn"))
    .description("classify images by the nearest neighbours of their features")
    .option("--train <folder>", "images to find neighbours among, a subfolder a class")
    .option("--test <folder>", "images to classify, a subfolder a class")
    .option("--data <folder>", "one folder for both, or a built-in set; what the checkpoint was trained on if left out")
    .option("--split <share>", "share of --data to classify among the rest", share, 0.2)
    .option("--seed <number>", "of the draw that splits --data", wholeNumber, 0)
    .option("-k <neighbours...>", "how many neighbours vote; several numbers give several results", wholeNumbers)
    .option("--temperature <number>", "a neighbour of similarity s has exp(s / temperature) votes", positive, 0.07)
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExamples:\n" +
        "  dino knn --checkpoint runs/photos/checkpoint.safetensors --data photos --split 0.2\n" +
        "  dino knn --checkpoint runs/photos/checkpoint.safetensors --train photos/train --test photos/val -k 20",
    )
    .action(async (options: KnnOptions) => {
      const { train, test, data, k: ks = [10, 20, 100, 200], temperature } = options;
      if ((train === undefined) !== (test === undefined)) {
        throw new UsageError("--train and --test belong together; for one folder take --data and --split");
      }
      if (train !== undefined && data !== undefined) {
        throw new UsageError("--data and --train both name images; leave one out");
      }
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      const parts =
        train !== undefined && test !== undefined
          ? { train: wholeOf(await openImages(train)), test: wholeOf(await openImages(test)) }
          : await openParts(data ?? model.config.data, { heldOut: options.split, seed: options.seed });
      using comparing = takeReports("comparing");
      const report = await evaluateKnn({
        ...{ parts, ks, temperature, device },
        extract: extractor(model, options.batch),
        onCompared: comparing.report,
      });
      if (options.json) {
        printJson({
          checkpoint: options.checkpoint,
          which: options.which,
          trainImages: report.trainImages,
          testImages: report.testImages,
          classes: report.classes.length,
          temperature,
          results: report.results.map(({ k, neighbors, top1, top5 }) => ({ k, neighbors, top1, top5 })),
          failures: report.failures,
          device: device.name,
        });
        return;
      }
      reportFailures(report.failures);
      print(
        `${report.testImages} images among ${report.trainImages}, ${report.classes.length} classes, ${options.which}`,
        ...report.results.map(describeKnn),
      );
    });
}

function describeKnn({ k, neighbors, top1, top5 }: KnnResult): string {
  const fewer = neighbors < k ? `   (there are only ${neighbors})` : "";
  return `k ${String(k).padStart(4)}   top-1 ${top1.toFixed(2).padStart(6)} %   top-5 ${top5.toFixed(2).padStart(6)} %${fewer}`;
}

/** Features with progress on stderr. */
function extractor(model: Model, batch: number): (part: Part, title: string) => Promise<Extracted> {
  return async ({ images, indices }, title) => {
    using progress = takeReports(title);
    const view = viewOf(model.config);
    return await extractFeatures(model, images, { view, indices, batch, onProgress: progress.report });
  };
}

interface AttendOptions extends ModelOptions {
  readonly out: string;
  readonly imageSize?: ReturnType<typeof parseSetting<"imageSize">>;
  readonly threshold: number;
  readonly json?: true;
}

function addAttend(dino: Command): void {
  const command = dino.command("attend");
  command
    .description("draw what the last block of a network attends to in images")
    .argument("<image...>", "files to look at")
    .requiredOption("--checkpoint <file>", "a checkpoint.safetensors that training wrote")
    .addOption(
      new Option("--which <network>", "whose attention to draw").choices(["teacher", "student"]).default("teacher"),
    )
    .requiredOption("--out <folder>", "where the pictures go")
    .option(
      "--image-size <pixels>",
      "shorter side to resize to, or ROWSxCOLS; that of training if left out, more for finer maps",
      (word) => asUsage(() => parseSetting("imageSize", [word])),
    )
    .option("--threshold <share>", "share of a head's attention that its mask holds", share, 0.6)
    .option("--json", "print the paths as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExample:\n" +
        "  dino attend --checkpoint runs/photos/checkpoint.safetensors cat.jpg --out runs/photos/attention --image-size 480",
    )
    .action(async (files: readonly string[], options: AttendOptions) => {
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      const { imageSize } = options;
      const short = Math.min(model.config.imageSize.rows, model.config.imageSize.cols);
      const size = imageSize === undefined ? short : imageSize.rows === imageSize.cols ? imageSize.rows : imageSize;
      using progress = takeReports("images");
      const { out, threshold: share } = options;
      const attended = await attend({ model, files, out, size, share, onProgress: progress.report });
      if (options.json) printJson({ checkpoint: options.checkpoint, which: options.which, images: attended });
      else
        print(...attended.map(({ picture, heads }) => `${picture}   and ${3 * heads.length} pictures of single heads`));
    });
}

interface EmbedOptions extends ModelOptions {
  readonly data: string;
  readonly out: string;
  readonly json?: true;
}

function addEmbed(dino: Command): void {
  addModelOptions(dino.command("embed"))
    .description("write the features of images as a NumPy file, with the list of images beside it")
    .requiredOption(
      "--data <folder>",
      "images, or `builtin` or `builtin-wide` for the held-out images of a built-in set",
    )
    .requiredOption("--out <file.npy>", "where the features go; the lists go beside it, as .txt and .json")
    .option("--json", "print the summary as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExample:\n  dino embed --checkpoint runs/photos/checkpoint.safetensors --data photos --out features.npy",
    )
    .action(async (options: EmbedOptions) => {
      if (!options.out.endsWith(".npy"))
        throw new UsageError(`--out: expected a file ending in .npy, got ${options.out}`);
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      const part: Part = isBuiltin(options.data)
        ? ((await openParts(options.data, { heldOut: 0, seed: 0 })) satisfies Parts).test
        : wholeOf(await openImages(options.data));
      const { images } = part;
      const { cls, indices, failures } = await extractor(model, options.batch)(part, "images");

      const stem = options.out.slice(0, -".npy".length);
      const files = Array.from(indices, (index) => images.name(index));
      await mkdir(dirname(options.out), { recursive: true });
      await writeFileAtomically(options.out, encodeNpy({ values: cls.values, shape: [cls.rows, cls.dim] }));
      await writeFile(`${stem}.txt`, files.map((name) => `${name}\n`).join(""));
      const labels = images.labels && Array.from(indices, (index) => images.labels![index]!);
      const { checkpoint, which } = options;
      const list = { data: options.data, checkpoint, which, files, classes: images.classes, labels, failures };
      await writeFile(`${stem}.json`, `${JSON.stringify(list, undefined, 1)}\n`);

      if (options.json) {
        printJson({
          features: options.out,
          files: `${stem}.txt`,
          list: `${stem}.json`,
          rows: cls.rows,
          dim: cls.dim,
          failures,
        });
        return;
      }
      reportFailures(failures);
      print(
        `${options.out}   [${cls.rows}, ${cls.dim}] float32`,
        `${stem}.txt   the file of each row`,
        `${stem}.json   the same, with labels`,
      );
    });
}

function addDoctor(dino: Command): void {
  dino
    .command("doctor")
    .description("say which graphics adapter training would use, why, and what would be faster")
    .option("--json", "print the findings as JSON")
    .addHelpText("after", "\nExample:\n  dino doctor")
    .action(async (options: { readonly json?: true }) => {
      const diagnosis = await diagnose();
      if (options.json) printJson(diagnosis);
      else print(describe(diagnosis));
      if ("error" in diagnosis.chosen) process.exitCode = 1;
    });
}

interface TuneFlags {
  readonly preset?: NonNullable<PartialConfig["preset"]>;
  readonly batch?: number;
  readonly precision?: PartialConfig["precision"];
  readonly forget?: true;
  readonly json?: true;
}

function addTune(dino: Command): void {
  dino
    .command("tune")
    .description("measure which kernels train fastest on this adapter, and remember them for every later command")
    .addOption(
      new Option("--preset <name>", "whose training step to measure; vit-s16 on a GPU, digits without").choices(
        presetNames,
      ),
    )
    .option("--batch <images>", "images of a step, instead of those of the preset", (word) =>
      asUsage(() => parseSetting("batch", [word])),
    )
    .addOption(new Option("--precision <name>", "that it computes in").choices(["f32", "f16"]))
    .option("--forget", "forget what was measured on this adapter")
    .option("--json", "print what was measured as JSON and nothing else")
    .addHelpText(
      "after",
      "\nWhat is measured for one preset is kept beside what was for others. Other kernels round otherwise: a run that was begun\n" +
        "before goes on with those it was begun with.\n\nExample:\n  dino tune --preset vit-s16 --batch 32",
    )
    .action(async ({ batch, precision, forget, json, ...given }: TuneFlags) => {
      const { name, kind } = await chooseAdapter();
      const { preset = kind === "gpu" ? "vit-s16" : "digits" } = given;
      const path = tunedPath(name);
      if (forget) {
        print(forgetChoices(path) ? `forgot ${path}` : `nothing was measured on ${name}`);
        return;
      }
      const config = asUsage(() =>
        resolveConfig({ preset, ...(batch !== undefined && { batch }), ...(precision && { precision }) }),
      );
      using device = await openDevice();
      checkPrecision(device, config);
      using progress = takeReports("measuring");
      const tuned = await tune({ device, config, onProgress: progress.report });
      const measured = new Set(tuned.measured.map(({ what }) => what));
      const others = Object.entries(device.choices).filter(([what]) => !measured.has(what));
      const isFaster = tuned.tunedMs < tuned.ruleMs;
      if (isFaster) await writeChoices(path, { ...Object.fromEntries(others), ...tuned.choices });
      if (json) printJson({ device: device.name, preset, path: isFaster ? path : null, ...tuned });
      else print(...describeTuned(tuned), isFaster ? `kept in ${path}` : "kept nothing: the rules are as fast");
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
    `a step by the rules ${time(ruleMs)}, as measured best ${time(tunedMs)}`,
  ];
}

interface DemoFlags {
  readonly out: string;
  readonly preset: DemoPreset;
  readonly steps?: number;
  readonly quick?: true;
}

function addDemo(dino: Command): void {
  dino
    .command("demo")
    .description("train on built-in images for a few minutes and show what was learnt")
    .option("--out <folder>", "where the run is kept; what is there is replaced", join("runs", "demo"))
    .addOption(
      new Option("--preset <name>", "which recipe: digits-long takes longer, and beats raw pixels")
        .choices(Object.values(builtinPresets))
        .default("digits"),
    )
    .option("--steps <steps>", "length of the training, instead of that of the preset", wholeNumber)
    .option("--quick", "a few steps and few images: shows that everything works, learns nothing")
    .addHelpText("after", "\nExample:\n  dino demo")
    .action(async ({ out, preset, steps, quick }: DemoFlags) => {
      await demo({ out, preset, quick: quick === true, ...(steps && { steps }) });
    });
}

function wholeNumber(word: string): number {
  const value = Number(word);
  if (word.trim() === "" || !Number.isSafeInteger(value) || value < 0) {
    throw new InvalidArgumentError(`Expected a whole number.`);
  }
  return value;
}

function wholeNumbers(word: string, before: readonly number[] | undefined): readonly number[] {
  const values = word.split(",").map(wholeNumber);
  if (values.includes(0)) throw new InvalidArgumentError("Expected 1 or more.");
  return [...(before ?? []), ...values];
}

function share(word: string): number {
  const value = Number(word);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError("Expected a share above 0 and below 1.");
  return value;
}

function positive(word: string): number {
  const value = Number(word);
  if (!(value > 0 && value < Infinity)) throw new InvalidArgumentError("Expected a number above 0.");
  return value;
}

/** What `read` throws is the fault of the command line. */
function asUsage<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

/** Names what could not be decoded, on stderr. */
function reportFailures(failures: readonly DecodeFailure[]): void {
  for (const { path, reason } of failures.slice(0, 10)) process.stderr.write(`skipped ${path}: ${oneLine(reason)}\n`);
  if (failures.length > 10) process.stderr.write(`skipped ${failures.length - 10} more\n`);
}

function print(...lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, 2));
}
