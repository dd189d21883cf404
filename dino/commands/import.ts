/** `dino import` */
import { dirname } from "node:path";
import { type Command, Option } from "commander";
import { sizeOf } from "../../engine/index.js";
import { formatSize, parseSetting } from "../config/flags.js";
import { makeFolder } from "../files/files.js";
import { lazyProgress } from "../files/progress.js";
import { joinNames, quoted } from "../files/text.js";
import type { Which } from "../model/backbone.js";
import { vitConfig } from "../model/configure.js";
import { isOfHead } from "../weights/checkpoint-bytes.js";
import { writeModel } from "../weights/checkpoint.js";
import { type Imported, importNetwork } from "../weights/import.js";
import { describeFamily, familyOf, unknownsOf } from "../weights/published.js";
import { asUsage, UsageError, wholeNumber } from "./flags.js";
import { isSameFile, print, printJson } from "./output.js";

interface ImportFlags {
  readonly out: string;
  readonly which?: Which;
  readonly prefix?: string;
  readonly heads?: number;
  readonly imageSize?: ReturnType<typeof parseSetting<"imageSize">>;
  readonly mean?: ReturnType<typeof parseSetting<"mean">>;
  readonly std?: ReturnType<typeof parseSetting<"std">>;
  readonly range?: ReturnType<typeof parseSetting<"range">>;
  readonly allowPartial?: true;
  readonly seed: number;
  readonly json?: true;
}

export function addImport(dino: Command): void {
  dino
    .command("import")
    .description(
      "convert weights of other projects to a model, for every command with --checkpoint and for train --init",
    )
    .argument(
      "<file>",
      "PyTorch (.pth, .pt, .bin) or safetensors file with a ViT of DINO, DINOv2 or DINOv3, under official, timm or " +
        "Hugging Face names; also a Hugging Face folder, or its model.safetensors.index.json",
    )
    .requiredOption("--out <file.safetensors>", "file for the model")
    .addOption(
      new Option("--which <network>", "network of a full checkpoint (default: teacher)").choices([
        "teacher",
        "student",
      ]),
    )
    .option(
      "--prefix <names>",
      "what the names of the network begin with; needed only if the file holds several networks, whose prefixes are then listed",
    )
    .option(
      "--heads <number>",
      "attention heads; needed only if the file does not tell and heads do not have 64 features",
      (word) => asUsage(() => parseSetting("heads", [word])),
    )
    .option(
      "--image-size <pixels>",
      "image size of the position embedding; needed only if it is not square, as ROWSxCOLS",
      (word) => asUsage(() => parseSetting("imageSize", [word])),
    )
    .option(
      "--mean <red,green,blue>",
      "mean of images, a number for each channel; needed only if the file does not tell and they are not normalised as ImageNet",
      (word) => asUsage(() => parseSetting("mean", [word])),
    )
    .option("--std <red,green,blue>", "standard deviation of images, as --mean", (word) =>
      asUsage(() => parseSetting("std", [word])),
    )
    .option(
      "--range <low,high>",
      "values of black and white in image files, such as 0,4095; needed only if the file does not tell and they are not those of the bit depth",
      (word) => asUsage(() => parseSetting("range", [word])),
    )
    .option(
      "--allow-partial",
      "import what matches: other tensors are ignored, missing or misshapen backbone parameters are initialised, an " +
        "incomplete head is left out; the file must have at least half of the numbers",
    )
    .option("--seed <number>", "seed of initialised parameters, with --allow-partial", wholeNumber, 0)
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nNo code in a file is ever run: of PyTorch pickles, only tensors and plain values are read.\n\nExamples:\n" +
        "  dino import dino_deitsmall16_pretrain.pth --out vit-s16.safetensors\n" +
        "  dino import dino_deitsmall16_pretrain_full_checkpoint.pth --which student --out student.safetensors\n" +
        "  dino import dinov2_vits14_reg4_pretrain.pth --out dinov2-s14.safetensors\n" +
        "  dino import dinov3-vitb16-pretrain-lvd1689m --out dinov3-b16.safetensors\n" +
        "  dino knn --checkpoint vit-s16.safetensors --data photos",
    )
    .action(async (file: string, { out, json, ...options }: ImportFlags) => {
      if (await isSameFile(file, out)) throw new UsageError(`--out ${out} is the file to import; give another name`);
      using reading = lazyProgress("tensors");
      const imported = await importNetwork(file, { ...options, onProgress: reading.report });
      const { heads } = vitConfig(imported.config);
      if (options.heads !== undefined && options.heads !== heads)
        throw new Error(`${file} has ${heads} attention heads, but --heads is ${options.heads}; leave it out`);
      await makeFolder(dirname(out));
      await writeModel(out, imported);
      if (json) printJson({ file, model: out, ...summary(imported) });
      else
        print(
          ...describe(imported, options.mean ? [] : unknownsOf(imported.config, file)),
          `model         ${out}`,
          `next          npx dino knn --checkpoint ${quoted(out)} --data FOLDER`,
        );
    });
}

function summary({ format, naming, which, prefix, config, tensors, ignored, fresh }: Imported) {
  const { imageRows, imageCols, patch, dim, depth, heads, mlpRatio } = vitConfig(config);
  const hasHead = [...tensors.keys()].some(isOfHead);
  return {
    format,
    naming,
    which: which ?? null,
    prefix,
    family: familyOf(config),
    network: describeFamily(config),
    registers: config.registers,
    channels: config.channels,
    mean: config.mean,
    std: config.std,
    backbone: { imageRows, imageCols, patch, dim, depth, heads, mlpRatio },
    head: hasHead ? { prototypes: config.outDim, hidden: config.hiddenDim, bottleneck: config.bottleneckDim } : null,
    parameters: [...tensors.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    tensors: tensors.size,
    ignored,
    fresh,
  };
}

function describe(imported: Imported, advice: readonly string[]): string[] {
  const { format, naming, which, prefix, network, backbone, head, parameters, tensors } = summary(imported);
  const { ignored, fresh, config } = imported;
  return [
    `found         ${[format, `${naming} names`, ...(which ? [which] : []), ...(prefix ? [`under ${prefix}`] : [])].join(", ")}`,
    `network       ${network}`,
    `backbone      ${backbone.depth} blocks, ${backbone.dim} features, ${backbone.heads} heads, patches of ${backbone.patch}, images of ${formatSize(config.imageSize)}`,
    ...(config.channels === 3 ? [] : [`channels      ${config.channels}`]),
    `images        mean ${config.mean.join(", ")}, std ${config.std.join(", ")}`,
    ...advice.map((words) => `              ${words}`),
    `head          ${head ? `${head.prototypes} prototypes` : "none"}`,
    `parameters    ${parameters} in ${tensors} tensors`,
    ...(ignored.length > 0 ? [`left out      ${joinNames(ignored)}`] : []),
    ...(fresh.length > 0 ? [`fresh         ${joinNames(fresh)}`] : []),
  ];
}
